package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a doer that gives the answers in turn, the last one again and again, and keeps what it was sent.
type script struct {
	answers []func() (*http.Response, error)
	bodies  []string
	keys    []string
}

func (s *script) Do(request *http.Request) (*http.Response, error) {
	body := ""
	if request.Body != nil {
		bytes, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		body = string(bytes)
	}
	next := s.answers[min(len(s.bodies), len(s.answers)-1)]
	s.bodies, s.keys = append(s.bodies, body), append(s.keys, request.Header.Get("Idempotency-Key"))
	return next()
}

func says(status int, header ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) { return answer(status, `{}`, header...), nil }
}

func fails(err error) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: "http://px360.test/?search=Ali", Err: err}
	}
}

// unknown is the answer of a server that does not know whether it acted.
func unknown() (*http.Response, error) {
	return answer(503, `{"detail": "Look before you send it again.", "code": "outcome_unknown"}`, "Retry-After", "1"), nil
}

// tooSlow is the answer of a server whose database would take as long again.
func tooSlow() (*http.Response, error) {
	return answer(503, `{"detail": "The query takes too long.", "code": "query_too_slow"}`), nil
}

// breaks is an answer whose connection is lost in the middle.
func breaks() (*http.Response, error) {
	response := answer(200, "")
	response.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id": `), broken{}))
	return response, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, syscall.ECONNRESET }

// retrying returns a client over the script, and the waits that it makes.
func retrying(t *testing.T, answers ...func() (*http.Response, error)) (*Client, *script, *[]time.Duration) {
	t.Helper()
	doer, waits := &script{answers: answers}, &[]time.Duration{}
	api := newClient(t, "http://px360.test", WithHTTPClient(doer))
	api.sleep = func(_ context.Context, wait time.Duration) error {
		*waits = append(*waits, wait)
		return nil
	}
	return api, doer, waits
}

var (
	reset   = &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	refused = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
)

func TestRetryRequests(t *testing.T) {
	t.Parallel()
	type answers = []func() (*http.Response, error)
	for name, test := range map[string]struct {
		method    string
		key       string
		answers   answers
		made      int
		status    int // of the error; 0 without one or without an answer
		maybeDone bool
	}{
		"success":                            {"GET", "", answers{says(200)}, 1, 0, false},
		"throttled POST":                     {"POST", "", answers{says(429, "Retry-After", "1"), says(201)}, 2, 0, false},
		"busy POST":                          {"POST", "", answers{says(503, "Retry-After", "1"), says(201)}, 2, 0, false},
		"503 to a PATCH of unknown outcome":  {"PATCH", "", answers{unknown, says(200)}, 1, 503, true},
		"503 to a POST of unknown outcome":   {"POST", "", answers{unknown, says(201)}, 1, 503, true},
		"the same with an Idempotency-Key":   {"POST", "k", answers{unknown, says(201)}, 2, 0, false},
		"503 to a PUT of unknown outcome":    {"PUT", "", answers{unknown, says(200)}, 2, 0, false},
		"503 to a POST that may be done":     {"POST", "", answers{says(503)}, 1, 503, true},
		"503 to a GET":                       {"GET", "", answers{says(503), says(200)}, 2, 0, false},
		"a list that is too slow":            {"GET", "", answers{tooSlow}, 1, 503, false},
		"bad gateway to a PUT":               {"PUT", "", answers{says(502), says(200)}, 2, 0, false},
		"a server's error is final":          {"GET", "", answers{says(500)}, 1, 500, false},
		"a refusal is final":                 {"GET", "", answers{says(404)}, 1, 404, false},
		"reset GET":                          {"GET", "", answers{fails(reset), says(200)}, 2, 0, false},
		"reset in the middle of the answer":  {"DELETE", "", answers{breaks, says(204)}, 2, 0, false},
		"deleted the first time":             {"DELETE", "", answers{fails(reset), says(404)}, 2, 0, false},
		"nothing to delete":                  {"DELETE", "", answers{says(404)}, 1, 404, false},
		"reset POST":                         {"POST", "", answers{fails(reset)}, 1, 0, true},
		"reset PATCH":                        {"PATCH", "", answers{fails(reset)}, 1, 0, true},
		"reset POST with an Idempotency-Key": {"POST", "k", answers{fails(reset), says(201)}, 2, 0, false},
		"the same, and then wrong":           {"POST", "k", answers{fails(reset), says(400)}, 2, 400, false},
		"the same, and then throttled":       {"POST", "k", answers{fails(reset), says(429, "Retry-After", "3600")}, 2, 429, true},
		"a PUT that is lost, and then wrong": {"PUT", "", answers{fails(reset), says(400)}, 2, 400, true},
		"POST that was never sent":           {"POST", "", answers{fails(refused), says(201)}, 2, 0, false},
		"never up":                           {"POST", "", answers{fails(refused)}, 5, 0, false},
		"no such name":                       {"GET", "", answers{fails(&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}})}, 1, 0, false},
		"wrong certificate":                  {"GET", "", answers{fails(&tls.CertificateVerificationError{})}, 1, 0, false},
		"told to wait for no time":           {"GET", "", answers{says(429, "Retry-After", "0")}, 5, 429, false},
		"told to wait for too long":          {"GET", "", answers{says(429, "Retry-After", "3600")}, 1, 429, false},
		"told to wait too often":             {"GET", "", answers{says(429, "Retry-After", "50")}, 3, 429, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, doer, waits := retrying(t, test.answers...)
			o := operation{method: test.method, path: "/", body: "body", keyed: test.key != ""}
			err := sendOnly(t.Context(), api, o, []CallOption{WithIdempotencyKey(test.key)})
			failure, failed := asError[*Error](err)
			if failed != (err != nil) || failed && (failure.Status != test.status || failure.MaybeDone != test.maybeDone) {
				t.Errorf("got %v", err)
			}
			if len(doer.bodies) != test.made || len(*waits) != test.made-1 {
				t.Errorf("made %d requests and %d waits, want %d requests", len(doer.bodies), len(*waits), test.made)
			}
			for i, body := range doer.bodies {
				if body != `"body"` || doer.keys[i] != test.key {
					t.Errorf("sent %q again, with key %q", body, doer.keys[i])
				}
			}
			if text := failureText(err); strings.Contains(text, "Ali") {
				t.Errorf("the error shows the query: %s", text)
			}
		})
	}
}

