package worker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// maxTries is how often an event may fail for a reason of its own before it is given up: then it is a poison event. A
// failure that passes, such as another program's mistake in the same moment, has passed by then.
const maxTries = 3

// transient tells failures that are no fault of the events that were being applied. Those cost them no try.
func transient(err error) bool {
	switch queries.Judge(err) {
	case queries.Retry, queries.Busy, queries.Lost, queries.Unusable:
		return true
	}
	return false
}

// applySingly attempts events in their order, each in a transaction of its own, so that a poison event holds up nobody
// but its encounter, and that one only until it is given up. Those that failed alone before come last: they may hang. It
// returns how many were finished, or the error that is no fault of any event's.
func (w *Worker) applySingly(ctx context.Context, events []event) (finished int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(min(a.Tries, 1), min(b.Tries, 1)) })
	conn, err := w.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		conn.Conn().Close(context.WithoutCancel(ctx)) // its settings must not reach others
		conn.Release()
	}()
	for i := range events {
		if ctx.Err() != nil {
			return finished, nil
		}
		result, err := w.attempt(ctx, conn, &events[i])
		if err != nil {
			return finished, err
		}
		if result == attemptFinished {
			finished++
		}
	}
	return finished, nil
}

// connect takes a connection for attempts.
func (w *Worker) connect(ctx context.Context) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	conn, err := w.database.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if err := db.New(conn).EventTryBegin(ctx); err != nil {
		conn.Conn().Close(ctx)
		conn.Release()
		return nil, err
	}
	return conn, nil
}

// How an attempt ends.
type attemptResult int

const (
	attemptNotMade  attemptResult = iota // it was not the event's turn
	attemptFailed                        // for a reason of the event's own: it counts
	attemptUndone                        // for another reason: it does not count
	attemptFinished                      // the event is done
)

// attempt applies the event if it is its turn. The attempt is counted before it is made, so an event that crashes the
// worker each time is given up like one that returns an error each time. The connection holds the encounter's mutex
// meanwhile. The error is one that is no fault of the event's.
func (w *Worker) attempt(running context.Context, conn *pgxpool.Conn, e *event) (result attemptResult, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(running), batchTimeout)
	defer cancel()
	defer func() { err = errors.Join(err, db.New(conn).EventTryEnd(ctx)) }()
	least := e.Tries // it is not known whether more were counted
	defer func() {
		// Before the mutex is given back: nobody else must finish the event before its count is right.
		if result == attemptUndone {
			err = errors.Join(err, w.uncount(running, e.Seq, least))
		}
	}()
	try, err := db.New(conn).EventTry(ctx, db.EventTryParams{Seq: e.Seq, Tries: e.Tries, MaxTries: maxTries})
	switch {
	case queries.NoRows(err):
		return attemptNotMade, nil
	case queries.Judge(err) == queries.Lost: // it may have been counted
		return attemptUndone, err
	case err != nil:
		return attemptNotMade, err
	}
	least = 0
	if try.Tries <= maxTries {
		done, err := w.applyOne(ctx, conn, e.Seq, w.decideAll)
		switch {
		case err == nil && done:
			return attemptFinished, nil
		case err == nil || transient(err): // another transaction has locked the journey, or the database failed
			return attemptUndone, err
		}
		w.log.WarnContext(ctx, "an event failed", "event", e.ID, "try", try.Tries, "error", err)
		if try.Tries < maxTries {
			return attemptFailed, nil
		}
	}
	return w.giveUp(ctx, conn, e)
}

// giveUp ends the event as failed.
func (w *Worker) giveUp(ctx context.Context, conn *pgxpool.Conn, e *event) (attemptResult, error) {
	done, err := w.applyOne(ctx, conn, e.Seq, failAsInternalError)
	switch {
	case err == nil && done:
		w.log.ErrorContext(ctx, "an event was given up", "event", e.ID)
		return attemptFinished, nil
	case err == nil || transient(err):
		return attemptFailed, err
	}
	w.log.ErrorContext(ctx, "an event could not even be given up", "event", e.ID, "error", err)
	return attemptFailed, nil
}

// applyOne applies the event alone, if it is still the first of its encounter.
func (w *Worker) applyOne(ctx context.Context, conn *pgxpool.Conn, seq int64, decide decider) (done bool, err error) {
	began := time.Now()
	c := claim{from: seq, window: 1, encounters: 1, events: 1, inTx: func(ctx context.Context, f func(*db.Queries) error) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return f(db.New(tx)) })
	}}
	b, err := w.runTx(ctx, c, func(ctx context.Context, q *db.Queries, b *batch) error {
		b.filter(func(e *event) bool { return e.Seq == seq })
		return decide(ctx, q, b)
	})
	if err != nil {
		return false, err
	}
	w.report(ctx, b, time.Since(began))
	return len(b.outcomes) > 0, nil
}

// uncount takes back the count of an attempt that failed for no fault of the event's. It does not give up while the
// worker runs, since that would cost the event a try.
func (w *Worker) uncount(ctx context.Context, seq int64, least int32) error {
	backoff := queries.Backoff()
	for {
		err := w.uncountOnce(ctx, seq, least)
		if err == nil || !transient(err) || !sleep(ctx, backoff.NextBackOff()) {
			return err
		}
	}
}

func (w *Worker) uncountOnce(ctx context.Context, seq int64, least int32) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	return w.database.Read(ctx, func(q *db.Queries) error {
		return q.EventTryUndo(ctx, db.EventTryUndoParams{Seq: seq, Least: least, MaxTries: maxTries})
	})
}
