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
)

// TestExamples sends every request example of the contract as it is, to the objects that the examples show, and compares
// every response example with the real response. It fails for a documented success that it does not produce.
func TestExamples(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t))
	m.each(http.MethodGet, func(o exampleOperation) {
		if o.OperationID != "retrieveMe" { // shows what updateProfile makes of the caller
			m.readExample(o)
		}
	})
	created := map[string]string{} // by collection, the id of what the example of its create operation makes
	m.each(http.MethodPost, func(o exampleOperation) {
		if o.response(http.StatusCreated) != nil {
			created[o.path], _ = m.call(o, "", m.body(o), http.StatusCreated).json()["id"].(string)
		}
	})
	for _, sentTwice := range []string{"createEvent", "bulkCreateEvents"} {
		m.exampleOf(sentTwice)
	}
	m.each(http.MethodPut, func(o exampleOperation) { m.call(o, "", m.body(o), http.StatusOK) })
	m.each(http.MethodPatch, func(o exampleOperation) { m.call(o, "", m.body(o), http.StatusOK) })
	for _, action := range []string{"retrieveMe", "assignRole", "removeRole", "rotateIntegrationConfigKey", "reprocessEvent",
		"assignAction", "changeActionStatus", "escalateAction", "addActionNote", "approveAction",
		"replayWebhookEvents", "redeliverWebhookMessage", "testWebhookEndpoint", "rotateWebhookSecret", "bulkReprocessEvents",
		"sendSurveyInstance", "cancelSurveyInstance", "resendSurveyInstance", "answerPublicSurvey"} {
		m.exampleOf(action)
	}
	m.each(http.MethodDelete, func(o exampleOperation) {
		m.call(o, created[strings.TrimSuffix(o.path, "{id}/")], nil, http.StatusNoContent)
	})
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
		if o := m.operations[id]; o.method == method {
			f(o)
		}
	}
}

// exampleOf sends an operation's example, which must be answered with 200.
func (m *sample) exampleOf(operation string) {
	m.t.Helper()
	o := m.operations[operation]
	m.call(o, "", m.body(o), http.StatusOK)
}

// readExample compares what a read operation answers with its example: an object as a whole, the items of a list with
// those of the same id, since a list may have more. Roles and the audit log are not the examples' own.
func (m *sample) readExample(o exampleOperation) {
	m.t.Helper()
	got := m.call(o, "", nil, http.StatusOK).json()
	want := decode([]byte(jsonText(o.response(http.StatusOK).Example))).(map[string]any)
	switch {
	case slices.Contains([]string{"listRoles", "retrieveRole", "listAuditEntries", "retrieveSurveyScores"}, o.OperationID):
	case want["results"] == nil:
		if jsonText(got) != jsonText(want) {
			m.t.Errorf("%s: answered\n%s, the example is\n%s", o.OperationID, jsonText(got), jsonText(want))
		}
	default:
		for _, item := range want["results"].([]any) {
			if !slices.ContainsFunc(got["results"].([]any), func(other any) bool { return jsonText(other) == jsonText(item) }) {
				m.t.Errorf("%s: the example's item %s is not in\n%s", o.OperationID, jsonText(item), jsonText(got))
			}
		}
	}
}

func (m *sample) tokenExamples() {
	change := m.operations["changePassword"]
	passwords := m.body(change).(map[string]any)
	m.system.create(m.token, "/api/auth/users/", map[string]any{
		"username": "changer", "email": "changer@hospital.sa", "hospital": m.operations["retrieveHospital"].id(),
		"password": passwords["old_password"], "password_confirm": passwords["old_password"],
	})
	m.callAs(m.system.token("changer", passwords["old_password"].(string)), change, "", passwords, http.StatusOK)
	for _, operation := range []string{"createToken", "refreshToken", "verifyToken", "blacklistToken"} {
		m.exampleOf(operation)
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
