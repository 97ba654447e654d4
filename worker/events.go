package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
)

// claim is what a transaction tries to get hold of.
type claim struct {
	from       int64 // the seq in the queue to start from
	window     int32 // how many pending events are looked at
	encounters int32 // at most
	events     int32 // at most
	inTx       func(context.Context, func(*db.Queries) error) error
}

// batch is what one transaction got hold of and what became of it.
type batch struct {
	first    int64         // seq of the first encounter's head, 0 if none was claimed
	searched time.Duration // how long it took to find the encounters
	events   []event       // that are to be decided on, in their order
	suspects []event       // failed before: each is to be tried alone
	busy     bool          // something is left pending that only has to wait for somebody else
	full     bool          // there may be more where this came from
	outcomes []outcome     // of events, once they are decided on
}

// panicError is a panic in the middle of a transaction.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// patience is how long the batch in hand may take, also after the worker was told to stop.
const patience = 15 * time.Second

// decider fills in the outcomes of a batch's events. It may leave events out for later.
type decider func(context.Context, *db.Queries, *batch) error

// work claims events, has the outcomes decided and writes all they do, in one transaction. Its
// batch tells how far it came, also with an error.
func (w *Worker) work(ctx context.Context, c claim, decide decider) (b batch, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err = c.inTx(ctx, func(q *db.Queries) (err error) {
		// Recovered here, within the transaction, so that it is rolled back.
		defer func() {
			if p := recover(); p != nil {
				err = &panicError{p, debug.Stack()}
			}
		}()
		b = batch{}
		if err := b.claim(ctx, q, c); err != nil || len(b.events) == 0 {
			return err
		}
		if err := decide(ctx, q, &b); err != nil {
			return err
		}
		return b.write(ctx, q)
	})
	if err != nil {
		b.outcomes = nil
	}
	return b, err
}

// claim makes encounters this transaction's own and reads their pending events. That takes two
// statements, because only one that begins when the encounters are owned sees all that came before.
func (b *batch) claim(ctx context.Context, q *db.Queries, c claim) error {
	if err := q.EventApplyAsync(ctx); err != nil {
		return err
	}
	began := time.Now()
	heads, err := q.EventClaimEncounters(ctx, db.EventClaimEncountersParams{
		FromSeq: c.from, WindowSize: c.window, Most: c.encounters,
	})
	b.searched = time.Since(began)
	if err != nil || len(heads) == 0 {
		return err
	}
	var encounters []string
	for _, h := range heads {
		encounters = append(encounters, h.EncounterID)
	}
	b.first = heads[0].Seq
	b.events, err = q.EventClaim(ctx, db.EventClaimParams{Encounters: encounters, Most: c.events})
	b.full = len(heads) == int(c.encounters) || len(b.events) == int(c.events)
	return err
}

// setSuspectsApart takes events that failed before out of the batch, and with each the later ones of
// its encounter, which have to wait for it.
func (b *batch) setSuspectsApart() {
	waiting := map[string]bool{}
	b.keep(func(e *event) bool {
		if e.Tries > 0 && !waiting[e.EncounterID] {
			waiting[e.EncounterID] = true
			b.suspects = append(b.suspects, *e)
		}
		return !waiting[e.EncounterID]
	})
}

func (b *batch) keep(wanted func(*event) bool) {
	kept := b.events[:0]
	for i := range b.events {
		if wanted(&b.events[i]) {
			kept = append(kept, b.events[i])
		}
	}
	b.events = kept
}

// byTheRules decides on all events but the suspects.
func (w *Worker) byTheRules(ctx context.Context, q *db.Queries, b *batch) error {
	b.setSuspectsApart()
	return w.evenSuspects(ctx, q, b)
}

// evenSuspects decides on all events.
func (w *Worker) evenSuspects(ctx context.Context, q *db.Queries, b *batch) error {
	if len(b.events) == 0 {
		return nil
	}
	known, err := b.learn(ctx, q)
	if err != nil {
		return err
	}
	for i := range b.events {
		b.outcomes = append(b.outcomes, w.decide(known, &b.events[i]))
	}
	return nil
}

// asInternalErrors gives up on the events, without a look at anything that might fail again.
func asInternalErrors(_ context.Context, _ *db.Queries, b *batch) error {
	for i := range b.events {
		b.outcomes = append(b.outcomes, outcome{event: &b.events[i]}.end(statusFailed, reasonInternalError,
			"The event could not be processed because of an internal error. It was tried %d times.", maxTries))
	}
	return nil
}

