// Package worker drains the table of events: it finds the journey of each, applies the rules and
// writes all that follows from them together with the event's own outcome, in one transaction. Any
// number of workers, in any number of processes, share the table; the events of an encounter are
// applied in their order of arrival all the same.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// Options of a worker. Start from DefaultOptions and change what you want: New replaces no zero value,
// it panics on those that make no sense.
type Options struct {
	Concurrency  int           // how many batches are worked on at a time, at least 1
	Batch        int           // events of a transaction, from 1 to a million
	PollInterval time.Duration // how long an idle worker waits when nothing wakes it
	Log          *slog.Logger
	Registerer   prometheus.Registerer // where the metrics are registered; none if nil
}

// DefaultOptions are the options of a worker that nobody configured. It logs and registers nothing.
func DefaultOptions() Options {
	return Options{Concurrency: 2, Batch: 1000, PollInterval: time.Second, Log: slog.New(slog.DiscardHandler)}
}

func (o Options) mustBeValid() {
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
	log          *slog.Logger
	metrics      *metrics
	wake         chan struct{}                // holds a token when there may be work
	decide       func(*facts, *event) outcome // the rules; tests put others in their place
}

// New returns a worker on the database. It needs a connection of the pool for each unit of
// concurrency and one for housekeeping, and makes one of its own to be woken by. It panics on options
// that make no sense, and if another worker's metrics are registered with the same registerer.
func New(database *queries.DB, o Options) *Worker {
	o.mustBeValid()
	w := &Worker{
		database:     database,
		concurrency:  o.Concurrency,
		batch:        int32(o.Batch),
		pollInterval: o.PollInterval,
		log:          o.Log,
		wake:         make(chan struct{}, 1),
		decide:       (*facts).decide,
	}
	w.metrics = newMetrics(database, o.Registerer)
	return w
}

// Run works until ctx ends, then finishes the batches in hand, which takes 15 s at most, and returns
// nil. Whatever goes wrong with the database is logged and tried again.
func (w *Worker) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { w.listen(ctx) })
	all.Go(func() { w.keepHouse(ctx) })
	for range w.concurrency {
		all.Go(func() { (&poller{Worker: w, size: w.batch}).run(ctx) })
	}
	all.Wait()
	return nil
}

// poller is one of a worker's loops, with its place in the queue. It moves forward from what it
// finished, so that it need not look through index entries of finished events, which stay as long
// as any snapshot can see them. But an event may turn up behind it: one that was put back into the
// queue, or whose insert took longer to commit. So it starts over from the beginning, as often as
// this takes no more than a small part of the time.
type poller struct {
	*Worker
	size int32 // events of a batch at most; less after failures

	from      int64         // where the next claim starts
	farthest  int64         // the farthest place where anything was found
	searching bool          // since it started over, nothing was found yet
	cost      time.Duration // of the last search from the beginning until something was found
	searched  time.Time     // when that was
}

const (
	// searchShare is the part of the time that searches from the beginning may take: one in so many.
	searchShare = 10
	// busyInterval is how long a poller waits for what somebody else holds, usually for milliseconds.
	busyInterval = 100 * time.Millisecond
	// leastBatch is where failures stop to make batches smaller.
	leastBatch = 16
)

func (p *poller) run(ctx context.Context) {
	var failures backoff
	for ctx.Err() == nil {
		wait, err := p.round(ctx)
		if err != nil {
			// Smaller batches need fewer locks and less time, of which there may have been too little.
			p.size = max(min(leastBatch, p.batch), p.size/2)
			p.log.WarnContext(ctx, "the database failed, trying again", "error", err)
			failures.wait(ctx)
			continue
		}
		failures.reset()
		if wait > 0 {
			p.idle(ctx, wait)
		}
	}
}

// idle waits for some time or until there may be work.
func (p *poller) idle(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-p.wake:
	}
}

