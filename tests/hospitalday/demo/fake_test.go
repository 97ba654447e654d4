package demo

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// row is a JSON object of a client, with the members that the server adds.
type row map[string]any

// fake implements the part of the API that the demo uses: rows in memory, filters by equality, and a
// worker that processes each event at once.
type fake struct {
	t    *testing.T
	mu   sync.Mutex
	rows map[string][]row // by path, as created
	keys map[string]bool  // path and unique key
	made map[string]int   // POSTs by path

	lose          func(path string) bool // whether to store the row and drop the answer
	refuse        func(path string) bool // whether to answer 429 first
	workerStopped bool                   // simulates a stopped worker
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, rows: map[string][]row{}, keys: map[string]bool{}, made: map[string]int{}}
}

// uniqueKeys are the members of the unique constraint of each path.
var uniqueKeys = map[string][]string{
	"/api/organizations/hospitals/":   {"code"},
	"/api/organizations/departments/": {"hospital", "code"},
	"/api/organizations/physicians/":  {"hospital", "license_number"},
	"/api/organizations/patients/":    {"primary_hospital", "mrn"},
	"/api/journeys/stage-templates/":  {"journey_template", "code"},
	"/api/journeys/instances/":        {"hospital", "encounter_id"},
}

// Do calls the handler without a network, since goroutines blocked on one are not durably blocked
// for testing/synctest.
func (f *fake) Do(request *http.Request) (response *http.Response, err error) {
	defer func() {
		if recover() == http.ErrAbortHandler {
			response, err = nil, syscall.ECONNRESET
		}
	}()
	recorder := httptest.NewRecorder()
	f.ServeHTTP(recorder, request)
	return recorder.Result(), nil
}

const eventsPath = "/api/integrations/events/"

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body row
	if r.Body == nil {
		r.Body = http.NoBody
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	f.mu.Lock()
	defer f.mu.Unlock()
	path := r.URL.Path
	switch {
	case path == "/api/auth/token/":
		f.answer(w, 200, row{"access": "a.b.c", "refresh": "d.e.f"})
	case path == "/api/auth/users/me/":
		f.answer(w, 200, row{"username": "admin", "hospital": nil})
	case r.Method == http.MethodGet && strings.Count(path, "/") == 5: // a hospital
		f.answer(w, 200, row{"created_at": "2026-01-02T10:00:00Z"})
	case r.Method == http.MethodGet:
		f.list(w, r)
	case f.refuse != nil && f.refuse(path):
		w.Header().Set("Retry-After", "37")
		f.answer(w, 429, row{"detail": "Request was throttled. Expected available in 37 seconds."})
	case path == eventsPath+"bulk_create/":
		f.bulk(w, body)
	default:
		f.create(w, path, body)
	}
}

func (f *fake) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) create(w http.ResponseWriter, path string, body row) {
	f.made[path]++
	if members := uniqueKeys[path]; members != nil {
		key := path
		for _, member := range members {
			key += fmt.Sprintf("|%v", body[member])
		}
		if f.keys[key] {
			f.answer(w, 400, row{"non_field_errors": []string{"The fields must make a unique set."}})
			return
		}
		f.keys[key] = true
	}
	for _, required := range []string{"first_name", "specialization"} {
		if text, sent := body[required]; sent && text == "" {
			f.answer(w, 400, row{required: []string{"This field may not be blank."}})
			return
		}
	}
	body["id"] = uuid.NewString()
	if strings.HasSuffix(path, "/instances/") {
		body["status"] = "active"
	}
	f.rows[path] = append(f.rows[path], body)
	if f.lose != nil && f.lose(path) {
		panic(http.ErrAbortHandler)
	}
	f.answer(w, 201, body)
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var found []row
	for _, candidate := range f.rows[r.URL.Path] {
		fits := true
		for name, values := range query {
			if member, ok := candidate[name]; ok && member != values[0] {
				fits = false
			}
		}
		if fits {
			found = append(found, candidate)
		}
	}
	if strings.HasPrefix(query.Get("ordering"), "-") {
		found = slices.Clone(found)
		slices.Reverse(found)
	}
	size, _ := strconv.Atoi(query.Get("page_size"))
	page, _ := strconv.Atoi(query.Get("page"))
	from := min(max(page-1, 0)*size, len(found))
	to := min(from+size, len(found))
	var next any
	if to < len(found) {
		query.Set("page", strconv.Itoa(max(page, 1)+1))
		next = "http://elsewhere.test" + r.URL.Path + "?" + query.Encode()
	}
	f.answer(w, 200, row{"count": len(found), "next": next, "previous": nil, "results": slices.Concat([]row{}, found[from:to])})
}

func (f *fake) bulk(w http.ResponseWriter, body row) {
	f.made[eventsPath]++
	created, duplicates, refused := 0, 0, []row{}
	for i, item := range body["events"].([]any) {
		event := row(item.(map[string]any))
		key := fmt.Sprintf("%s|%s|%s", eventsPath, event["source_system"], event["source_event_id"])
		switch {
		case event["encounter_id"] == "":
			refused = append(refused, row{"index": i, "errors": row{"encounter_id": []string{"This field may not be blank."}}})
		case f.keys[key]:
			duplicates++
		default:
			created++
			f.keys[key] = true
			maps.Copy(event, row{
				"id": uuid.NewString(), "status": "processed", "reason": "", "hospital": nil,
				"received_at": time.Now().UTC().Format(time.RFC3339Nano),
			})
			if f.workerStopped {
				event["status"] = "pending"
			}
			f.rows[eventsPath] = append(f.rows[eventsPath], event)
		}
	}
	status := 201
	if created == 0 {
		status = 200
	}
	if len(refused) == len(body["events"].([]any)) {
		status = 400
	}
	f.answer(w, status, row{"created": created, "duplicates": duplicates, "failed": len(refused), "errors": refused})
}