// learn locks the journeys of the batch's encounters and reads what the rules need to know. The
// events of a journey that somebody else holds just now are left for later.
func (b *batch) learn(ctx context.Context, q *db.Queries) (*facts, error) {
	rows, err := q.JourneyClaim(ctx, distinct(b.events, func(e event) string { return e.EncounterID }))
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	f := &facts{journeys: map[string][]*journey{}}
	byID := map[uuid.UUID]*journey{}
	for _, row := range rows {
		held[row.EncounterID] = held[row.EncounterID] || !row.IsOwned
		j := &journey{JourneyClaimRow: row}
		byID[j.ID] = j
		f.journeys[j.EncounterID] = append(f.journeys[j.EncounterID], j)
	}
	b.keep(func(e *event) bool {
		b.busy = b.busy || held[e.EncounterID]
		return !held[e.EncounterID]
	})
	if len(rows) == 0 {
		return f, nil
	}
	stages, err := q.StageListOf(ctx, distinct(rows, func(r db.JourneyClaimRow) uuid.UUID { return r.ID }))
	if err != nil {
		return nil, err
	}
	for _, row := range stages {
		j := byID[row.JourneyInstance]
		j.stages = append(j.stages, &stage{StageListOfRow: row})
	}
	return f, f.learnNames(ctx, q, b.events, distinct(rows, func(r db.JourneyClaimRow) uuid.UUID { return r.Hospital }))
}

// learnNames looks up the physicians and departments that the events name.
func (f *facts) learnNames(ctx context.Context, q *db.Queries, events []event, hospitals []uuid.UUID) error {
	f.physicians, f.departments = map[named]uuid.UUID{}, map[named]uuid.UUID{}
	if licenses := distinct(events, func(e event) string { return e.PhysicianLicense }); len(licenses) > 0 {
		rows, err := q.PhysicianByLicense(ctx, db.PhysicianByLicenseParams{Hospitals: hospitals, Licenses: licenses})
		if err != nil {
			return err
		}
		for _, row := range rows {
			f.physicians[named{row.Hospital, row.LicenseNumber}] = row.ID
		}
	}
	if codes := distinct(events, func(e event) string { return e.DepartmentCode }); len(codes) > 0 {
		rows, err := q.DepartmentByCode(ctx, db.DepartmentByCodeParams{Hospitals: hospitals, Codes: codes})
		if err != nil {
			return err
		}
		for _, row := range rows {
			f.departments[named{row.Hospital, row.Code}] = row.ID
		}
	}
	return nil
}

// distinct returns what of gives for the rows, each value once and without the zero value.
func distinct[Row any, Value comparable](rows []Row, of func(Row) Value) []Value {
	var zero Value
	seen := map[Value]bool{zero: true}
	var values []Value
	for _, row := range rows {
		if value := of(row); !seen[value] {
			seen[value] = true
			values = append(values, value)
		}
	}
	return values
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
	for _, o := range b.outcomes {
		finish.Seqs = append(finish.Seqs, o.event.Seq)
		finish.Statuses = append(finish.Statuses, o.status)
		finish.Reasons = append(finish.Reasons, o.reason)
		finish.ErrorMessages = append(finish.ErrorMessages, o.message)
		var journey, stage, survey uuid.UUID
		if o.journey != nil {
			journey = o.journey.ID
		}
		if o.stage != nil {
			stage = o.stage.ID
		}
		if o.status == statusProcessed {
			survey = surveys[o.stage.ID]
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
	var complete db.StageCompleteParams
	var journeys, senders []uuid.UUID
	for _, o := range b.outcomes {
		if o.status != statusProcessed {
			continue
		}
		complete.Stages = append(complete.Stages, o.stage.ID)
		complete.CompletedAt = append(complete.CompletedAt, o.stage.completedAt)
		complete.Events = append(complete.Events, o.event.ID)
		complete.Physicians = append(complete.Physicians, o.stage.physician)
		complete.Departments = append(complete.Departments, o.stage.department)
		if o.stage.AutoSendSurvey {
			senders = append(senders, o.stage.ID)
		}
		if o.completesJourney {
			journeys = append(journeys, o.journey.ID)
		}
	}
	if len(complete.Stages) == 0 {
		return nil, nil
	}
	if err := q.StageComplete(ctx, complete); err != nil {
		return nil, err
	}
	surveys := map[uuid.UUID]uuid.UUID{}
	if len(senders) > 0 {
		rows, err := q.SurveySchedule(ctx, senders)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			surveys[row.StageInstance] = row.ID
		}
	}
	if len(journeys) > 0 {
		if _, err := q.JourneyComplete(ctx, journeys); err != nil {
			return nil, err
		}
	}
	return surveys, nil
}
