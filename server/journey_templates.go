package server

import (
	"context"
	"math"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var journeyTemplates = &resource[api.JourneyTemplate, db.JourneyTemplateListParams, db.JourneyTemplateInsertParams]{
	collection: collection[api.JourneyTemplate, db.JourneyTemplateListParams]{
		noun: "journey_template",
		list: func(q *db.Queries, ctx context.Context, filter db.JourneyTemplateListParams) ([]api.JourneyTemplate, error) {
			rows, err := q.JourneyTemplateList(ctx, filter)
			return each(rows, err, func(row db.JourneyTemplateListRow) api.JourneyTemplate { return api.JourneyTemplate(row) })
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

// detailedTemplate is a journey template with its stages, as single templates are answered.
func (s *Server) detailedTemplate(ctx context.Context, template api.JourneyTemplate, err error) (api.JourneyTemplateDetail, error) {
	full := fill[api.JourneyTemplateDetail](template)
	if err != nil {
		return full, err
	}
	err = s.db.Read(ctx, func(q *db.Queries) error {
		full.Stages, err = stageTemplates.list(q, ctx, db.StageTemplateListParams{JourneyTemplate: &template.ID, PageSize: math.MaxInt32})
		return err
	})
	return full, err
}

func (s *Server) ListJourneyTemplates(ctx context.Context, r api.ListJourneyTemplatesRequestObject) (api.ListJourneyTemplatesResponseObject, error) {
	page, err := listPage(ctx, s, &journeyTemplates.collection, r.Params)
	return api.ListJourneyTemplates200JSONResponse(page), err
}

func (s *Server) CreateJourneyTemplate(ctx context.Context, r api.CreateJourneyTemplateRequestObject) (api.CreateJourneyTemplateResponseObject, error) {
	row, err := create(ctx, s, journeyTemplates, r.Body)
	full, err := s.detailedTemplate(ctx, row, err)
	return api.CreateJourneyTemplate201JSONResponse(full), err
}

func (s *Server) RetrieveJourneyTemplate(ctx context.Context, r api.RetrieveJourneyTemplateRequestObject) (api.RetrieveJourneyTemplateResponseObject, error) {
	row, err := retrieve(ctx, s, &journeyTemplates.collection, r.ID)
	full, err := s.detailedTemplate(ctx, row, err)
	return api.RetrieveJourneyTemplate200JSONResponse(full), err
}

func (s *Server) ReplaceJourneyTemplate(ctx context.Context, r api.ReplaceJourneyTemplateRequestObject) (api.ReplaceJourneyTemplateResponseObject, error) {
	row, err := update(ctx, s, journeyTemplates, r.ID, r.Body)
	full, err := s.detailedTemplate(ctx, row, err)
	return api.ReplaceJourneyTemplate200JSONResponse(full), err
}

func (s *Server) UpdateJourneyTemplate(ctx context.Context, r api.UpdateJourneyTemplateRequestObject) (api.UpdateJourneyTemplateResponseObject, error) {
	row, err := update(ctx, s, journeyTemplates, r.ID, r.Body)
	full, err := s.detailedTemplate(ctx, row, err)
	return api.UpdateJourneyTemplate200JSONResponse(full), err
}

func (s *Server) DeleteJourneyTemplate(ctx context.Context, r api.DeleteJourneyTemplateRequestObject) (api.DeleteJourneyTemplateResponseObject, error) {
	return api.DeleteJourneyTemplate204Response{}, remove(ctx, s, journeyTemplates, r.ID)
}
