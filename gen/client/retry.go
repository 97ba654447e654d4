package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Retry retries requests that meet an overloaded server or a broken connection, with exponential
// backoff. It is a doer:
//
//	client.WithHTTPClient(&client.Retry{})
//
// A server that answers 429 or 503 with Retry-After has not acted on the request, so any request is
// repeated after that time. Where the outcome is unknown, because the connection was lost or the 503
// has the code CodeOutcomeUnknown, only idempotent requests are repeated: GET, HEAD, OPTIONS, PUT and
// DELETE, logins, any with an Idempotency-Key, and what Repeatable allows. A request that failed to
// connect was not made, so it is repeated too.
//
// It is safe for concurrent use as long as its fields are not changed.
type Retry struct {
	// Doer makes the requests. Default: an http.Client with a timeout of one minute that follows no
	// redirects: the API has none, and a redirect may lose the body or send the credentials to
	// another host.
	Doer HttpRequestDoer
	// Tries limits how often a request is made that fails without a Retry-After. Default: 5.
	Tries int
	// Patience limits the total time that one request waits: an answer whose Retry-After exceeds
	// what is left of it is returned as it is. Default: 10 minutes. The rate limit of events can
	// ask for an hour.
	Patience time.Duration
	// Repeatable marks further requests as idempotent, for instance the creation of events that all
	// carry a source_event_id.
	Repeatable func(*http.Request) bool
	// OnWait is called before each wait with its length and the status of the answer, 0 if there
	// was none. It may be called concurrently.
	OnWait func(wait time.Duration, status int)

	sleep func(context.Context, time.Duration) error // for tests
}

// CodeOutcomeUnknown is the APIError.Code of a 503 to a request that may have been done or not.
const CodeOutcomeUnknown = "outcome_unknown"

const (
	defaultTries   = 5
	defaultMaxWait = 10 * time.Minute
	requestTimeout = time.Minute
)

var defaultDoer = &http.Client{
	Timeout:       requestTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Do makes the request, with retries. It reads the whole body before it returns, so that a
// connection that breaks in the middle of the body is retried too.
func (r *Retry) Do(request *http.Request) (*http.Response, error) {
	waitLeft := orDefault(r.Patience, defaultMaxWait)
	failuresLeft := orDefault(r.Tries, defaultTries) - 1
	pause := backoff.NewExponentialBackOff()
	for again := false; ; again = true {
		response, err := r.attempt(request, again)
		wait, requested := requestedWait(response)
		switch {
		case requested && (r.repeatable(request) || !outcomeUnknown(response)):
		case failuresLeft > 0 && r.shouldRetry(request, response, err):
			failuresLeft--
			wait = pause.NextBackOff()
		default:
			return response, err
		}
		if wait > waitLeft || endsWithin(request.Context(), wait) || !replayable(request) {
			return response, err
		}
		waitLeft -= wait
		if r.OnWait != nil {
			r.OnWait(wait, statusOf(response))
		}
		if ended := r.pause(request.Context(), wait); ended != nil {
			return nil, ended
		}
	}
}

func (r *Retry) attempt(request *http.Request, again bool) (*http.Response, error) {
	if again && request.GetBody != nil {
		body, err := request.GetBody()
		if err != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Body = body
	}
	doer := r.Doer
	if doer == nil {
		doer = defaultDoer
	}
	response, err := doer.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// requestedWait returns the Retry-After of a 429 or 503. A Retry-After of 0 seconds counts as none,
// or the request would be repeated without end.
func requestedWait(response *http.Response) (time.Duration, bool) {
	if response == nil {
		return 0, false
	}
	wait := retryAfter(response, time.Now())
	asks := response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable
	return wait, asks && wait > 0
}

// outcomeUnknown reports whether the answer is a 503 with CodeOutcomeUnknown.
func outcomeUnknown(response *http.Response) bool {
	if response.StatusCode != http.StatusServiceUnavailable {
		return false
	}
	var answer struct{ Code string }
	body, err := io.ReadAll(response.Body) // cannot block: attempt has read the body
	response.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && json.Unmarshal(body, &answer) == nil && answer.Code == CodeOutcomeUnknown
}

// shouldRetry reports whether a failed request may be repeated and could then succeed.
func (r *Retry) shouldRetry(request *http.Request, response *http.Response, err error) bool {
	if response != nil {
		switch response.StatusCode {
		case http.StatusTooManyRequests:
			return true
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return r.repeatable(request)
		}
		return false
	}
	if request.Context().Err() != nil || permanent(err) {
		return false
	}
	return neverSent(err) || r.repeatable(request)
}

func (r *Retry) repeatable(request *http.Request) bool {
	return idempotent(request.Method) || isLogin(request) || request.Header.Get("Idempotency-Key") != "" ||
		r.Repeatable != nil && r.Repeatable(request)
}

func idempotent(method string) bool {
	return slices.Contains([]string{
		http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete,
	}, method)
}

// isLogin reports whether the request is a login, which has no effect but to issue tokens.
func isLogin(request *http.Request) bool {
	return request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, tokenPath)
}

// replayable reports whether the body can be read again. net/http sets GetBody for bodies in
// memory, which is what the generated code sends.
func replayable(request *http.Request) bool {
	return request.Body == nil || request.Body == http.NoBody || request.GetBody != nil
}

// neverSent reports a failure to connect, so that the request was not sent.
func neverSent(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "dial"
}

// permanent reports an error that a retry cannot fix: a name that does not exist, or a failed TLS
// handshake.
func permanent(err error) bool {
	if name, ok := errors.AsType[*net.DNSError](err); ok && name.IsNotFound {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// endsWithin reports whether the context ends before the wait does. The caller then gets the server's
// answer, which says more than "deadline exceeded".
func endsWithin(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < wait
}

func (r *Retry) pause(ctx context.Context, wait time.Duration) error {
	if r.sleep != nil {
		return r.sleep(ctx, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func statusOf(response *http.Response) int {
	if response == nil {
		return 0
	}
	return response.StatusCode
}

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}
