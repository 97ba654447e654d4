package worker

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/facts"
	"github.com/px360/px360/queries/rules"
)

// When a batch is marked as suspect, in a transaction of its own. The events of a suspect batch are applied one by one,
// whoever claims them, so that a poison event fails one batch and not one after the other.
type marking int

const (
	markNever      marking = iota // an attempt: it is counted before it is made
	markFailed                    // if it fails, before its transaction gives the encounters back
	markFirst                     // before it is applied, and unmarked in its transaction: the mark is left if the process ends
	markUnlessFull                // first, unless the batch is full: a backlog would take longer
)

const (
	// markFirstFor is how long after its start a worker marks batches first. In a backlog a poller does so with its first
	// markFirstBatches only: an event that ended the process is still at the beginning of the queue when the process is
	// started again, unless another worker tries it just then.
	markFirstFor     = time.Minute
	markFirstBatches = 2
	// markTimeout is less than the idle_in_transaction_session_timeout: the batch's transaction waits meanwhile.
	markTimeout = 5 * time.Second
	// decideTimeout is how long the rules may take for a batch, which are milliseconds. It is less than the
	// idle_in_transaction_session_timeout too.
	decideTimeout = 5 * time.Second
)

// errEndless says that the rules did not come to an end.
var errEndless = errors.New("the rules did not decide in time")

// marking is when the next batch of the poller is to be marked.
func (p *poller) marking() marking {
	switch {
	case time.Since(p.startedAt) >= p.markFirstFor:
		return markFailed
	case p.applied < markFirstBatches:
		return markFirst
	default:
		return markUnlessFull
	}
}

// mark stores that the batch is suspect, on another connection than the batch's.
func (w *Worker) mark(ctx context.Context, b *batch) error {
	if len(b.events) == 0 || b.mark != uuid.Nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	id := uuid.New()
	err := w.database.Read(ctx, func(q *db.Queries) error {
		return q.SuspectBatchInsert(ctx, db.SuspectBatchInsertParams{
			ID: id, Encounters: facts.Distinct(b.events, func(e *event) string { return e.EncounterID }), LastSeq: b.events[len(b.events)-1].Seq,
		})
	})
	if err == nil {
		b.mark = id
	}
	return err
}

// markFailure marks a batch that failed for a reason of an event's own.
func (w *Worker) markFailure(ctx context.Context, b *batch) {
	if err := w.mark(ctx, b); err != nil {
		w.log.WarnContext(ctx, "a failed batch could not be marked", "error", err)
	}
}

// unmark takes back the mark of a batch that failed for no fault of an event's. If that fails too, its events are applied
// one by one for nothing.
func (w *Worker) unmark(ctx context.Context, b *batch) {
	if b.mark == uuid.Nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	if err := w.database.Read(ctx, func(q *db.Queries) error { return q.SuspectBatchDelete(ctx, b.mark) }); err != nil {
		w.log.DebugContext(ctx, "the mark of a batch was left", "error", err)
	}
}

// deleteMarks deletes the marks of suspect batches that are done.
func (w *Worker) deleteMarks(ctx context.Context) {
	err := w.database.Read(ctx, func(q *db.Queries) error {
		_, err := q.SuspectBatchExpire(ctx, expiryBatch)
		return err
	})
	if err != nil && ctx.Err() == nil {
		w.log.DebugContext(ctx, "marks of suspect batches were left", "error", err)
	}
}

// decideEach applies the rules to events, one after the other. If they do not come to an end it returns errEndless, and
// their goroutine is left behind, since nothing can end it.
func (w *Worker) decideEach(facts *rules.Facts, events []event) ([]outcome, error) {
	type decision struct {
		outcomes []outcome
		err      error
	}
	decided := make(chan decision, 1)
	go func() {
		var d decision
		defer func() { decided <- d }()
		defer queries.Recover(&d.err)
		for i := range events {
			d.outcomes = append(d.outcomes, outcome{&events[i], w.decide(facts, &events[i])})
		}
	}()
	timer := time.NewTimer(w.decideTimeout)
	defer timer.Stop()
	select {
	case d := <-decided:
		return d.outcomes, d.err
	case <-timer.C:
		return nil, errEndless
	}
}
