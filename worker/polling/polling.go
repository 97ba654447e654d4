// Package polling does a piece of work again and again.
package polling

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/px360/px360/queries"
)

// Run works until ctx ends, without a pause while there is more, else every interval on average. Failures are logged, and
// retried with backoff.
func Run(ctx context.Context, log *slog.Logger, interval time.Duration, what string, work func(context.Context) (more bool, err error)) {
	backoff := queries.Backoff()
	for ctx.Err() == nil {
		more, err := work(ctx)
		wait := interval/2 + rand.N(interval)
		switch {
		case err == nil && more:
			backoff.Reset()
			continue
		case err == nil:
			backoff.Reset()
		case ctx.Err() == nil:
			wait = backoff.NextBackOff()
			log.WarnContext(ctx, "could not "+what+", trying again", "error", err, "wait", wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// UntilDone works until there is no more.
func UntilDone(ctx context.Context, work func(context.Context) (more bool, err error)) error {
	for more := true; more; {
		var err error
		if more, err = work(ctx); err != nil {
			return err
		}
	}
	return nil
}
