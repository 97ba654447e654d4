package queries

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// tries is how often a piece of work runs at most.
const tries = 3

// Backoff is the wait between retries: 150 ms, twice as long each time, up to 3.3 s, each ± 50 % at random, so that
// two transactions that deadlocked, or all workers after an outage, do not come back at the same moment.
func Backoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: 150 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 3300 * time.Millisecond,
	}
}

// RetryIdempotent runs work that has the same effect however often it is done: it is retried not only as a deadlock
// victim but also when its connection was lost and nobody knows whether it was done. Where one of the runs was lost
// and the last one did nothing, the error is Lost: the work may be done all the same. Work must not retry by itself.
func RetryIdempotent(ctx context.Context, work func() error) error {
	var lost error
	err := retry(ctx, func() error {
		err := work()
		if Judge(err) == Lost {
			lost = err
		}
		return err
	}, Retry, Lost)
	if verdict := Judge(err); lost != nil && err != nil && (verdict == Retry || verdict == Busy || verdict == TimedOut) {
		return lost
	}
	return err
}

// retry runs work until it succeeds, fails with another verdict than those, or has failed three times. It returns the
// error of the last run.
func retry(ctx context.Context, work func() error, on ...Verdict) (err error) {
	_, _ = backoff.Retry(ctx, func() (struct{}, error) {
		if err = work(); err != nil && !slices.Contains(on, Judge(err)) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(Backoff()), backoff.WithMaxTries(tries))
	return err
}
