package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// run makes the requests of a call until one is answered or there is no use in another.
func (c *Client) run(ctx context.Context, r *call) (received, error) {
	left, tries, pause := c.maxWait, c.maxTries, backoff.NewExponentialBackOff()
	maybeDone, refusedToken := false, ""
	for {
		token, err := c.token(ctx, r, refusedToken)
		if err != nil {
			return received{}, r.interrupted(err, maybeDone)
		}
		if ctx.Err() != nil {
			return received{}, r.interrupted(r.failed("", ctx.Err()), maybeDone)
		}
		answer, failure := c.once(ctx, r, token)
		if failure != nil && failure.Status == http.StatusUnauthorized && refusedToken == "" && c.renews(r) {
			refusedToken = token
			continue
		}
		if failure == nil || maybeDone && r.isGone(failure) {
			for _, wanted := range r.answers {
				*wanted = answer.Answer
			}
			return answer, nil
		}
		maybeDone = maybeDone || failure.MaybeDone
		failure.MaybeDone = maybeDone && !r.settled(failure)
		wait := failure.RetryAfter
		if !r.toldToWait(failure) {
			if tries--; tries <= 0 || !r.worthAnother(ctx, failure) {
				return received{}, failure
			}
			wait = pause.NextBackOff()
		}
		if wait > left || endsWithin(ctx, wait) {
			return received{}, failure
		}
		left -= wait
		c.onWait(wait, failure.Status)
		if err := c.sleep(ctx, wait); err != nil {
			return received{}, r.interrupted(r.failed("", err), maybeDone)
		}
	}
}

// interrupted is the error of a call that ends before a request whose predecessors may have been done.
func (r *call) interrupted(err error, maybeDone bool) error {
	if !maybeDone {
		return err
	}
	failure := r.failed("", err)
	failure.MaybeDone = true
	return failure
}

// changes tells that the call is meant to change something.
func (r *call) changes() bool {
	return r.method != http.MethodGet && r.method != http.MethodHead
}

// repeatable tells that the call may be made again although it may have been done. To replace or to delete a thing twice
// comes to the same as once; the key of an event's creation lets the server tell a repeat.
func (r *call) repeatable() bool {
	return !r.changes() || r.method == http.MethodPut || r.method == http.MethodDelete || r.key != "" || r.repeats
}

// isGone tells that what the call was to delete is not there: the request before has deleted it.
func (r *call) isGone(failure *Error) bool {
	return r.method == http.MethodDelete && failure.Status == http.StatusNotFound
}

// settled tells an answer by which nothing was done under the call's key, before or now. 401 and 403 are not such: they
// were given before anything was looked up.
func (r *call) settled(failure *Error) bool {
	return r.key != "" && slices.Contains([]int{
		http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge,
	}, failure.Status)
}

// toldToWait tells a throttled or overloaded server that says how long to wait. To be told 0 seconds is not to be told
// anything, or the request would be repeated without end.
func (r *call) toldToWait(failure *Error) bool {
	asks := failure.Status == http.StatusTooManyRequests || failure.Status == http.StatusServiceUnavailable
	return asks && failure.RetryAfter > 0 && (failure.Code != CodeOutcomeUnknown || r.repeatable())
}

// worthAnother tells whether a request that got no useful answer may be made again, and might get one then.
func (r *call) worthAnother(ctx context.Context, failure *Error) bool {
	switch failure.Status {
	case http.StatusTooManyRequests:
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return r.repeatable() && failure.Code != CodeQueryTooSlow
	case 0:
		return ctx.Err() == nil && !hopeless(failure.cause) && (neverSent(failure.cause) || r.repeatable())
	}
	return false
}

// neverSent tells that there was no connection to send the request over.
func neverSent(err error) bool {
	operation, ok := asError[*net.OpError](err)
	return ok && operation.Op == "dial"
}

// hopeless tells an error that trying again will not mend: a name that does not exist, or an address where the other side
// is not who it should be.
func hopeless(err error) bool {
	if name, ok := asError[*net.DNSError](err); ok && name.IsNotFound {
		return true
	}
	if _, ok := asError[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := asError[tls.RecordHeaderError](err)
	return ok
}

// endsWithin tells that the context will not outlast the wait. What the server said is then worth more to the caller than
// that time ran out.
func endsWithin(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < wait
}

func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