// round claims and applies a batch. It returns how long to wait before the next, or an error that is
// no fault of any event's.
func (p *poller) round(ctx context.Context) (wait time.Duration, err error) {
	if p.nextSearch() <= 0 {
		p.from, p.searching, p.cost = 0, true, 0
	}
	// Each encounter of a transaction takes a lock in a table that all sessions share. Most have
	// several events waiting when there is much to do. The window has room for others' encounters.
	c := claim{from: p.from, window: 2 * p.size, encounters: max(1, p.size/4), events: p.size, inTx: p.database.InTx}
	began := time.Now()
	b, err := p.work(ctx, c, p.byTheRules)
	p.cost += b.searched
	finished := len(b.outcomes)
	switch {
	case err == nil:
		p.report(ctx, b, time.Since(began))
	case transient(err) || len(b.events) == 0:
		return 0, err
	default:
		p.log.WarnContext(ctx, "a batch failed, doing its events one by one", "events", len(b.events), "error", err)
		b.suspects = b.events
	}
	if b.full {
		p.signal()
	}
	n, err := p.workSingly(ctx, b.suspects)
	if err != nil {
		return 0, err
	}
	p.size = min(p.batch, 2*p.size)
	if finished += n; finished > 0 {
		p.found(b.first)
		return 0, nil
	}
	return p.moveOn(ctx, c, b.busy || len(b.suspects) > 0)
}

// nextSearch is in how much time to search from the beginning again.
func (p *poller) nextSearch() time.Duration {
	if p.searching {
		return time.Hour
	}
	return searchShare*p.cost - time.Since(p.searched)
}

func (p *poller) found(seq int64) {
	p.from = seq
	p.farthest = max(p.farthest, seq)
	p.endSearch()
}

func (p *poller) endSearch() {
	if p.searching {
		p.searching, p.searched = false, time.Now()
	}
}

// moveOn leaves a window in which there is nothing to do behind, because all in it is others', and
// at the end of the queue returns how long to wait.
func (p *poller) moveOn(ctx context.Context, c claim, busy bool) (wait time.Duration, err error) {
	var beyond int64
	err = p.database.Read(ctx, func(q *db.Queries) error {
		beyond, err = q.EventPendingFrom(ctx, db.EventPendingFromParams{FromSeq: c.from, Places: c.window})
		return err
	})
	switch {
	case ctx.Err() != nil:
		return 0, nil
	case err == nil:
		p.from = beyond
		return 0, nil
	case !queries.NoRows(err):
		return 0, err
	}
	fromBeginning := p.searching
	p.endSearch()
	p.from = max(p.from, p.farthest)
	switch {
	case !fromBeginning:
		return max(p.nextSearch(), time.Millisecond), nil
	case busy:
		return busyInterval, nil
	}
	return p.pollInterval, nil
}

// signal wakes one poller, or keeps the next from falling asleep.
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
	for _, o := range b.outcomes {
		w.metrics.outcomes.WithLabelValues(o.status, o.reason).Inc()
		counts[o.status]++
	}
	w.log.DebugContext(ctx, "batch", "events", len(b.outcomes), "processed", counts[statusProcessed],
		"ignored", counts[statusIgnored], "failed", counts[statusFailed], "milliseconds", took.Milliseconds())
}

// houseInterval is how often expired rows are deleted: often enough that few have piled up.
const houseInterval = 15 * time.Minute

// houseRows is how many of them one statement deletes, so that none takes long.
const houseRows = 5000

// keepHouse deletes what has expired, now and then.
func (w *Worker) keepHouse(ctx context.Context) {
	// Not at the same time in all processes.
	for sleep(ctx, houseInterval/2+rand.N(houseInterval)) {
		w.deleteExpired(ctx, "idempotency keys", (*db.Queries).IdempotencyExpire)
		w.deleteExpired(ctx, "used refresh tokens", (*db.Queries).RefreshTokenExpire)
	}
}

func (w *Worker) deleteExpired(ctx context.Context, what string, expire func(*db.Queries, context.Context, int32) (int64, error)) {
	total := int64(0)
	for deleted := int64(houseRows); deleted == houseRows; total += deleted {
		err := w.database.Read(ctx, func(q *db.Queries) (err error) {
			deleted, err = expire(q, ctx, houseRows)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				w.log.WarnContext(ctx, "could not delete what has expired", "what", what, "error", err)
			}
			return
		}
	}
	w.log.DebugContext(ctx, "deleted what has expired", "what", what, "count", total)
}
