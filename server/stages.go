package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

type stageRows = resource[api.StageInstance, api.StageInstanceCreate, api.StageInstanceCreate, api.StageInstanceUpdate, db.StageInsertParams]

func newStages(e *engine) api.StageInstanceResource {
	rows := &stageRows{
		reader: reader[api.StageInstance]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.StageInstance, error) {
			found, err := q.StageGet(ctx, db.StageGetParams(row))
			return api.StageInstance(found), err
		}},
		noun: "stage_instance",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.StageInsertParams, error) {
			found, err := q.StageLock(ctx, db.StageLockParams(row))
			return db.StageInsertParams(found), err
		},
		insert: addStage,
		update: func(q *db.Queries, ctx context.Context, fields db.StageInsertParams) error {
			return q.StageUpdate(ctx, db.StageUpdateParams(fields))
		},
		remove:   deleteStage,
		defaults: db.StageInsertParams{Status: rules.StagePending, Metadata: json.RawMessage("{}")},
		id:       func(fields *db.StageInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.StageInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[db.StageInsertParams]{
			lockForCreate: lockStatedJourney,
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, _ db.StageInsertParams) error {
				return lockJourneyOf(ctx, q, id)
			},
			lockForDelete: lockJourneyOf,
			checkCreate:   checkJourneyActive,
			checkUpdate:   checkStage,
			checkDelete:   keepSentStage,
			created:       finishNewStage,
			updated:       finishStage,
		},
	}
	return struct {
		list[api.ListStageInstancesParams, api.StageInstanceList]
		*stageRows
	}{
		newList[api.ListStageInstancesParams](e, (*db.Queries).StageList,
			func(row db.StageListRow) api.StageInstance { return api.StageInstance(row) },
			func(p page[api.StageInstance]) api.StageInstanceList { return api.StageInstanceList(p) }, "Scope"),
		rows.bind(e),
	}
}

// lockStatedJourney locks the journey of a new stage. One outside the caller's scope is not waited for, because the
// wait would tell that it exists; the check of the references refuses it.
func lockStatedJourney(ctx context.Context, q *db.Queries, stated db.StageInsertParams) error {
	_, err := q.JourneyLock(ctx, db.JourneyLockParams{ID: stated.JourneyInstance, Scope: requestOf(ctx).principal.Scope()})
	if queries.NoRows(err) {
		return nil
	}
	return err
}

// lockJourneyOf locks the journey of a stage before the stage, as workers do. Without one in the caller's scope there
// is no such stage either, which the lock of the stage finds out.
func lockJourneyOf(ctx context.Context, q *db.Queries, stage uuid.UUID) error {
	_, err := q.JourneyLockOf(ctx, db.JourneyLockOfParams{Stage: stage, Scope: requestOf(ctx).principal.Scope()})
	if queries.NoRows(err) {
		return nil
	}
	return err
}

// addStage copies a stage template into the journey.
func addStage(q *db.Queries, ctx context.Context, fields db.StageInsertParams) error {
	added, err := q.StageAdd(ctx, db.StageAddParams{
		ID: fields.ID, JourneyInstance: fields.JourneyInstance, StageTemplate: fields.StageTemplate, Status: fields.Status,
		Physician: fields.Physician, Department: fields.Department, Metadata: fields.Metadata,
	})
	if err == nil && added == 0 {
		return problem.InvalidField("stage_template", "The stage is not of the journey's template.")
	}
	return err
}

// deleteStage deletes a stage. If it was the last one that had to be done, the journey is complete.
func deleteStage(q *db.Queries, ctx context.Context, id uuid.UUID) error {
	journey, err := q.StageDelete(ctx, id)
	if err != nil {
		return err
	}
	return completeJourney(ctx, q, journey)
}

func checkStage(ctx context.Context, q *db.Queries, w *write[db.StageInsertParams]) error {
	switch {
	case w.row.JourneyInstance != w.old.JourneyInstance:
		return problem.InvalidField("journey_instance", contract.MessageFixed)
	case w.row.StageTemplate != w.old.StageTemplate:
		return problem.InvalidField("stage_template", contract.MessageFixed)
	case w.row.Status == w.old.Status:
		return nil
	case !rules.MayBecome(w.old.Status, w.row.Status):
		return problem.Conflict("A stage that is " + w.old.Status + " cannot become " + w.row.Status + ".")
	}
	return checkJourneyActive(ctx, q, w)
}

// checkJourneyActive takes the hospital from the journey, which must be under way.
func checkJourneyActive(ctx context.Context, q *db.Queries, w *write[db.StageInsertParams]) error {
	journey, err := q.JourneyLock(ctx, db.JourneyLockParams{ID: w.row.JourneyInstance})
	if err != nil {
		return err
	}
	w.row.Hospital = journey.Hospital
	if journey.Status != rules.JourneyActive {
		return problem.Conflict("The journey is " + journey.Status + ".")
	}
	return nil
}

// keepSentStage refuses to delete a stage whose survey was sent: it is part of the record.
func keepSentStage(ctx context.Context, q *db.Queries, _ auth.Principal, old db.StageInsertParams) error {
	sent, err := q.StageHasOutcome(ctx, old.ID)
	if err == nil && sent {
		return problem.Conflict("The survey of this stage was sent, so it cannot be deleted.")
	}
	return err
}

func finishNewStage(ctx context.Context, q *db.Queries, w *write[db.StageInsertParams]) error {
	return finishFrom(ctx, q, w, rules.StagePending)
}

func finishStage(ctx context.Context, q *db.Queries, w *write[db.StageInsertParams]) error {
	return finishFrom(ctx, q, w, w.old.Status)
}

// finishFrom does for a stage that is completed or skipped by hand what an event does, through the same queries. It
// happened at the time of the request.
func finishFrom(ctx context.Context, q *db.Queries, w *write[db.StageInsertParams], before string) error {
	if w.row.Status == before || w.row.Status != rules.StageCompleted && w.row.Status != rules.StageSkipped {
		return nil
	}
	if w.row.Status == rules.StageCompleted {
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		none := []uuid.UUID{uuid.Nil} // what the row has already stays
		if err := q.StageComplete(ctx, db.StageCompleteParams{
			Stages: []uuid.UUID{w.id}, CompletedAt: []time.Time{now}, Events: none, Physicians: none, Departments: none,
		}); err != nil {
			return err
		}
		if _, err := q.SurveySchedule(ctx, db.SurveyScheduleParams{Stages: []uuid.UUID{w.id}, ReceivedAt: []time.Time{now}}); err != nil {
			return err
		}
	}
	return completeJourney(ctx, q, w.row.JourneyInstance)
}

// completeJourney completes a journey that this transaction has locked, if its stages say so.
func completeJourney(ctx context.Context, q *db.Queries, journey uuid.UUID) error {
	rows, err := q.StageListOf(ctx, []uuid.UUID{journey})
	if err != nil {
		return err
	}
	stages := make([]rules.Stage, len(rows))
	for i, row := range rows {
		stages[i] = rules.Stage{Status: row.Status, IsOptional: row.IsOptional, CompletedAt: row.CompletedAt}
	}
	at, complete := rules.CompletedAt(stages)
	if !complete {
		return nil
	}
	if err := q.JourneyComplete(ctx, db.JourneyCompleteParams{Journeys: []uuid.UUID{journey}, CompletedAt: []time.Time{at}}); err != nil {
		return err
	}
	now, err := q.Now(ctx)
	if err != nil {
		return err
	}
	return q.SurveyScheduleVisit(ctx, db.SurveyScheduleVisitParams{Journeys: []uuid.UUID{journey}, ReceivedAt: []time.Time{now}})
}
