package server

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

type journeyRows = resource[api.JourneyInstanceDetail, api.JourneyInstanceCreate, api.JourneyInstanceCreate, api.JourneyInstanceUpdate, db.JourneyInsertParams]

func newJourneys(e *engine, n *notifier) api.JourneyInstanceResource {
	detail := newMapping[api.JourneyInstanceDetail, db.JourneyGetRow](e)
	rows := &journeyRows{
		reader: reader[api.JourneyInstanceDetail]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.JourneyInstanceDetail, error) {
			found, err := q.JourneyGet(ctx, db.JourneyGetParams(row))
			if err != nil {
				return api.JourneyInstanceDetail{}, err
			}
			answer := detail.convert(found)
			stages, err := q.JourneyStages(ctx, row.ID)
			answer.StageInstances = each(stages, func(stage db.JourneyStagesRow) api.StageInstance { return api.StageInstance(stage) })
			return answer, err
		}},
		noun: "journey_instance",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.JourneyInsertParams, error) {
			found, err := q.JourneyLock(ctx, db.JourneyLockParams(row))
			return db.JourneyInsertParams(found), err
		},
		insert: (*db.Queries).JourneyInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.JourneyInsertParams) error {
			return q.JourneyUpdate(ctx, db.JourneyUpdateParams(fields))
		},
		remove:   (*db.Queries).JourneyDelete,
		defaults: db.JourneyInsertParams{Status: rules.JourneyActive, Metadata: json.RawMessage("{}")},
		id:       func(fields *db.JourneyInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.JourneyInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[db.JourneyInsertParams]{
			lockForCreate: lockEncounter,
			lockForUpdate: lockEncounters,
			checkCreate:   checkNewJourney,
			checkUpdate:   checkJourney,
			checkDelete:   keepSentJourney,
			created:       startJourney,
			updated:       requeueForEncounter,
			committed:     n.notify, // events may have been put back into the queue
		},
	}
	return struct {
		list[api.ListJourneyInstancesParams, api.JourneyInstanceList]
		*journeyRows
	}{
		newList[api.ListJourneyInstancesParams](e, (*db.Queries).JourneyList,
			func(row db.JourneyListRow) api.JourneyInstance { return api.JourneyInstance(row) },
			func(p page[api.JourneyInstance]) api.JourneyInstanceList { return api.JourneyInstanceList(p) }, "Scope"),
		rows.bind(e),
	}
}

// lockEncounter takes the mutex of the encounter that the journey is to have, before any row is locked: a worker that
// is deciding on the encounter's events has committed by then, and the next one sees the journey. What the caller may
// not refer to is refused before, because the wait would tell that somebody works on the encounter.
func lockEncounter(ctx context.Context, q *db.Queries, stated db.JourneyInsertParams) error {
	if err := checkBody(ctx, q); err != nil {
		return err
	}
	return q.EncounterLock(ctx, db.EncounterLockParams{EncounterID: stated.EncounterID})
}

// lockEncounters does so for a journey that gets another encounter id.
func lockEncounters(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.JourneyInsertParams) error {
	if stated.EncounterID == "" {
		return nil
	}
	self := contract.Reference{Field: "id", Noun: "journey_instance", ID: id}
	missing, err := missingReferences(ctx, q, requestOf(ctx).principal, []contract.Reference{self})
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		return problem.NotFound
	}
	if err := checkBody(ctx, q); err != nil {
		return err
	}
	return q.EncounterLock(ctx, db.EncounterLockParams{EncounterID: stated.EncounterID, Journey: &id})
}

const messageCompletedByStages = "A journey is completed by its stages."

func checkNewJourney(_ context.Context, _ *db.Queries, w *write[db.JourneyInsertParams]) error {
	noteStatedStart(w)
	if w.row.Status == rules.JourneyCompleted {
		return problem.Conflict(messageCompletedByStages)
	}
	return nil
}

// noteStatedStart records that a client stated started_at: a start that is the time of creation, for want of another,
// says nothing about when the journey's events may have happened. A client that sends back the value that is there, as
// it does with PUT, has not stated it.
func noteStatedStart(w *write[db.JourneyInsertParams]) {
	w.row.StartedAtStated = w.row.StartedAtStated || slices.Contains(w.changed, "started_at")
}

