package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/problem"
)

type journeyTemplateRows = resource[api.JourneyTemplateDetail, api.JourneyTemplateCreate, api.JourneyTemplateCreate, api.JourneyTemplateUpdate, db.JourneyTemplateInsertParams]

func newJourneyTemplates(e *engine) api.JourneyTemplateResource {
	detail := newMapping[api.JourneyTemplateDetail, db.JourneyTemplateGetRow](e)
	rows := &journeyTemplateRows{
		reader: reader[api.JourneyTemplateDetail]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.JourneyTemplateDetail, error) {
			found, err := q.JourneyTemplateGet(ctx, db.JourneyTemplateGetParams(row))
			if err != nil {
				return api.JourneyTemplateDetail{}, err
			}
			answer := detail.convert(found)
			stages, err := q.JourneyTemplateStages(ctx, row.ID)
			answer.Stages = each(stages, func(stage db.JourneyTemplateStagesRow) api.StageTemplate { return api.StageTemplate(stage) })
			return answer, err
		}},
		noun: "journey_template",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.JourneyTemplateInsertParams, error) {
			found, err := q.JourneyTemplateLock(ctx, db.JourneyTemplateLockParams(row))
			return db.JourneyTemplateInsertParams(found), err
		},
		insert: (*db.Queries).JourneyTemplateInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.JourneyTemplateInsertParams) error {
			return q.JourneyTemplateUpdate(ctx, db.JourneyTemplateUpdateParams(fields))
		},
		remove:   (*db.Queries).JourneyTemplateDelete,
		defaults: db.JourneyTemplateInsertParams{IsActive: true},
		id:       func(fields *db.JourneyTemplateInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.JourneyTemplateInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[db.JourneyTemplateInsertParams]{
			lockForCreate: func(ctx context.Context, q *db.Queries, stated db.JourneyTemplateInsertParams) error {
				return lockHospitals(ctx, q, uuid.Nil, stated.Hospital)
			},
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.JourneyTemplateInsertParams) error {
				return lockHospitals(ctx, q, id, stated.Hospital)
			},
			checkCreate: checkJourneyTemplate,
			checkUpdate: checkJourneyTemplate,
		},
	}
	return struct {
		list[api.ListJourneyTemplatesParams, api.JourneyTemplateList]
		*journeyTemplateRows
	}{
		newList[api.ListJourneyTemplatesParams](e, (*db.Queries).JourneyTemplateList,
			func(row db.JourneyTemplateListRow) api.JourneyTemplate { return api.JourneyTemplate(row) },
			func(p page[api.JourneyTemplate]) api.JourneyTemplateList { return api.JourneyTemplateList(p) }, "Scope"),
		rows.bind(e),
	}
}

// checkJourneyTemplate wants a template for the survey after the visit, if one is to be sent.
func checkJourneyTemplate(ctx context.Context, q *db.Queries, w *write[db.JourneyTemplateInsertParams]) error {
	if w.row.SendPostDischargeSurvey && w.row.PostDischargeSurveyTemplate == nil {
		return problem.InvalidField("post_discharge_survey_template", rules.MessageRequired)
	}
	return clearOtherDefault(ctx, q, w)
}

// clearOtherDefault takes the default from the hospital's other template of the journey type. The hospital is locked.
func clearOtherDefault(ctx context.Context, q *db.Queries, w *write[db.JourneyTemplateInsertParams]) error {
	if !w.row.IsDefault {
		return nil
	}
	return q.JourneyTemplateClearDefault(ctx, db.JourneyTemplateClearDefaultParams{Hospital: w.row.Hospital, JourneyType: w.row.JourneyType, ID: w.id})
}
