package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var journeyTemplates = &resource[api.JourneyTemplate, db.JourneyTemplateListParams, db.JourneyTemplateInsertParams]{
	collection: collection[api.JourneyTemplate, db.JourneyTemplateListParams]{
		noun: "journey_template",
		list: func(q *db.Queries, ctx context.Context, filter db.JourneyTemplateListParams) ([]api.JourneyTemplate, error) {
			rows, err := q.JourneyTemplateList(ctx, filter)
			if err != nil {
				return nil, err
			}
			return withStages(ctx, q, rows)
		},
		count: func(q *db.Queries, ctx context.Context, filter db.JourneyTemplateListParams) (int64, error) {
			return q.JourneyTemplateCount(ctx, fill[db.JourneyTemplateCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.JourneyTemplateInsertParams, error) {
		row, err := q.JourneyTemplateLock(ctx, db.JourneyTemplateLockParams{ID: id, Scope: scope})
		return db.JourneyTemplateInsertParams(row), err
	},
	insert: (*db.Queries).JourneyTemplateInsert,
	update: func(q *db.Queries, ctx context.Context, row db.JourneyTemplateInsertParams) error {
		return q.JourneyTemplateUpdate(ctx, db.JourneyTemplateUpdateParams(row))
	},
	remove: (*db.Queries).JourneyTemplateDelete,
	fresh:  db.JourneyTemplateInsertParams{IsActive: true},
	check:  makeRoomForDefault,
}

// makeRoomForDefault takes the default from the hospital's other template of the type.
func makeRoomForDefault(ctx context.Context, q *db.Queries, w *writing[db.JourneyTemplateInsertParams]) error {
	if !w.row.IsDefault {
		return nil
	}
	if err := q.JourneyTemplateLockDefault(ctx, w.row.Hospital); err != nil {
		return err
	}
	return q.JourneyTemplateClearDefault(ctx, db.JourneyTemplateClearDefaultParams{Hospital: w.row.Hospital, JourneyType: w.row.JourneyType, ID: w.id})
}

// withStages reads the stages of a page of templates in one query.
func withStages(ctx context.Context, q *db.Queries, rows []db.JourneyTemplateListRow) ([]api.JourneyTemplate, error) {
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	all, err := q.StageTemplateListOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	stages := map[uuid.UUID][]api.StageTemplate{}
	for _, stage := range all {
		stages[stage.JourneyTemplate] = append(stages[stage.JourneyTemplate], api.StageTemplate(stage))
	}
	templates := make([]api.JourneyTemplate, len(rows))
	for i, row := range rows {
		templates[i] = fill[api.JourneyTemplate](row)
		templates[i].Stages = stages[row.ID]
		templates[i].StageCount = int32(len(stages[row.ID]))
	}
	return templates, nil
}

func (s *Server) ListJourneyTemplates(ctx context.Context, r api.ListJourneyTemplatesRequestObject) (api.ListJourneyTemplatesResponseObject, error) {
	page, err := listPage(ctx, s, &journeyTemplates.collection, r.Params)
	return api.ListJourneyTemplates200JSONResponse(page), err
}

func (s *Server) CreateJourneyTemplate(ctx context.Context, r api.CreateJourneyTemplateRequestObject) (api.CreateJourneyTemplateResponseObject, error) {
	row, err := create(ctx, s, journeyTemplates, r.Body)
	return api.CreateJourneyTemplate201JSONResponse(row), err
}

func (s *Server) RetrieveJourneyTemplate(ctx context.Context, r api.RetrieveJourneyTemplateRequestObject) (api.RetrieveJourneyTemplateResponseObject, error) {
	row, err := retrieve(ctx, s, &journeyTemplates.collection, r.ID)
	return api.RetrieveJourneyTemplate200JSONResponse(row), err
}

func (s *Server) ReplaceJourneyTemplate(ctx context.Context, r api.ReplaceJourneyTemplateRequestObject) (api.ReplaceJourneyTemplateResponseObject, error) {
	row, err := update(ctx, s, journeyTemplates, r.ID, r.Body)
	return api.ReplaceJourneyTemplate200JSONResponse(row), err
}

func (s *Server) UpdateJourneyTemplate(ctx context.Context, r api.UpdateJourneyTemplateRequestObject) (api.UpdateJourneyTemplateResponseObject, error) {
	row, err := update(ctx, s, journeyTemplates, r.ID, r.Body)
	return api.UpdateJourneyTemplate200JSONResponse(row), err
}

func (s *Server) DeleteJourneyTemplate(ctx context.Context, r api.DeleteJourneyTemplateRequestObject) (api.DeleteJourneyTemplateResponseObject, error) {
	return api.DeleteJourneyTemplate204Response{}, remove(ctx, s, journeyTemplates, r.ID)
}