// checkJourney keeps what never changes of a journey, and its status within what a client may set.
func checkJourney(_ context.Context, _ *db.Queries, w *write[db.JourneyInsertParams]) error {
	noteStatedStart(w)
	fields := problem.Fields{}
	for field, changed := range map[string]bool{
		"journey_template": w.row.JourneyTemplate != w.old.JourneyTemplate,
		"hospital":         w.row.Hospital != w.old.Hospital,
		"patient":          w.row.Patient != w.old.Patient,
	} {
		if changed {
			fields.Add(field, contract.MessageFixed)
		}
	}
	switch {
	case len(fields) > 0:
		return problem.Invalid(fields)
	case w.row.EncounterID != w.old.EncounterID && w.old.Status != rules.JourneyActive:
		return problem.Conflict("The encounter id can change only while the journey is active.")
	case w.row.Status == w.old.Status:
		return nil
	case w.row.Status == rules.JourneyCompleted:
		return problem.Conflict(messageCompletedByStages)
	case w.old.Status == rules.JourneyCompleted:
		return problem.Conflict("The journey is completed, and stays so.")
	}
	return nil
}

// keepSentJourney refuses to delete a journey of which a survey was sent: it is part of the record.
func keepSentJourney(ctx context.Context, q *db.Queries, _ auth.Principal, old db.JourneyInsertParams) error {
	sent, err := q.JourneyHasOutcome(ctx, old.ID)
	if err == nil && sent {
		return problem.Conflict("A survey of this journey was sent, so it cannot be deleted.")
	}
	return err
}

// startJourney gives a new journey its stages, and puts the events that wait for its encounter back into the queue.
func startJourney(ctx context.Context, q *db.Queries, w *write[db.JourneyInsertParams]) error {
	if err := q.JourneyAddStages(ctx, db.JourneyAddStagesParams{Journey: w.id, JourneyTemplate: w.row.JourneyTemplate}); err != nil {
		return err
	}
	return requeueEvents(ctx, q, w.row)
}

// requeueForEncounter does so for a journey with a new encounter id.
func requeueForEncounter(ctx context.Context, q *db.Queries, w *write[db.JourneyInsertParams]) error {
	if w.old.EncounterID == w.row.EncounterID {
		return nil
	}
	return requeueEvents(ctx, q, w.row)
}

func requeueEvents(ctx context.Context, q *db.Queries, journey db.JourneyInsertParams) error {
	_, err := q.EventRequeue(ctx, db.EventRequeueParams{EncounterID: journey.EncounterID, Hospital: journey.Hospital})
	return err
}

// journeyOperations are those on journeys that are no plain reads or writes.
type journeyOperations struct{ engine *engine }

// RetrieveJourneyProgress sums up a journey and its stages.
func (o journeyOperations) RetrieveJourneyProgress(ctx context.Context, id uuid.UUID) (answer api.JourneyProgress, err error) {
	var rows []db.JourneyProgressRow
	err = o.engine.db.Read(ctx, func(q *db.Queries) error {
		rows, err = q.JourneyProgress(ctx, db.JourneyProgressParams{ID: id, Scope: requestOf(ctx).principal.Scope()})
		return err
	})
	switch {
	case err != nil:
		return answer, err
	case len(rows) == 0:
		return answer, problem.NotFound
	}
	return progress(rows), nil
}

func progress(rows []db.JourneyProgressRow) api.JourneyProgress {
	j := rows[0]
	p := api.JourneyProgress{
		JourneyID: j.JourneyID, EncounterID: j.EncounterID, Patient: j.Patient, JourneyType: j.JourneyType, Status: j.Status,
		StartedAt: j.StartedAt, CompletedAt: j.CompletedAt, Stages: []api.JourneyProgressStage{},
	}
	var stages []rules.Stage
	for _, row := range rows {
		if row.StageName == nil { // the one row of a journey without stages
			continue
		}
		p.Stages = append(p.Stages, api.JourneyProgressStage{
			Name: *row.StageName, Order: *row.StageOrder, Status: *row.StageStatus,
			CompletedAt: row.StageCompletedAt, SurveySent: row.SurveySent,
		})
		stages = append(stages, rules.Stage{Status: *row.StageStatus, IsOptional: *row.StageIsOptional})
	}
	p.CompletionPercentage = int32(rules.CompletionPercentage(stages))
	p.IsComplete = rules.IsComplete(stages)
	return p
}
