package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stub is a doer that returns the answers in turn, repeats the last one, and records the request
// bodies.
type stub struct {
	answers []func() (*http.Response, error)
	bodies  []string
}

func (s *stub) Do(request *http.Request) (*http.Response, error) {
	body := ""
	if request.Body != nil {
		bytes, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		body = string(bytes)
	}
	next := s.answers[min(len(s.bodies), len(s.answers)-1)]
	s.bodies = append(s.bodies, body)
	return next()
}

func respond(status int, header ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) { return answer(status, `{}`, header...), nil }
}

func fails(err error) func() (*http.Response, error) {
	return func() (*http.Response, error) { return nil, err }
}

// unknownOutcome is a 503 with the code outcome_unknown.
func unknownOutcome() (*http.Response, error) {
	return answer(503, `{"detail": "Look before you send it again.", "code": "outcome_unknown"}`, "Retry-After", "1"), nil
}

// brokenBody is an answer whose connection is reset in the middle of the body.
func brokenBody() (*http.Response, error) {
	response := answer(200, "")
	response.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id": `), resetReader{}))
	return response, nil
}

type resetReader struct{}

func (resetReader) Read([]byte) (int, error) { return 0, syscall.ECONNRESET }

// newRetry returns a Retry over a stub, and the waits that it makes.
func newRetry(answers ...func() (*http.Response, error)) (*Retry, *stub, *[]time.Duration) {
	doer, waits := &stub{answers: answers}, &[]time.Duration{}
	return &Retry{Doer: doer, sleep: func(_ context.Context, wait time.Duration) error {
		*waits = append(*waits, wait)
		return nil
	}}, doer, waits
}

func request(t *testing.T, method, body string) *http.Request {
	request, err := http.NewRequestWithContext(t.Context(), method, "http://px360.test/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return request
}

var (
	reset   = &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	refused = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
)

func TestRetryRequests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method  string
		key     string
		answers []func() (*http.Response, error)
		made    int
	}{
		"success":                                 {"GET", "", []func() (*http.Response, error){respond(200)}, 1},
		"throttled POST":                          {"POST", "", []func() (*http.Response, error){respond(429, "Retry-After", "1"), respond(201)}, 2},
		"overloaded POST":                         {"POST", "", []func() (*http.Response, error){respond(503, "Retry-After", "1"), respond(201)}, 2},
		"503 to a PATCH of unknown outcome":       {"PATCH", "", []func() (*http.Response, error){unknownOutcome, respond(200)}, 1},
		"503 to a POST of unknown outcome":        {"POST", "", []func() (*http.Response, error){unknownOutcome, respond(201)}, 1},
		"503 of unknown outcome, Idempotency-Key": {"POST", "k", []func() (*http.Response, error){unknownOutcome, respond(201)}, 2},
		"503 to a PUT of unknown outcome":         {"PUT", "", []func() (*http.Response, error){unknownOutcome, respond(200)}, 2},
		"503 without Retry-After to a POST":       {"POST", "", []func() (*http.Response, error){respond(503)}, 1},
		"503 to a GET":                            {"GET", "", []func() (*http.Response, error){respond(503), respond(200)}, 2},
		"bad gateway to a PUT":                    {"PUT", "", []func() (*http.Response, error){respond(502), respond(200)}, 2},
		"500 is not retried":                      {"GET", "", []func() (*http.Response, error){respond(500)}, 1},
		"404 is not retried":                      {"GET", "", []func() (*http.Response, error){respond(404)}, 1},
		"reset GET":                               {"GET", "", []func() (*http.Response, error){fails(reset), respond(200)}, 2},
		"reset in the middle of the body":         {"DELETE", "", []func() (*http.Response, error){brokenBody, respond(204)}, 2},
		"reset POST":                              {"POST", "", []func() (*http.Response, error){fails(reset)}, 1},
		"reset PATCH":                             {"PATCH", "", []func() (*http.Response, error){fails(reset)}, 1},
		"reset POST with an Idempotency-Key":      {"POST", "k", []func() (*http.Response, error){fails(reset), respond(201)}, 2},
		"POST that was never sent":                {"POST", "", []func() (*http.Response, error){fails(refused), respond(201)}, 2},
		"connection always refused":               {"GET", "", []func() (*http.Response, error){fails(refused)}, 5},
		"no such name":                            {"GET", "", []func() (*http.Response, error){fails(&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}})}, 1},
		"wrong certificate":                       {"GET", "", []func() (*http.Response, error){fails(&tls.CertificateVerificationError{})}, 1},
		"Retry-After of 0":                        {"GET", "", []func() (*http.Response, error){respond(429, "Retry-After", "0")}, 5},
		"Retry-After beyond Patience":             {"GET", "", []func() (*http.Response, error){respond(429, "Retry-After", "3600")}, 1},
		"sum of waits beyond Patience":            {"GET", "", []func() (*http.Response, error){respond(429, "Retry-After", "100")}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			retry, doer, waits := newRetry(test.answers...)
			request := request(t, test.method, "body")
			if test.key != "" {
				request.Header.Set("Idempotency-Key", test.key)
			}
			response, err := retry.Do(request)
			if (response == nil) == (err == nil) {
				t.Errorf("got %v and %v", response, err)
			}
			if len(doer.bodies) != test.made || len(*waits) != test.made-1 {
				t.Errorf("made %d requests and %d waits, want %d requests", len(doer.bodies), len(*waits), test.made)
			}
			for _, body := range doer.bodies {
				if body != "body" {
					t.Errorf("sent body %q", body)
				}
			}
		})
	}
}

