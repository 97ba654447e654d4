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

// Retry sends requests again that met a busy server or a broken connection. It is a doer:
//
//	client.WithHTTPClient(&client.Retry{})
//
// A server that says how long to wait, by 429 or 503 with Retry-After, has not acted on the request,
// so any request waits as told and is sent again. Where nobody knows whether the server acted, because
// the connection was lost or the 503 has the code CodeOutcomeUnknown, only requests that may be made
// twice are: GET, HEAD, OPTIONS, PUT and DELETE, logins, any with an Idempotency-Key, and what
// Repeatable allows. One that never got a connection was not made.
//
// It is safe for concurrent use as long as its fields stay as they are.
type Retry struct {
	// Doer makes the requests. Default: an http.Client that gives each one a minute and follows no
	// redirects, since the API has none and a redirect may lose the body or show the key to others.
	Doer HttpRequestDoer
	// Tries is how often a request is made that fails otherwise than by being told to wait. Default: 5.
	Tries int
	// Patience is how long one request may wait in all: an answer that asks for more is returned as
	// it is. Default: 10 minutes. The rate limit of events can ask for an hour.
	Patience time.Duration
	// Repeatable allows further requests to be made again that may have been done, for instance the
	// creation of events that all carry a source_event_id.
	Repeatable func(*http.Request) bool
	// OnWait hears of each wait before it begins: how long, and the status that asked for it, 0 if
	// there was no answer. Several requests may call it at once.
	OnWait func(wait time.Duration, status int)

	sleep func(context.Context, time.Duration) error // for tests
}

// CodeOutcomeUnknown is the APIError.Code of a 503 to a request that may have been done or not.
const CodeOutcomeUnknown = "outcome_unknown"

const (
	defaultTries    = 5
	defaultPatience = 10 * time.Minute
	requestTimeout  = time.Minute
)

var defaultDoer = &http.Client{
	Timeout:       requestTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Do makes the request, as often as needed. The answer is read completely by then, so that a
// connection that breaks in the middle of one is noticed while something can be done about it.
func (r *Retry) Do(request *http.Request) (*http.Response, error) {
	patience := orDefault(r.Patience, defaultPatience)
	failuresLeft := orDefault(r.Tries, defaultTries) - 1
	pause := backoff.NewExponentialBackOff()
	for again := false; ; again = true {
		response, err := r.once(request, again)
		wait, told := toldToWait(response)
		switch {
		case told && (r.repeatable(request) || !outcomeUnknown(response)):
		case failuresLeft > 0 && r.worthAnother(request, response, err):
			failuresLeft--
			wait = pause.NextBackOff()
		default:
			return response, err
		}
		if wait > patience || endsWithin(request.Context(), wait) || !replayable(request) {
			return response, err
		}
		patience -= wait
		if r.OnWait != nil {
			r.OnWait(wait, statusOf(response))
		}
		if interrupted := r.pause(request.Context(), wait); interrupted != nil {
			return nil, interrupted
		}
	}
}

func (r *Retry) once(request *http.Request, again bool) (*http.Response, error) {
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

// toldToWait tells how long a throttled or overloaded server asks to wait. To be told 0 seconds is
// not to be told anything, or the request would be repeated without end.
func toldToWait(response *http.Response) (time.Duration, bool) {
	if response == nil {
		return 0, false
	}
	wait := retryAfter(response, time.Now())
	asks := response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable
	return wait, asks && wait > 0
}

// outcomeUnknown tells whether the server does not know itself what became of the request.
func outcomeUnknown(response *http.Response) bool {
	if response.StatusCode != http.StatusServiceUnavailable {
		return false
	}
	var answer struct{ Code string }
	body, err := io.ReadAll(response.Body) // out of memory: once has read it
	response.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && json.Unmarshal(body, &answer) == nil && answer.Code == CodeOutcomeUnknown
}

// worthAnother tells whether a request that got no useful answer may be made again, and might then.
func (r *Retry) worthAnother(request *http.Request, response *http.Response, err error) bool {
	if response != nil {
		switch response.StatusCode {
		case http.StatusTooManyRequests:
			return true
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return r.repeatable(request)
		}
		return false
	}
	if request.Context().Err() != nil || hopeless(err) {
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

// isLogin tells a login, which leaves nothing behind but the tokens that it is answered with.
func isLogin(request *http.Request) bool {
	return request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, tokenPath)
}

// replayable tells whether the body can be had again; net/http sees to that for bodies in memory,
// which is what the generated code sends.
func replayable(request *http.Request) bool {
	return request.Body == nil || request.Body == http.NoBody || request.GetBody != nil
}

// neverSent tells that there was no connection to send the request over.
func neverSent(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "dial"
}

// hopeless tells an error that trying again will not mend: a name that does not exist, or an address
// where the other side is not who it should be.
func hopeless(err error) bool {
	if name, ok := errors.AsType[*net.DNSError](err); ok && name.IsNotFound {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// endsWithin tells that the context will not outlast the wait. What the server said is then worth more
// to the caller than that time ran out.
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
