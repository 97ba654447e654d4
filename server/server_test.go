package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/limits"
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

// Beyond the last place the answer is 503 at once, whoever asks; but not for health.
func TestInFlightRefuses(t *testing.T) {
	t.Parallel()
	s := apart(t, func(o *Options) { o.MaxInFlight = 4 })
	leave := func() {}
	for {
		last, ok := s.inFlight.Enter(false)
		if !ok {
			break
		}
		leave = last
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
	leave()
	if code, _ := status("GET", "/api/auth/users/"); code != http.StatusUnauthorized {
		t.Errorf("with a place left: %d, want 401", code)
	}
	// Every place that a request took is free again: one for others than events, and one more for events.
	for i, event := range []bool{false, true} {
		if _, ok := s.inFlight.Enter(event); !ok {
			t.Errorf("place %d was not given back", i+1)
		}
	}
	if _, ok := s.inFlight.Enter(true); ok {
		t.Error("there is a place too many")
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
