package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

var stages = &resource[api.StageInstance, db.StageListParams, db.StageInsertParams]{
	collection: collection[api.StageInstance, db.StageListParams]{
		noun: "stage_instance",
		list: func(q *db.Queries, ctx context.Context, filter db.StageListParams) ([]api.StageInstance, error) {
			rows, err := q.StageList(ctx, filter)
			return each(rows, err, func(row db.StageListRow) api.StageInstance { return api.StageInstance(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.StageListParams) (int64, error) {
			return q.StageCount(ctx, fill[db.StageCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.StageInsertParams, error) {
		row, err := q.StageLock(ctx, db.StageLockParams{ID: id, Scope: scope})
		return db.StageInsertParams(row), err
	},
	insert: addStage,
	update: func(q *db.Queries, ctx context.Context, row db.StageInsertParams) error {
		return q.StageUpdate(ctx, db.StageUpdateParams(row))
	},
	remove:  deleteStage,
	fresh:   db.StageInsertParams{Status: "pending", Metadata: json.RawMessage("{}")},
	claim:   claimJourney,
	check:   checkStage,
	written: completeStage,
	removed: func(ctx context.Context, q *db.Queries, _ auth.Principal, row db.StageInsertParams) error {
		kept, err := q.StageHasOutcome(ctx, row.ID)
		if err == nil && kept {
			return conflict("The survey of this stage was sent, so it cannot be deleted.")
		}
		return err
	},
}

// claimJourney locks the journey before its stage, as workers do. One outside the caller's scope is not
// waited for: that would tell that it exists.
func claimJourney(ctx context.Context, q *db.Queries, id uuid.UUID, body any) error {
	if id == uuid.Nil {
		id = fill[struct{ JourneyInstance uuid.UUID }](body).JourneyInstance
	}
	_, err := q.JourneyLockOf(ctx, db.JourneyLockOfParams{ID: id, Scope: requestOf(ctx).principal.Scope()})
	if queries.NoRows(err) {
		return nil // whoever reads the stage, or the reference to the journey, finds out
	}
	return err
}

// deleteStage deletes a stage. If it was the last one that had to be done, the journey is completed.
func deleteStage(q *db.Queries, ctx context.Context, id uuid.UUID) error {
	journey, err := q.StageDelete(ctx, id)
	if err == nil {
		_, err = q.JourneyComplete(ctx, []uuid.UUID{journey})
	}
	return err
}

// addStage copies a stage template into the journey.
func addStage(q *db.Queries, ctx context.Context, row db.StageInsertParams) error {
	added, err := q.StageAdd(ctx, fill[db.StageAddParams](row))
	if err == nil && added == 0 {
		return invalidField("stage_template", "The stage is not of the journey's template.")
	}
	return err
}

// stageOrder is how far along each status is; a stage goes forward only, and the last two are final.
var stageOrder = map[string]int{"pending": 0, "in_progress": 1, "completed": 2, "skipped": 2}

func checkStage(ctx context.Context, q *db.Queries, w *writing[db.StageInsertParams]) error {
	from := "pending"
	if w.old != nil {
		from = w.old.Status
		if w.row.JourneyInstance != w.old.JourneyInstance {
			return invalidField("journey_instance", messageFixed)
		}
		if w.row.StageTemplate != w.old.StageTemplate {
			return invalidField("stage_template", messageFixed)
		}
	}
	if w.old != nil && w.row.Status == from {
		return nil
	}
	if w.row.Status != from && stageOrder[w.row.Status] <= stageOrder[from] {
		return conflict("A stage that is " + from + " cannot become " + w.row.Status + ".")
	}
	journey, err := q.JourneyLock(ctx, db.JourneyLockParams{ID: w.row.JourneyInstance})
	w.row.Hospital = journey.Hospital
	if err == nil && journey.Status != "active" {
		return conflict("The journey is " + journey.Status + ".")
	}
	return err
}

// completeStage does for a stage completed by hand, at the time of the request, what an event does:
// through the same queries.
func completeStage(ctx context.Context, q *db.Queries, w *writing[db.StageInsertParams]) error {
	before := "pending"
	if w.old != nil {
		before = w.old.Status
	}
	if w.row.Status == before || stageOrder[w.row.Status] < 2 {
		return nil
	}
	if w.row.Status == "completed" {
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
		if _, err := q.SurveySchedule(ctx, []uuid.UUID{w.id}); err != nil {
			return err
		}
	}
	_, err := q.JourneyComplete(ctx, []uuid.UUID{w.row.JourneyInstance})
	return err
}

func (s *Server) ListStageInstances(ctx context.Context, r api.ListStageInstancesRequestObject) (api.ListStageInstancesResponseObject, error) {
	page, err := listPage(ctx, s, &stages.collection, r.Params)
	return api.ListStageInstances200JSONResponse(page), err
}

func (s *Server) CreateStageInstance(ctx context.Context, r api.CreateStageInstanceRequestObject) (api.CreateStageInstanceResponseObject, error) {
	row, err := create(ctx, s, stages, r.Body)
	return api.CreateStageInstance201JSONResponse(row), err
}

func (s *Server) RetrieveStageInstance(ctx context.Context, r api.RetrieveStageInstanceRequestObject) (api.RetrieveStageInstanceResponseObject, error) {
	row, err := retrieve(ctx, s, &stages.collection, r.ID)
	return api.RetrieveStageInstance200JSONResponse(row), err
}

func (s *Server) ReplaceStageInstance(ctx context.Context, r api.ReplaceStageInstanceRequestObject) (api.ReplaceStageInstanceResponseObject, error) {
	row, err := update(ctx, s, stages, r.ID, r.Body)
	return api.ReplaceStageInstance200JSONResponse(row), err
}

func (s *Server) UpdateStageInstance(ctx context.Context, r api.UpdateStageInstanceRequestObject) (api.UpdateStageInstanceResponseObject, error) {
	row, err := update(ctx, s, stages, r.ID, r.Body)
	return api.UpdateStageInstance200JSONResponse(row), err
}

func (s *Server) DeleteStageInstance(ctx context.Context, r api.DeleteStageInstanceRequestObject) (api.DeleteStageInstanceResponseObject, error) {
	return api.DeleteStageInstance204Response{}, remove(ctx, s, stages, r.ID)
}
