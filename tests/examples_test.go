package tests

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/server"
	"github.com/px360/px360/worker"
)

// TestExamples sends every request example of the contract, and compares every response example with
// the real response. It fails for a documented success that it does not produce.
func TestExamples(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t))
	m.exampleOf("createEvent", "", http.StatusOK) // a duplicate, while the first is pending
	m.work(worker.DefaultOptions())
	m.waitForWorker()
	m.exampleOf("assignRole", "", http.StatusOK)
	m.each(http.MethodPut, func(o exampleOperation) { m.call(o, "", m.body(o), http.StatusOK) })
	m.each(http.MethodPatch, func(o exampleOperation) { m.call(o, "", m.body(o), http.StatusOK) })
	m.each(http.MethodGet, func(o exampleOperation) { m.call(o, "", nil, http.StatusOK) })
	m.exampleOf("removeRole", "", http.StatusOK)
	m.exampleOf("rotateIntegrationConfigKey", "", http.StatusOK)
	m.eventExamples()
	m.each(http.MethodDelete, func(o exampleOperation) { m.deleteExample(o) })
	m.tokenExamples() // last, because they revoke tokens

	for _, id := range slices.Sorted(maps.Keys(m.operations)) {
		for _, status := range m.operations[id].successes() {
			if what := fmt.Sprintf("%s %d", id, status); !m.produced[what] {
				t.Errorf("%s is documented, and was not produced", what)
			}
		}
	}
	t.Logf("%d operations, %d documented successes", len(m.operations), len(m.produced))
}

// each calls f for every operation with this method, sorted by id.
func (m *sample) each(method string, f func(exampleOperation)) {
	for _, id := range slices.Sorted(maps.Keys(m.operations)) {
		if o := m.operations[id]; o.method == method && o.response(http.StatusOK) != nil || method == http.MethodDelete && o.method == method {
			f(o)
		}
	}
}

// exampleOf sends an operation's example unchanged.
func (m *sample) exampleOf(operation, id string, status int) answer {
	m.t.Helper()
	o := m.operations[operation]
	return m.call(o, id, m.body(o), status)
}

func (m *sample) eventExamples() {
	m.exampleOf("bulkCreateEvents", "", http.StatusOK)
	bulk := m.operations["bulkCreateEvents"]
	body := m.body(bulk)
	event := body.(map[string]any)["events"].([]any)[0]
	makeUnique(event)
	m.call(bulk, "", body, http.StatusCreated)
	// The event is ignored, since its encounter has no journey, and can be reprocessed.
	m.waitForWorker()
	encounter := fmt.Sprint(event.(map[string]any)["encounter_id"])
	list := m.send(http.MethodGet, "/api/integrations/events/?encounter_id="+encounter, m.token, nil)
	m.exampleOf("reprocessEvent", pick([]byte(list.body), "results.0.id"), http.StatusOK)
}

// deleteExample creates an object for the DELETE operation and deletes it.
func (m *sample) deleteExample(o exampleOperation) {
	collection := strings.TrimSuffix(o.path, "{id}/")
	for id, create := range m.operations {
		if create.method == http.MethodPost && create.path == collection {
			m.call(o, m.create(id), nil, http.StatusNoContent)
			return
		}
	}
	m.t.Fatalf("%s: no operation creates what it deletes", o.OperationID)
}

func (m *sample) tokenExamples() {
	change := m.operations["changePassword"]
	passwords := m.body(change).(map[string]any)
	user := m.body(m.operations["createUser"]).(map[string]any)
	makeUnique(user)
	user["password"], user["password_confirm"] = passwords["old_password"], passwords["old_password"]
	m.system.create(m.token, "/api/auth/users/", user)
	m.callAs(m.system.token(user["username"].(string), user["password"].(string)), change, "", passwords, http.StatusOK)
	for _, operation := range []string{"createToken", "refreshToken", "verifyToken", "blacklistToken"} {
		m.exampleOf(operation, "", http.StatusOK)
	}
}

// TestErrorExamples produces every error response that the contract shares between operations, and
// compares it with its example exactly.
func TestErrorExamples(t *testing.T) {
	t.Parallel()
	const hospitals = "/api/organizations/hospitals/"
	s := startServer(t, func(o *server.Options) { o.RateLimits = "report" }) // so that the headers of limits are sent
	admin := s.token(adminName, adminPassword)
	hospital := try(s.admin.CreateHospital(t.Context(), client.HospitalCreate{Name: "A", Code: unique("H")})).ok(t).ID
	try(s.admin.CreateDepartment(t.Context(), client.DepartmentCreate{Name: "A", Code: "D", Hospital: hospital})).ok(t)
	nurse := s.person(hospital)
	produced := map[string]answer{
		"BadRequest":           s.send("POST", hospitals, admin, map[string]any{"code": unique("H")}),
		"Unauthorized":         s.send("GET", hospitals, "", nil),
		"Forbidden":            s.send("POST", hospitals, nurse.access, map[string]any{}),
		"NotFound":             s.send("GET", hospitals+wireUnknownID+"/", admin, nil),
		"NotAcceptable":        s.send("GET", hospitals, admin, nil, "Accept", "text/html"),
		"Conflict":             s.send("DELETE", hospitals+hospital.String()+"/", admin, nil),
		"TooLarge":             s.send("POST", "/api/auth/token/", "", `{"username":"`+strings.Repeat("x", 10_000)+`"}`),
		"UnsupportedMediaType": s.send("POST", hospitals, admin, "name=A", "Content-Type", "text/plain"),
		"TooManyRequests":      throttled(t),
	}
	_, err := s.db.Exec(context.Background(), "ALTER TABLE hospitals RENAME TO gone")
	must(t, err)
	produced["Unexpected"] = s.send("GET", hospitals, admin, nil)

	doc, _ := exampleOperations(t)
	seconds := regexp.MustCompile(`\d+ seconds?`)
	for name, response := range doc.Components.Responses {
		a, found := produced[name]
		want := seconds.ReplaceAllString(jsonText(response.Value.Content["application/json"].Example), "N seconds")
		if got := seconds.ReplaceAllString(jsonText(decode([]byte(a.body))), "N seconds"); !found || got != want {
			t.Errorf("%s: answered %d %s, the example is %s", name, a.status, got, want)
		}
		for header := range response.Value.Headers {
			if a.header.Get(header) == "" && !notOfAll[name+" "+header] {
				t.Errorf("%s: the documented header %s is not sent", name, header)
			}
		}
	}
}

// notOfAll are documented headers that only some answers of that kind have. A call is not counted before its caller is
// authenticated, except for token operations. Of unexpected answers only a 503 has Retry-After.
var notOfAll = map[string]bool{"Unauthorized RateLimit": true, "Unexpected Retry-After": true}

// Every answer can be named by its X-Request-ID.
func TestEveryAnswerDeclaresItsRequestID(t *testing.T) {
	t.Parallel()
	_, operations := exampleOperations(t)
	for id, o := range operations {
		for status, response := range o.Responses.Map() {
			if response.Value.Headers["X-Request-ID"] == nil {
				t.Errorf("%s: %s does not declare X-Request-ID", id, status)
			}
		}
	}
}

// throttled is the answer to a login above the rate limit.
func throttled(t *testing.T) answer {
	t.Helper()
	s := startServer(t, func(o *server.Options) { o.RateLimits = "enforce" })
	var a answer
	for range 12 {
		if a = s.send("POST", "/api/auth/token/", "", map[string]string{}); a.status == http.StatusTooManyRequests {
			break
		}
	}
	return a
}