func TestRetryWaits(t *testing.T) {
	t.Parallel()
	retry, _, waits := newRetry(respond(429, "Retry-After", "37"), fails(reset), fails(reset), respond(200))
	var statuses []int
	retry.OnWait = func(_ time.Duration, status int) { statuses = append(statuses, status) }
	if _, err := retry.Do(request(t, "GET", "")); err != nil {
		t.Fatal(err)
	}
	first, second, third := (*waits)[0], (*waits)[1], (*waits)[2]
	if first != 37*time.Second {
		t.Errorf("Retry-After: 37, waited %v", first)
	}
	// Exponential backoff: 0.5 s and 0.75 s, each with 50 % jitter.
	if second < 250*time.Millisecond || second > 750*time.Millisecond || third < 375*time.Millisecond || third > 1125*time.Millisecond {
		t.Errorf("waited %v and then %v", second, third)
	}
	if len(statuses) != 3 || statuses[0] != 429 || statuses[1] != 0 {
		t.Errorf("OnWait was called with %v", statuses)
	}
}

func TestRetryStopsWithTheContext(t *testing.T) {
	t.Parallel()
	retry, doer, _ := newRetry(respond(429, "Retry-After", "37"))
	retry.sleep = nil
	ctx, cancel := context.WithCancel(t.Context())
	retry.OnWait = func(time.Duration, int) { cancel() }
	if _, err := retry.Do(request(t, "GET", "").WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(doer.bodies) != 1 {
		t.Errorf("made %d requests", len(doer.bodies))
	}
}

// When the deadline is before the end of the wait, the caller gets the server's answer at once.
func TestRetryReturnsTheAnswerBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	retry, _, waits := newRetry(respond(429, "Retry-After", "37"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	response, err := retry.Do(request(t, "GET", "").WithContext(ctx))
	if err != nil || response.StatusCode != 429 || len(*waits) != 0 {
		t.Errorf("got %v, %v after %v", response, err, *waits)
	}
}

func TestRetryDoesNotRepeatAStream(t *testing.T) {
	t.Parallel()
	retry, doer, _ := newRetry(respond(429, "Retry-After", "1"))
	stream, err := http.NewRequest("PUT", "http://px360.test/", io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	response, err := retry.Do(stream)
	if err != nil || response.StatusCode != 429 || len(doer.bodies) != 1 {
		t.Errorf("got %v, %v after %d requests", response, err, len(doer.bodies))
	}
}

func TestRetryRepeatable(t *testing.T) {
	t.Parallel()
	retry, doer, _ := newRetry(fails(reset), respond(201))
	retry.Repeatable = func(request *http.Request) bool { return request.Method == http.MethodPost }
	if _, err := retry.Do(request(t, "POST", "body")); err != nil || len(doer.bodies) != 2 {
		t.Errorf("%d requests, %v", len(doer.bodies), err)
	}
}

// The answer to a request of unknown outcome is returned with its code. A login is repeated.
func TestRetryOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	retry, doer, _ := newRetry(unknownOutcome, respond(200))
	response, err := retry.Do(request(t, "POST", "body"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	failure, ok := errors.AsType[*APIError](Check(response, body))
	if err != nil || !ok || failure.Code != CodeOutcomeUnknown || failure.RetryAfter != time.Second || len(doer.bodies) != 1 {
		t.Errorf("%d requests, and %v: %v", len(doer.bodies), failure, err)
	}
	login := request(t, "POST", "body")
	login.URL.Path = tokenPath
	retry, doer, _ = newRetry(unknownOutcome, respond(200))
	if response, err := retry.Do(login); err != nil || response.StatusCode != 200 || len(doer.bodies) != 2 {
		t.Errorf("a login: %v, %v after %d requests", response, err, len(doer.bodies))
	}
}
