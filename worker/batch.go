package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
)

// batchTimeout is how long the transaction of a batch may take, also after the worker was told to stop.
const batchTimeout = 15 * time.Second

// claim is what a transaction tries to get hold of.
type claim struct {
	from       int64 // the seq in the queue to start from
	window     int32 // how many pending events are looked at
	encounters int32 // at most
	events     int32 // at most
	marking    marking
	inTx       func(context.Context, func(*db.Queries) error) error
}

// batch is what one transaction claimed and what became of it.
type batch struct {
	first    int64         // seq of the first encounter's head, 0 if none was claimed
	scan     time.Duration // how long it took to find the encounters
	events   []event       // that are to be decided on, in their order
	retried  []event       // failed before: each is to be retried alone
	locked   bool          // events are left pending because another transaction has locked their journey
	full     bool          // there may be more where this came from
	outdated bool          // the encounters claimed had been finished by others in the same moment
	mark     uuid.UUID     // of the batch as suspect, nil if it has none
	suspect  bool          // events of a suspect batch are among those to be retried alone
	outcomes []outcome     // of events, once they are decided on
}

// outcome is what became of an event.
type outcome struct {
	event *event
	rules.Outcome
}

// decider fills in the outcomes of a batch's events. It may leave events out for later.
type decider func(context.Context, *db.Queries, *batch) error

// runTx claims events, has the outcomes decided and writes all they do, in one transaction. Its batch tells how far it
// came, also with an error. Nothing is retried here.
func (w *Worker) runTx(ctx context.Context, c claim, decide decider) (b batch, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	err = c.inTx(ctx, func(q *db.Queries) error {
		err := w.apply(ctx, q, c, &b, decide)
		if err != nil && c.marking != markNever && !transient(err) {
			w.markFailure(ctx, &b) // now: the rollback gives the encounters to other pollers
		}
		return err
	})
	if err != nil {
		b.outcomes = nil
		if transient(err) {
			w.unmark(ctx, &b)
		}
	}
	return b, err
}

// apply does what runTx does within its transaction.
func (w *Worker) apply(ctx context.Context, q *db.Queries, c claim, b *batch, decide decider) (err error) {
	defer queries.Recover(&err)
	if err := b.claim(ctx, q, c); err != nil || len(b.events) == 0 {
		return err
	}
	switch {
	case c.marking == markFirst, c.marking == markUnlessFull && !b.full:
		err = w.mark(ctx, b)
	case c.marking != markNever:
		err = q.SuspectBatchSavepoint(ctx)
	}
	if err != nil {
		return err
	}
	if err := decide(ctx, q, b); err != nil {
		return err
	}
	if err := b.write(ctx, q); err != nil || b.mark == uuid.Nil {
		return err
	}
	return q.SuspectBatchDelete(ctx, b.mark)
}

// claim makes encounters this transaction's own and reads their pending events. That takes two statements, because only
// one that begins when the encounters are owned sees all that came before.
func (b *batch) claim(ctx context.Context, q *db.Queries, c claim) error {
	if err := q.EventApplyAsync(ctx); err != nil {
		return err
	}
	began := time.Now()
	heads, err := q.EventClaimEncounters(ctx, db.EventClaimEncountersParams{
		FromSeq: c.from, WindowSize: c.window, Most: c.encounters,
	})
	if err != nil {
		return err // how long that took says nothing of the queue
	}
	b.scan = time.Since(began)
	if len(heads) == 0 {
		return nil
	}
	var encounters []string
	for _, h := range heads {
		encounters = append(encounters, h.EncounterID)
	}
	b.first = heads[0].Seq
	b.events, err = q.EventClaim(ctx, db.EventClaimParams{Encounters: encounters, Most: c.events})
	b.outdated = len(b.events) == 0
	b.full = len(heads) == int(c.encounters) || len(b.events) == int(c.events)
	return err
}

// setRetriedApart takes events that failed before, themselves or with a batch, out of this one, and with each the later
// ones of its encounter, which have to wait for it.
func (b *batch) setRetriedApart() {
	waiting := map[string]bool{}
	b.filter(func(e *event) bool {
		if (e.Tries > 0 || e.IsSuspect) && !waiting[e.EncounterID] {
			b.suspect = b.suspect || e.IsSuspect
			waiting[e.EncounterID] = true
			b.retried = append(b.retried, *e)
		}
		return !waiting[e.EncounterID]
	})
}

func (b *batch) filter(wanted func(*event) bool) {
	kept := b.events[:0]
	for i := range b.events {
		if wanted(&b.events[i]) {
			kept = append(kept, b.events[i])
		}
	}
	b.events = kept
}

