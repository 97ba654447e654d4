package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

type surveyTemplateRows = resource[api.SurveyTemplate, api.SurveyTemplateCreate, api.SurveyTemplateCreate, api.SurveyTemplateUpdate, db.SurveyTemplateInsertParams]

func newSurveyTemplates(e *engine) api.SurveyTemplateResource {
	rows := &surveyTemplateRows{
		reader: reader[api.SurveyTemplate]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.SurveyTemplate, error) {
			found, err := q.SurveyTemplateGet(ctx, db.SurveyTemplateGetParams(row))
			return api.SurveyTemplate(found), err
		}},
		noun: "survey_template",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.SurveyTemplateInsertParams, error) {
			found, err := q.SurveyTemplateLock(ctx, db.SurveyTemplateLockParams(row))
			return db.SurveyTemplateInsertParams(found), err
		},
		insert: (*db.Queries).SurveyTemplateInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.SurveyTemplateInsertParams) error {
			return q.SurveyTemplateUpdate(ctx, db.SurveyTemplateUpdateParams(fields))
		},
		remove:   (*db.Queries).SurveyTemplateDelete,
		defaults: db.SurveyTemplateInsertParams{IsActive: true},
		id:       func(fields *db.SurveyTemplateInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.SurveyTemplateInsertParams) *uuid.UUID { return &fields.Hospital },
	}
	return struct {
		list[api.ListSurveyTemplatesParams, api.SurveyTemplateList]
		*surveyTemplateRows
	}{
		newList[api.ListSurveyTemplatesParams](e, (*db.Queries).SurveyTemplateList, (*db.Queries).SurveyTemplateCount,
			func(row db.SurveyTemplateListRow) api.SurveyTemplate { return api.SurveyTemplate(row) },
			func(p page[api.SurveyTemplate]) api.SurveyTemplateList { return api.SurveyTemplateList(p) }, "Scope"),
		rows.bind(e),
	}
}
