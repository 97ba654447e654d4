package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// maxTries is how often an event may fail for a reason of its own before it is given up. A failure
// that passes, such as another program's mistake in the same moment, has passed by then.
const maxTries = 3

// workSingly tries events in their order, each in a transaction of its own, so that one that cannot
// be processed holds up nobody but its encounter, and that one only until it is given up. It returns
// how many were finished, or the error that is no fault of any event's.
func (w *Worker) workSingly(ctx context.Context, seqs []int64) (finished int, err error) {
	for _, seq := range seqs {
		if ctx.Err() != nil {
			return finished, nil
		}
		ok, err := w.try(ctx, seq)
		if err != nil {
			return finished, err
		}
		if ok {
			finished++
		}
	}
	return finished, nil
}

// try applies the event if it is its turn. The try is counted before it is made: an event that takes
// the worker down each time is given up like one that returns an error each time.
func (w *Worker) try(ctx context.Context, seq int64) (finished bool, err error) {
	tries, err := w.countTry(ctx, seq)
	switch {
	case queries.NoRows(err):
		return false, nil
	case err != nil:
		return false, err
	}
	if tries <= maxTries {
		finished, err = w.applyOne(ctx, seq, w.evenSuspects)
		switch {
		case err == nil && finished:
			return true, nil
		case err == nil: // its journey is somebody else's just now
			return false, w.untry(ctx, seq)
		case transient(err):
			w.log.WarnContext(ctx, "the database failed, trying again", "error", err)
			return false, w.untry(ctx, seq)
		}
		w.log.WarnContext(ctx, "an event failed", "seq", seq, "try", tries, "error", err)
		if tries < maxTries {
			return false, nil
		}
	}
	finished, err = w.applyOne(ctx, seq, asInternalErrors)
	if err != nil && !transient(err) {
		w.log.ErrorContext(ctx, "an event could not even be given up", "seq", seq, "error", err)
		return false, nil
	}
	return finished, err
}

// countTry returns how many tries there were, this one included. Once counted it is made, even if the
// worker is told to stop meanwhile.
func (w *Worker) countTry(ctx context.Context, seq int64) (tries int32, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err = w.database.Read(ctx, func(q *db.Queries) error {
		tries, err = q.EventTry(ctx, seq)
		return err
	})
	return tries, err
}

// applyOne applies the event alone, if it is still the first of its encounter.
func (w *Worker) applyOne(ctx context.Context, seq int64, decide decider) (finished bool, err error) {
	began := time.Now()
	b, err := w.work(ctx, claim{from: seq, window: 1, encounters: 1, events: 1},
		func(ctx context.Context, q *db.Queries, b *batch) error {
			b.keep(func(e *event) bool { return e.Seq == seq })
			if len(b.events) == 0 {
				return nil
			}
			return decide(ctx, q, b)
		})
	if err != nil || len(b.outcomes) == 0 {
		return false, err
	}
	w.report(ctx, b, time.Since(began))
	o := b.outcomes[0]
	level := slog.LevelInfo
	if o.reason == reasonInternalError {
		level = slog.LevelError
	}
	w.log.Log(ctx, level, "event done alone", "event", o.event.ID, "status", o.status, "reason", o.reason)
	return true, nil
}

// untry takes back the count of a try that failed for no fault of the event's. It does not give up
// while the worker runs, since the event would pay for it.
func (w *Worker) untry(ctx context.Context, seq int64) error {
	var failures backoff
	for {
		err := w.untryOnce(ctx, seq)
		if err == nil || !transient(err) || !failures.wait(ctx) {
			return err
		}
	}
}

func (w *Worker) untryOnce(ctx context.Context, seq int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return w.database.Read(ctx, func(q *db.Queries) error { return q.EventUntry(ctx, seq) })
}
