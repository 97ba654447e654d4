package server

import (
	"context"
	"encoding/json"
	"math"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

var journeys = &resource[api.JourneyInstance, db.JourneyListParams, db.JourneyInsertParams]{
	collection: collection[api.JourneyInstance, db.JourneyListParams]{
		noun: "journey_instance",
		list: func(q *db.Queries, ctx context.Context, filter db.JourneyListParams) ([]api.JourneyInstance, error) {
			rows, err := q.JourneyList(ctx, filter)
			return each(rows, err, func(row db.JourneyListRow) api.JourneyInstance { return api.JourneyInstance(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.JourneyListParams) (int64, error) {
			return q.JourneyCount(ctx, fill[db.JourneyCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.JourneyInsertParams, error) {
		row, err := q.JourneyLock(ctx, db.JourneyLockParams{ID: id, Scope: scope})
		return db.JourneyInsertParams(row), err
	},
	insert: (*db.Queries).JourneyInsert,
	update: func(q *db.Queries, ctx context.Context, row db.JourneyInsertParams) error {
		return q.JourneyUpdate(ctx, db.JourneyUpdateParams(row))
	},
	remove:  (*db.Queries).JourneyDelete,
	fresh:   db.JourneyInsertParams{Status: "active", Metadata: json.RawMessage("{}")},
	claim:   claimEncounter,
	check:   checkJourney,
	written: startJourney,
	removed: func(ctx context.Context, q *db.Queries, _ auth.Principal, row db.JourneyInsertParams) error {
		kept, err := q.JourneyHasOutcome(ctx, row.ID)
		if err == nil && kept {
			return conflict("A survey of this journey was sent, so it cannot be deleted.")
		}
		return err
	},
}

// claimEncounter takes the mutex of the encounter that the journey is to have, before any row is
// locked: a worker that is deciding on the encounter's events is done by then, and the next one sees
// the journey.
func claimEncounter(ctx context.Context, q *db.Queries, _ uuid.UUID, body any) error {
	if body == nil { // a delete
		return nil
	}
	encounter := fill[struct{ EncounterID string }](body).EncounterID
	if encounter == "" {
		return nil
	}
	return q.EncounterLock(ctx, encounter)
}

func checkJourney(_ context.Context, _ *db.Queries, w *writing[db.JourneyInsertParams]) error {
	if w.old == nil {
		if w.row.Status == "completed" {
			return conflict(messageCompletes)
		}
		return nil
	}
	errs := fieldErrors{}
	for field, changed := range map[string]bool{
		"journey_template": w.row.JourneyTemplate != w.old.JourneyTemplate,
		"hospital":         w.row.Hospital != w.old.Hospital,
		"patient":          w.row.Patient != w.old.Patient,
	} {
		if changed {
			errs.add(field, messageFixed)
		}
	}
	switch {
	case len(errs) > 0:
		return invalid(errs)
	case w.row.EncounterID != w.old.EncounterID && w.old.Status != "active":
		return conflict("The encounter id can change only while the journey is active.")
	case w.row.Status == w.old.Status:
		return nil
	case w.row.Status == "completed":
		return conflict(messageCompletes)
	case w.old.Status == "completed":
		return conflict("The journey is completed, and stays so.")
	}
	return nil
}

const messageCompletes = "A journey is completed by its stages."

// startJourney gives a new journey its stages, and a journey with a new encounter id the events that
// have been waiting for it.
func startJourney(ctx context.Context, q *db.Queries, w *writing[db.JourneyInsertParams]) error {
	if w.old == nil {
		if err := q.JourneyAddStages(ctx, db.JourneyAddStagesParams{Journey: w.id, JourneyTemplate: w.row.JourneyTemplate}); err != nil {
			return err
		}
	} else if w.old.EncounterID == w.row.EncounterID {
		return nil
	}
	_, err := q.EventRequeue(ctx, db.EventRequeueParams{EncounterID: w.row.EncounterID, Hospital: w.row.Hospital})
	return err
}

// detailed is a journey with its stages, as single journeys are answered.
func (s *Server) detailed(ctx context.Context, journey api.JourneyInstance, err error) (api.JourneyInstanceDetail, error) {
	full := fill[api.JourneyInstanceDetail](journey)
	if err != nil {
		return full, err
	}
	err = s.db.Read(ctx, func(q *db.Queries) error {
		full.StageInstances, err = stages.list(q, ctx, db.StageListParams{JourneyInstance: &journey.ID, PageSize: math.MaxInt32})
		return err
	})
	return full, err
}

func (s *Server) RetrieveJourneyProgress(ctx context.Context, r api.RetrieveJourneyProgressRequestObject) (api.RetrieveJourneyProgressResponseObject, error) {
	var rows []db.JourneyProgressRow
	err := s.db.Read(ctx, func(q *db.Queries) (err error) {
		rows, err = q.JourneyProgress(ctx, db.JourneyProgressParams{ID: r.ID, Scope: s.scope(ctx).Scope})
		return err
	})
	if err == nil && len(rows) == 0 {
		err = errNotFound
	}
	if err != nil {
		return nil, err
	}
	return api.RetrieveJourneyProgress200JSONResponse(progress(rows)), nil
}

// progress sums up a journey: the share of completed stages among those not skipped, rounded down,
// and whether every stage that is not optional is completed or skipped.
func progress(rows []db.JourneyProgressRow) api.JourneyProgress {
	p := fill[api.JourneyProgress](rows[0])
	p.Stages = []api.JourneyProgressStage{}
	completed, counted, open := int32(0), int32(0), false
	for _, row := range rows {
		if row.StageName == nil { // the one row of a journey without stages
			continue
		}
		p.Stages = append(p.Stages, api.JourneyProgressStage{
			Name: *row.StageName, Order: *row.StageOrder, Status: *row.StageStatus,
			CompletedAt: row.StageCompletedAt, SurveySent: row.SurveySent,
		})
		switch *row.StageStatus {
		case "completed":
			completed++
			counted++
		case "skipped":
		default:
			counted++
			open = open || !*row.StageIsOptional
		}
	}
	if counted > 0 {
		p.CompletionPercentage = 100 * completed / counted
	}
	p.IsComplete = len(p.Stages) > 0 && !open
	return p
}

func (s *Server) ListJourneyInstances(ctx context.Context, r api.ListJourneyInstancesRequestObject) (api.ListJourneyInstancesResponseObject, error) {
	page, err := listPage(ctx, s, &journeys.collection, r.Params)
	return api.ListJourneyInstances200JSONResponse(page), err
}

func (s *Server) CreateJourneyInstance(ctx context.Context, r api.CreateJourneyInstanceRequestObject) (api.CreateJourneyInstanceResponseObject, error) {
	row, err := create(ctx, s, journeys, r.Body)
	if err == nil {
		s.waker.wake() // events may have waited for it
	}
	full, err := s.detailed(ctx, row, err)
	return api.CreateJourneyInstance201JSONResponse(full), err
}

func (s *Server) RetrieveJourneyInstance(ctx context.Context, r api.RetrieveJourneyInstanceRequestObject) (api.RetrieveJourneyInstanceResponseObject, error) {
	row, err := retrieve(ctx, s, &journeys.collection, r.ID)
	full, err := s.detailed(ctx, row, err)
	return api.RetrieveJourneyInstance200JSONResponse(full), err
}

func (s *Server) ReplaceJourneyInstance(ctx context.Context, r api.ReplaceJourneyInstanceRequestObject) (api.ReplaceJourneyInstanceResponseObject, error) {
	row, err := update(ctx, s, journeys, r.ID, r.Body)
	if err == nil {
		s.waker.wake() // events may have waited for its encounter id
	}
	full, err := s.detailed(ctx, row, err)
	return api.ReplaceJourneyInstance200JSONResponse(full), err
}

func (s *Server) UpdateJourneyInstance(ctx context.Context, r api.UpdateJourneyInstanceRequestObject) (api.UpdateJourneyInstanceResponseObject, error) {
	row, err := update(ctx, s, journeys, r.ID, r.Body)
	if err == nil {
		s.waker.wake() // events may have waited for its encounter id
	}
	full, err := s.detailed(ctx, row, err)
	return api.UpdateJourneyInstance200JSONResponse(full), err
}

func (s *Server) DeleteJourneyInstance(ctx context.Context, r api.DeleteJourneyInstanceRequestObject) (api.DeleteJourneyInstanceResponseObject, error) {
	return api.DeleteJourneyInstance204Response{}, remove(ctx, s, journeys, r.ID)
}
