package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// maxTries is how often an event may fail for a reason of its own before it is given up. A failure
// that passes, such as another program's mistake in the same moment, has passed by then.
const maxTries = 3

// workSingly tries events in their order, each in a transaction of its own, so that one that cannot
// be processed holds up nobody but its encounter, and that one only until it is given up. It returns
// how many were finished, or the error that is no fault of any event's.
func (w *Worker) workSingly(ctx context.Context, events []event) (finished int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	conn, err := w.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		conn.Conn().Close(context.WithoutCancel(ctx)) // it has settings that nobody else wants
		conn.Release()
	}()
	for i := range events {
		if ctx.Err() != nil {
			return finished, nil
		}
		result, err := w.try(ctx, conn, &events[i])
		if err != nil {
			return finished, err
		}
		if result == tryFinished {
			finished++
		}
	}
	return finished, nil
}

// connect takes a connection for tries.
func (w *Worker) connect(ctx context.Context) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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

// How a try of an event ends.
type tryResult int

const (
	tryNotMade  tryResult = iota // it was not the event's turn
	tryFailed                    // for a reason of the event's own
	tryInVain                    // for another reason: it does not count
	tryFinished                  // the event is done
)

// try applies the event if it is its turn. The try is counted before it is made: an event that takes
// the worker down each time is given up like one that returns an error each time. Nobody else gets
// at the encounter meanwhile. The error is one that is no fault of the event's.
func (w *Worker) try(running context.Context, conn *pgxpool.Conn, e *event) (result tryResult, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(running), patience)
	defer cancel()
	defer func() { err = errors.Join(err, db.New(conn).EventTryEnd(ctx)) }()
	defer func() {
		// While the encounter is still this worker's: nobody else must finish the event before that.
		if result == tryInVain {
			err = errors.Join(err, w.untry(running, e.Seq))
		}
	}()
	tries, err := db.New(conn).EventTry(ctx, e.Seq)
	switch {
	case queries.NoRows(err):
		return tryNotMade, nil
	case err != nil:
		return tryNotMade, err
	}
	if tries <= maxTries {
		done, err := w.applyOne(ctx, conn, e.Seq, w.evenSuspects)
		switch {
		case err == nil && done:
			return tryFinished, nil
		case err == nil || transient(err): // somebody else holds the journey, or the database failed
			return tryInVain, err
		}
		w.log.WarnContext(ctx, "an event failed", "event", e.ID, "try", tries, "error", err)
		if tries < maxTries {
			return tryFailed, nil
		}
	}
	done, err := w.applyOne(ctx, conn, e.Seq, asInternalErrors)
	switch {
	case err == nil && done:
		w.log.ErrorContext(ctx, "an event was given up", "event", e.ID)
		return tryFinished, nil
	case err == nil || transient(err):
		return tryFailed, err
	}
	w.log.ErrorContext(ctx, "an event could not even be given up", "event", e.ID, "error", err)
	return tryFailed, nil
}

// applyOne applies the event alone, if it is still the first of its encounter.
func (w *Worker) applyOne(ctx context.Context, conn *pgxpool.Conn, seq int64, decide decider) (done bool, err error) {
	began := time.Now()
	c := claim{from: seq, window: 1, encounters: 1, events: 1, inTx: func(ctx context.Context, f func(*db.Queries) error) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return f(db.New(tx)) })
	}}
	b, err := w.work(ctx, c, func(ctx context.Context, q *db.Queries, b *batch) error {
		b.keep(func(e *event) bool { return e.Seq == seq })
		return decide(ctx, q, b)
	})
	if err != nil {
		return false, err
	}
	w.report(ctx, b, time.Since(began))
	return len(b.outcomes) > 0, nil
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
