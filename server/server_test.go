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

// Without a free place a request gets a 503 at once. Health checks need none, and neither does a refusal that takes
// no look into the database.
func TestNoPlaceIsFree(t *testing.T) {
	t.Parallel()
	s := newServerWithoutDatabase(t, func(o *Options) { o.MaxInFlight = 4 })
	var taken []limits.Lease
	for _, caller := range []string{"a", "b", "c"} {
		lease, err := s.budgets.Places.Take(caller, false, 1)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, lease)
	}
	answer := func(method, path, body string) *http.Response {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Result()
	}
	login := func() int { return answer("POST", "/api/auth/token/", "{}").StatusCode }
	busy := answer("POST", "/api/auth/token/", "{}")
	if busy.StatusCode != http.StatusServiceUnavailable || busy.Header.Get("Retry-After") == "" || busy.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("without a free place: %d %v, want 503 with Retry-After", busy.StatusCode, busy.Header)
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/api/auth/users/": http.StatusUnauthorized, "/api/docs/": http.StatusOK} {
		if got := answer("GET", path, "").StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	taken[0].Release()
	if got := login(); got != http.StatusBadRequest {
		t.Errorf("with a free place: %d, want 400", got)
	}
	for _, lease := range taken[1:] {
		lease.Release()
	}
	if places, bodies := s.budgets.Places.Used(), s.budgets.Bodies.Used(); places != 0 || bodies != 0 {
		t.Errorf("%d places and %d bytes of bodies are still in use", places, bodies)
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