func failureText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRetryWaits(t *testing.T) {
	t.Parallel()
	api, _, waits := retrying(t, says(429, "Retry-After", "37"), fails(reset), fails(reset), says(200))
	var statuses []int
	WithOnWait(func(_ time.Duration, status int) { statuses = append(statuses, status) })(api)
	if _, err := api.RetrieveMe(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, second, third := (*waits)[0], (*waits)[1], (*waits)[2]
	if first != 37*time.Second {
		t.Errorf("told to wait 37 s, waited %v", first)
	}
	// Half a second and half as much again, each give or take half of it.
	if second < 250*time.Millisecond || second > 750*time.Millisecond || third < 375*time.Millisecond || third > 1125*time.Millisecond {
		t.Errorf("waited %v and then %v", second, third)
	}
	if len(statuses) != 3 || statuses[0] != 429 || statuses[1] != 0 {
		t.Errorf("OnWait heard of %v", statuses)
	}
}

func TestRetryLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		option Option
		made   int
	}{
		"no wait":  {WithMaxWait(0), 1},
		"two":      {WithMaxTries(2), 2},
		"patience": {WithMaxWait(time.Hour), 5},
	} {
		api, doer, _ := retrying(t, fails(reset))
		test.option(api)
		if _, err := api.RetrieveMe(t.Context()); !errors.Is(err, syscall.ECONNRESET) || len(doer.bodies) != test.made {
			t.Errorf("%s: %d requests, %v", name, len(doer.bodies), err)
		}
	}
}

func TestRetryStopsWithTheContext(t *testing.T) {
	t.Parallel()
	api, doer, _ := retrying(t, says(429, "Retry-After", "37"))
	api.sleep = sleep
	ctx, cancel := context.WithCancel(t.Context())
	WithOnWait(func(time.Duration, int) { cancel() })(api)
	_, err := api.RetrieveMe(ctx)
	if failure, ok := asError[*Error](err); !ok || failure.Status != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := api.CreateHospital(ctx, HospitalCreate{}); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "may") {
		t.Errorf("got %v", err)
	}
	if len(doer.bodies) != 1 {
		t.Errorf("made %d requests", len(doer.bodies))
	}
}

// A caller with a deadline is better served by the server's answer than by "deadline exceeded".
func TestRetryKnowsTheDeadline(t *testing.T) {
	t.Parallel()
	api, _, waits := retrying(t, says(429, "Retry-After", "37"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := api.RetrieveMe(ctx)
	if failure, ok := asError[*Error](err); !ok || failure.RetryAfter != 37*time.Second || len(*waits) != 0 {
		t.Errorf("got %v after %v", err, *waits)
	}
}

func TestRetryWithRepeats(t *testing.T) {
	t.Parallel()
	api, doer, _ := retrying(t, fails(reset), says(201))
	if _, err := api.CreateHospital(t.Context(), HospitalCreate{}, WithRepeats()); err != nil || len(doer.bodies) != 2 {
		t.Errorf("%d requests, %v", len(doer.bodies), err)
	}
}

// The client makes up a key for each event's creation, and only for that; repeats have the same one.
func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	api, doer, _ := retrying(t, fails(reset), says(201), says(201), says(201), says(201))
	var answer Answer
	for _, options := range [][]CallOption{nil, nil, {WithIdempotencyKey("mine"), WithAnswer(&answer)}} {
		if _, err := api.CreateEvent(t.Context(), EventCreate{}, options...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.CreateHospital(t.Context(), HospitalCreate{}); err != nil {
		t.Fatal(err)
	}
	k := doer.keys
	if len(k) != 5 || len(k[0]) != 36 || k[0] != k[1] || k[1] == k[2] || k[3] != "mine" || k[4] != "" || answer.Status != 201 {
		t.Errorf("sent the keys %q, answered %d", k, answer.Status)
	}
}

// An answer of success that cannot be read is not taken for a failure to act.
func TestUnreadableAnswer(t *testing.T) {
	t.Parallel()
	page := func() (*http.Response, error) { return answer(200, "<html>", "X-Request-ID", "0193"), nil }
	api, doer, _ := retrying(t, page)
	_, err := api.CreateHospital(t.Context(), HospitalCreate{})
	failure, ok := asError[*Error](err)
	if !ok || !failure.MaybeDone || failure.Status != 200 || failure.RequestID != "0193" || len(doer.bodies) != 1 {
		t.Errorf("got %v after %d requests", err, len(doer.bodies))
	}
}
