package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
)

// Options of a worker. Start from DefaultOptions and change what you want: New replaces no zero value,
// it panics on those that make no sense.
type Options struct {
	Concurrency  int           // how many batches are worked on at a time, at least 1
	Batch        int           // events of a transaction, from 1 to a million
	PollInterval time.Duration // how long an idle worker waits when nothing wakes it
	// How long finished events and entries of the audit log are kept, at least MinRetention; 0: for ever.
	EventRetention, AuditRetention time.Duration
	Log                            *slog.Logger
	Registerer                     prometheus.Registerer // where the metrics are registered; none if nil
}

// DefaultOptions are the options of a worker that nobody configured. It logs and registers nothing.
func DefaultOptions() Options {
	return Options{Concurrency: 2, Batch: 1000, PollInterval: time.Second, Log: slog.New(slog.DiscardHandler)}
}

func (o Options) mustBeValid() {
	for _, retention := range []time.Duration{o.EventRetention, o.AuditRetention} {
		if retention != 0 && retention < MinRetention {
			panic(fmt.Sprintf("worker options that make no sense: a retention of %v", retention))
		}
	}
	if o.Concurrency < 1 || o.Batch < 1 || o.Batch > 1_000_000 || o.PollInterval <= 0 || o.Log == nil {
		panic(fmt.Sprintf("worker options that make no sense: concurrency %d, batch %d, poll interval %v, log %v",
			o.Concurrency, o.Batch, o.PollInterval, o.Log))
	}
}

// Worker applies pending events. Make it with New.
type Worker struct {
	database     *queries.DB
	concurrency  int
	batch        int32
	pollInterval time.Duration
	expiring     []expiring
	log          *slog.Logger
	metrics      *metrics
	wake         chan struct{}                            // holds a token when there may be work
	decide       func(*rules.Facts, *event) rules.Outcome // the rules; tests put others in their place
	startedAt    time.Time                                // set by Run
	// Tests have others in the place of these too.
	decideTimeout, markFirstFor time.Duration
	backoff                     func() *backoff.ExponentialBackOff // of a poller
}

// New returns a worker on the database. It needs a connection of the pool for each unit of
// concurrency and two for everything else, and makes one of its own to be woken by. It panics on options
// that make no sense, and if another worker's metrics are registered with the same registerer.
func New(database *queries.DB, o Options) *Worker {
	o.mustBeValid()
	w := &Worker{
		database:     database,
		concurrency:  o.Concurrency,
		batch:        int32(o.Batch),
		pollInterval: o.PollInterval,
		expiring:     tables(o),
		log:          o.Log,
		wake:         make(chan struct{}, 1),
		decide:       decide,

		decideTimeout: decideTimeout, markFirstFor: markFirstFor, backoff: queries.Backoff,
	}
	w.metrics = newMetrics(database, o.Registerer)
	return w
}

// Run works until ctx ends, then finishes the batches under way, which takes 15 s at most, and returns nil. Failures of
// the database are logged and retried.
func (w *Worker) Run(ctx context.Context) error {
	w.startedAt = time.Now()
	var all sync.WaitGroup
	all.Go(func() { w.listen(ctx) })
	all.Go(func() { w.expiry(ctx) })
	all.Go(func() { w.watch(ctx) })
	for range w.concurrency {
		all.Go(func() { (&poller{Worker: w, size: w.batch}).run(ctx) })
	}
	all.Wait()
	return nil
}

// signal wakes one poller, or keeps the next one from waiting.
func (w *Worker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// report counts and logs a batch that was committed.
func (w *Worker) report(ctx context.Context, b batch, took time.Duration) {
	if len(b.outcomes) == 0 {
		return
	}
	w.metrics.batches.Observe(took.Seconds())
	counts := map[string]int{}
	for i := range b.outcomes {
		o := &b.outcomes[i]
		w.metrics.outcomes.WithLabelValues(o.Status, o.Reason).Inc()
		if o.Warning.Reason != "" {
			w.metrics.warnings.WithLabelValues(o.Warning.Reason, o.event.NamedSource).Inc()
		}
		counts[o.Status]++
	}
	w.log.DebugContext(ctx, "batch", "events", len(b.outcomes), "processed", counts[rules.EventProcessed],
		"ignored", counts[rules.EventIgnored], "failed", counts[rules.EventFailed], "milliseconds", took.Milliseconds())
}
