package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/limits"
)

// newServerWithoutDatabase returns a server whose database is unreachable, for requests that do not
// use it.
func newServerWithoutDatabase(t *testing.T, change ...func(*Options)) *Server {
	t.Helper()
	database, err := queries.Open(context.Background(), "postgres://nobody@127.0.0.1:1/nothing?connect_timeout=1", queries.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Close)
	o := DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits = "http://localhost", "a key of no use outside of these tests", limits.ModeOff
	for _, f := range change {
		f(&o)
	}
	s, err := New(database, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Above the in-flight limit every request gets a 503 at once, except for health checks.
func TestInFlightRefuses(t *testing.T) {
	t.Parallel()
	s := newServerWithoutDatabase(t, func(o *Options) { o.MaxInFlight = 4 })
	release := func() {}
	for {
		last, ok := s.inFlight.Enter(false)
		if !ok {
			break
		}
		release = last
	}
	status := func(method, path string) (int, http.Header) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Header()
	}
	code, header := status("GET", "/api/auth/users/")
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("without a free slot: %d %v, want 503 with Retry-After", code, header)
	}
	if code, _ := status("GET", "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	// One slot is reserved for events; this request lacks credentials.
	if code, _ := status("POST", "/api/integrations/events/"); code != http.StatusUnauthorized {
		t.Errorf("an event: %d, want 401", code)
	}
	release()
	if code, _ := status("GET", "/api/auth/users/"); code != http.StatusUnauthorized {
		t.Errorf("with a free slot: %d, want 401", code)
	}
	// All slots are free again: one for any request, and one reserved for events.
	for i, event := range []bool{false, true} {
		if _, ok := s.inFlight.Enter(event); !ok {
			t.Errorf("slot %d was not released", i+1)
		}
	}
	if _, ok := s.inFlight.Enter(true); ok {
		t.Error("a slot was released twice")
	}
}

// Each timeout is bounded and shorter than the one around it, so that the inner one can report its
// cause: lock, statement, request, response.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	s := newServerWithoutDatabase(t)
	h := s.httpServer()
	for name, d := range map[string][2]time.Duration{
		"header": {h.ReadHeaderTimeout, 5 * time.Second}, "body": {h.ReadTimeout, 15 * time.Second},
		"answer": {h.WriteTimeout, 30 * time.Second}, "idle": {h.IdleTimeout, 60 * time.Second},
	} {
		if d[0] != d[1] {
			t.Errorf("the timeout for the %s is %v, want %v", name, d[0], d[1])
		}
	}
	parameter := func(name string) time.Duration {
		text := s.engine.db.Pool.Config().ConnConfig.RuntimeParams[name]
		d, err := time.ParseDuration(text + "ms")
		if err != nil || d <= 0 {
			t.Errorf("%s is %q", name, text)
		}
		return d
	}
	lock, statement := parameter("lock_timeout"), parameter("statement_timeout")
	if !(lock < statement && statement < requestTimeout && requestTimeout+limits.LongestLoginWait < h.WriteTimeout) {
		t.Errorf("lock %v, statement %v, request %v, answer %v: each must be less than the next", lock, statement, requestTimeout, h.WriteTimeout)
	}
	if h.MaxHeaderBytes != maxHeaderBytes || maxURLBytes >= maxHeaderBytes {
		t.Errorf("headers up to %d bytes, URLs up to %d", h.MaxHeaderBytes, maxURLBytes)
	}
}

// A noun that the query does not know would be answered with 404, or as a reference to nothing, wherever it is named;
// and one without a scope would tell of other hospitals' rows.
func TestReferenceMissingKnowsTheNouns(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../queries/references.sql")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, found := range regexp.MustCompile(`WHEN '(\w+)' THEN (.*)`).FindAllStringSubmatch(string(text), -1) {
		known = append(known, found[1])
		if found[1] != "role" && !strings.Contains(found[2], "sqlc.narg(scope)::uuid IS NULL OR x.") {
			t.Errorf("%s has no scope in queries/references.sql", found[1])
		}
	}
	if got, want := slices.Sorted(slices.Values(known)), slices.Sorted(slices.Values(nouns)); !slices.Equal(got, want) {
		t.Errorf("queries/references.sql knows\n%v, and nouns in server.go are\n%v", got, want)
	}
}