// decideFirstTries decides on all events but those that failed before.
func (w *Worker) decideFirstTries(ctx context.Context, q *db.Queries, b *batch) error {
	b.setRetriedApart()
	return w.decideAll(ctx, q, b)
}

// decideAll decides on all events.
func (w *Worker) decideAll(ctx context.Context, q *db.Queries, b *batch) error {
	if len(b.events) == 0 {
		return nil
	}
	known, err := b.loadFacts(ctx, q)
	if err != nil {
		return err
	}
	b.outcomes, err = w.decideEach(known, b.events)
	return err
}

// failAsInternalError gives up on the events, without a look at anything that might fail again.
func failAsInternalError(_ context.Context, _ *db.Queries, b *batch) error {
	for i := range b.events {
		b.outcomes = append(b.outcomes, outcome{&b.events[i], rules.InternalError(maxTries)})
	}
	return nil
}

// write stores what the outcomes do, then the outcomes.
func (b *batch) write(ctx context.Context, q *db.Queries) error {
	if len(b.outcomes) == 0 {
		return nil
	}
	surveys, err := b.writeEffects(ctx, q)
	if err != nil {
		return err
	}
	var finish db.EventFinishParams
	for i := range b.outcomes {
		o := &b.outcomes[i]
		finish.Seqs = append(finish.Seqs, o.event.Seq)
		finish.Statuses = append(finish.Statuses, o.Status)
		finish.Reasons = append(finish.Reasons, o.Reason)
		finish.ErrorMessages = append(finish.ErrorMessages, o.Message)
		finish.Warnings = append(finish.Warnings, o.Warning.Message)
		var journey, stage, survey uuid.UUID
		if o.Journey != nil {
			journey = o.Journey.ID
		}
		if o.Stage != nil {
			stage = o.Stage.ID
		}
		if o.Status == rules.EventProcessed {
			survey = surveys[o.Stage.ID]
		}
		finish.Journeys = append(finish.Journeys, journey)
		finish.Stages = append(finish.Stages, stage)
		finish.Surveys = append(finish.Surveys, survey)
	}
	finished, err := q.EventFinish(ctx, finish)
	if err != nil {
		return err
	}
	if int(finished) != len(b.outcomes) {
		return fmt.Errorf("%d of %d events were finished: the others are no longer pending", finished, len(b.outcomes))
	}
	return nil
}

// writeEffects completes stages and journeys, schedules surveys, and returns those by their stage.
func (b *batch) writeEffects(ctx context.Context, q *db.Queries) (map[uuid.UUID]uuid.UUID, error) {
	var stages db.StageCompleteParams
	var journeys db.JourneyCompleteParams
	var surveys db.SurveyScheduleParams
	var visits db.SurveyScheduleVisitParams
	for i := range b.outcomes {
		o := &b.outcomes[i]
		if o.Status != rules.EventProcessed {
			continue
		}
		stages.Stages = append(stages.Stages, o.Stage.ID)
		stages.CompletedAt = append(stages.CompletedAt, *o.Stage.CompletedAt)
		stages.Events = append(stages.Events, o.event.ID)
		stages.Physicians = append(stages.Physicians, o.Physician)
		stages.Departments = append(stages.Departments, o.Department)
		if o.Stage.AutoSendSurvey && !o.Journey.VisitSurvey {
			surveys.Stages = append(surveys.Stages, o.Stage.ID)
			surveys.ReceivedAt = append(surveys.ReceivedAt, o.event.ReceivedAt)
		}
		if o.CompletesJourney {
			journeys.Journeys = append(journeys.Journeys, o.Journey.ID)
			journeys.CompletedAt = append(journeys.CompletedAt, o.JourneyCompletedAt)
			if o.Journey.VisitSurvey {
				visits.Journeys, visits.ReceivedAt = append(visits.Journeys, o.Journey.ID), append(visits.ReceivedAt, o.event.ReceivedAt)
			}
		}
	}
	if len(stages.Stages) == 0 {
		return nil, nil
	}
	if err := q.StageComplete(ctx, stages); err != nil {
		return nil, err
	}
	scheduled := map[uuid.UUID]uuid.UUID{}
	if len(surveys.Stages) > 0 {
		rows, err := q.SurveySchedule(ctx, surveys)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			scheduled[row.StageInstance] = row.ID
		}
	}
	if len(journeys.Journeys) > 0 {
		if err := q.JourneyComplete(ctx, journeys); err != nil {
			return nil, err
		}
	}
	if len(visits.Journeys) > 0 {
		if err := q.SurveyScheduleVisit(ctx, visits); err != nil {
			return nil, err
		}
	}
	return scheduled, nil
}
