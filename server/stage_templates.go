package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

var stageTemplates = &resource[api.StageTemplate, db.StageTemplateListParams, db.StageTemplateInsertParams]{
	collection: collection[api.StageTemplate, db.StageTemplateListParams]{
		noun: "stage_template",
		list: func(q *db.Queries, ctx context.Context, filter db.StageTemplateListParams) ([]api.StageTemplate, error) {
			rows, err := q.StageTemplateList(ctx, filter)
			return each(rows, err, func(row db.StageTemplateListRow) api.StageTemplate { return api.StageTemplate(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.StageTemplateListParams) (int64, error) {
			return q.StageTemplateCount(ctx, fill[db.StageTemplateCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.StageTemplateInsertParams, error) {
		row, err := q.StageTemplateLock(ctx, db.StageTemplateLockParams{ID: id, Scope: scope})
		return db.StageTemplateInsertParams(row), err
	},
	insert: (*db.Queries).StageTemplateInsert,
	update: func(q *db.Queries, ctx context.Context, row db.StageTemplateInsertParams) error {
		return q.StageTemplateUpdate(ctx, db.StageTemplateUpdateParams(row))
	},
	remove: (*db.Queries).StageTemplateDelete,
	fresh:  db.StageTemplateInsertParams{IsActive: true},
	check:  checkStageTemplate,
}

// checkStageTemplate takes the hospital from the journey template, which a stage never leaves.
func checkStageTemplate(ctx context.Context, q *db.Queries, w *writing[db.StageTemplateInsertParams]) error {
	if w.old != nil && w.old.JourneyTemplate != w.row.JourneyTemplate {
		return invalidField("journey_template", messageFixed)
	}
	template, err := q.JourneyTemplateLock(ctx, db.JourneyTemplateLockParams{ID: w.row.JourneyTemplate})
	if queries.NoRows(err) { // it was there a moment ago
		return invalidField("journey_template", messageNoObject(w.row.JourneyTemplate.String()))
	}
	w.row.Hospital = template.Hospital
	return err
}

// messageFixed is about a field that is written once.
const messageFixed = "This field cannot be changed."

func (s *Server) ListStageTemplates(ctx context.Context, r api.ListStageTemplatesRequestObject) (api.ListStageTemplatesResponseObject, error) {
	page, err := listPage(ctx, s, &stageTemplates.collection, r.Params)
	return api.ListStageTemplates200JSONResponse(page), err
}

func (s *Server) CreateStageTemplate(ctx context.Context, r api.CreateStageTemplateRequestObject) (api.CreateStageTemplateResponseObject, error) {
	row, err := create(ctx, s, stageTemplates, r.Body)
	return api.CreateStageTemplate201JSONResponse(row), err
}

func (s *Server) RetrieveStageTemplate(ctx context.Context, r api.RetrieveStageTemplateRequestObject) (api.RetrieveStageTemplateResponseObject, error) {
	row, err := retrieve(ctx, s, &stageTemplates.collection, r.ID)
	return api.RetrieveStageTemplate200JSONResponse(row), err
}

func (s *Server) ReplaceStageTemplate(ctx context.Context, r api.ReplaceStageTemplateRequestObject) (api.ReplaceStageTemplateResponseObject, error) {
	row, err := update(ctx, s, stageTemplates, r.ID, r.Body)
	return api.ReplaceStageTemplate200JSONResponse(row), err
}

func (s *Server) UpdateStageTemplate(ctx context.Context, r api.UpdateStageTemplateRequestObject) (api.UpdateStageTemplateResponseObject, error) {
	row, err := update(ctx, s, stageTemplates, r.ID, r.Body)
	return api.UpdateStageTemplate200JSONResponse(row), err
}

func (s *Server) DeleteStageTemplate(ctx context.Context, r api.DeleteStageTemplateRequestObject) (api.DeleteStageTemplateResponseObject, error) {
	return api.DeleteStageTemplate204Response{}, remove(ctx, s, stageTemplates, r.ID)
}
