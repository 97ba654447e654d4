package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/px360/px360/queries"
)

// apart is a server whose database is nowhere: enough for what never asks it.
func apart(t *testing.T, change ...func(*Options)) *Server {
	t.Helper()
	database, err := queries.Open(context.Background(), "postgres://nobody@127.0.0.1:1/nothing?connect_timeout=1", queries.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Close)
	o := DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits = "http://localhost", "a key of no use outside of these tests", "off"
	for _, f := range change {
		f(&o)
	}
	s, err := New(database, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	f := newInFlight(8)
	for i := range 6 {
		if !f.enter(false) {
			t.Fatalf("request %d was turned away", i+1)
		}
	}
	if f.enter(false) {
		t.Error("a request took a place that is kept for events")
	}
	for range 2 {
		if !f.enter(true) {
			t.Fatal("the places that are kept for events were not there")
		}
	}
	if f.enter(true) {
		t.Error("an event was let in beyond the last place")
	}
	f.leave(false)
	if !f.enter(true) || f.enter(false) {
		t.Error("the place that became free is for whoever comes first, and it was the event")
	}
}

// One caller cannot take all the places, with bodies that never end for example.
func TestInFlightByCaller(t *testing.T) {
	t.Parallel()
	f := newInFlight(8)
	of := func(key string) *request {
		return &request{credential: credential{key: key, hashes: [][]byte{[]byte(key)}}}
	}
	var held []*request
	for range 4 {
		r := of("a")
		if !f.enterAs(r) {
			t.Fatal("a caller was turned away before half of the places were theirs")
		}
		held = append(held, r)
	}
	turnedAway, other := of("a"), of("b")
	if f.enterAs(turnedAway) {
		t.Error("a caller got more than half of the places")
	}
	if !f.enterAs(other) {
		t.Error("another caller was turned away")
	}
	f.leaveAs(turnedAway) // who has no place gives none back
	if f.enterAs(of("a")) {
		t.Error("a caller got more than half of the places")
	}
	for _, r := range append(held, other) {
		f.leaveAs(r)
	}
	if len(f.callers) != 0 {
		t.Errorf("%v are still remembered", f.callers)
	}
}

// Beyond the last place the answer is 503 at once, whoever asks; but not for health.
func TestInFlightRefuses(t *testing.T) {
	t.Parallel()
	s := apart(t, func(o *Options) { o.MaxInFlight = 4 })
	for s.inFlight.enter(false) {
	}
	status := func(method, path string) (int, http.Header) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Header()
	}
	code, header := status("GET", "/api/auth/users/")
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("with no place left: %d %v, want 503 with Retry-After", code, header)
	}
	if code, _ := status("GET", "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	// The last place is kept for events; this one lacks credentials.
	if code, _ := status("POST", "/api/integrations/events/"); code != http.StatusUnauthorized {
		t.Errorf("an event: %d, want 401", code)
	}
	s.inFlight.leave(false)
	if code, _ := status("GET", "/api/auth/users/"); code != http.StatusUnauthorized {
		t.Errorf("with a place left: %d, want 401", code)
	}
	if s.inFlight.all != s.inFlight.others || s.inFlight.all != 2 {
		t.Errorf("%d in flight, %d of them no events, want 2 and 2", s.inFlight.all, s.inFlight.others)
	}
}

// Each time that a client can take is bounded, and each level gives up before the one around it, so that
// there is a reason to tell: lock, statement, request, answer.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	s := apart(t)
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
		text := s.db.Pool.Config().ConnConfig.RuntimeParams[name]
		d, err := time.ParseDuration(text + "ms")
		if err != nil || d <= 0 {
			t.Errorf("%s is %q", name, text)
		}
		return d
	}
	lock, statement := parameter("lock_timeout"), parameter("statement_timeout")
	if !(lock < statement && statement < requestTimeout && requestTimeout+longestLoginWait < h.WriteTimeout) {
		t.Errorf("lock %v, statement %v, request %v, answer %v: each must be less than the next", lock, statement, requestTimeout, h.WriteTimeout)
	}
	if h.MaxHeaderBytes != maxHeaderBytes || maxURLBytes >= maxHeaderBytes {
		t.Errorf("headers up to %d bytes, URLs up to %d", h.MaxHeaderBytes, maxURLBytes)
	}
}
