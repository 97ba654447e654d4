package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var surveyTemplates = &resource[api.SurveyTemplate, db.SurveyTemplateListParams, db.SurveyTemplateInsertParams]{
	collection: collection[api.SurveyTemplate, db.SurveyTemplateListParams]{
		noun: "survey_template",
		list: func(q *db.Queries, ctx context.Context, filter db.SurveyTemplateListParams) ([]api.SurveyTemplate, error) {
			rows, err := q.SurveyTemplateList(ctx, filter)
			return each(rows, err, func(row db.SurveyTemplateListRow) api.SurveyTemplate { return api.SurveyTemplate(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.SurveyTemplateListParams) (int64, error) {
			return q.SurveyTemplateCount(ctx, fill[db.SurveyTemplateCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.SurveyTemplateInsertParams, error) {
		row, err := q.SurveyTemplateLock(ctx, db.SurveyTemplateLockParams{ID: id, Scope: scope})
		return db.SurveyTemplateInsertParams(row), err
	},
	insert: (*db.Queries).SurveyTemplateInsert,
	update: func(q *db.Queries, ctx context.Context, row db.SurveyTemplateInsertParams) error {
		return q.SurveyTemplateUpdate(ctx, db.SurveyTemplateUpdateParams(row))
	},
	remove: (*db.Queries).SurveyTemplateDelete,
	fresh:  db.SurveyTemplateInsertParams{IsActive: true},
}

func (s *Server) ListSurveyTemplates(ctx context.Context, r api.ListSurveyTemplatesRequestObject) (api.ListSurveyTemplatesResponseObject, error) {
	page, err := listPage(ctx, s, &surveyTemplates.collection, r.Params)
	return api.ListSurveyTemplates200JSONResponse(page), err
}

func (s *Server) CreateSurveyTemplate(ctx context.Context, r api.CreateSurveyTemplateRequestObject) (api.CreateSurveyTemplateResponseObject, error) {
	row, err := create(ctx, s, surveyTemplates, r.Body)
	return api.CreateSurveyTemplate201JSONResponse(row), err
}

func (s *Server) RetrieveSurveyTemplate(ctx context.Context, r api.RetrieveSurveyTemplateRequestObject) (api.RetrieveSurveyTemplateResponseObject, error) {
	row, err := retrieve(ctx, s, &surveyTemplates.collection, r.ID)
	return api.RetrieveSurveyTemplate200JSONResponse(row), err
}

func (s *Server) ReplaceSurveyTemplate(ctx context.Context, r api.ReplaceSurveyTemplateRequestObject) (api.ReplaceSurveyTemplateResponseObject, error) {
	row, err := update(ctx, s, surveyTemplates, r.ID, r.Body)
	return api.ReplaceSurveyTemplate200JSONResponse(row), err
}

func (s *Server) UpdateSurveyTemplate(ctx context.Context, r api.UpdateSurveyTemplateRequestObject) (api.UpdateSurveyTemplateResponseObject, error) {
	row, err := update(ctx, s, surveyTemplates, r.ID, r.Body)
	return api.UpdateSurveyTemplate200JSONResponse(row), err
}

func (s *Server) DeleteSurveyTemplate(ctx context.Context, r api.DeleteSurveyTemplateRequestObject) (api.DeleteSurveyTemplateResponseObject, error) {
	return api.DeleteSurveyTemplate204Response{}, remove(ctx, s, surveyTemplates, r.ID)
}
