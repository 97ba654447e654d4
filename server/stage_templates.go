package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

type stageTemplateRows = resource[api.StageTemplate, api.StageTemplateCreate, api.StageTemplateCreate, api.StageTemplateUpdate, db.StageTemplateInsertParams]

func newStageTemplates(e *engine) api.StageTemplateResource {
	rows := &stageTemplateRows{
		reader: reader[api.StageTemplate]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.StageTemplate, error) {
			found, err := q.StageTemplateGet(ctx, db.StageTemplateGetParams(row))
			return api.StageTemplate(found), err
		}},
		noun: "stage_template",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.StageTemplateInsertParams, error) {
			found, err := q.StageTemplateLock(ctx, db.StageTemplateLockParams(row))
			return db.StageTemplateInsertParams(found), err
		},
		insert: (*db.Queries).StageTemplateInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.StageTemplateInsertParams) error {
			return q.StageTemplateUpdate(ctx, db.StageTemplateUpdateParams(fields))
		},
		remove:   (*db.Queries).StageTemplateDelete,
		defaults: db.StageTemplateInsertParams{IsActive: true},
		id:       func(fields *db.StageTemplateInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.StageTemplateInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[db.StageTemplateInsertParams]{
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, _ db.StageTemplateInsertParams) error {
				return q.JourneyTemplateLockOf(ctx, db.JourneyTemplateLockOfParams{Stage: id, Scope: requestOf(ctx).principal.Scope()})
			},
			checkCreate: checkStageTemplate,
			checkUpdate: checkStageTemplateUpdate,
		},
	}
	return struct {
		list[api.ListStageTemplatesParams, api.StageTemplateList]
		*stageTemplateRows
	}{
		newList[api.ListStageTemplatesParams](e, (*db.Queries).StageTemplateList,
			func(row db.StageTemplateListRow) api.StageTemplate { return api.StageTemplate(row) },
			func(p page[api.StageTemplate]) api.StageTemplateList { return api.StageTemplateList(p) }, "Scope"),
		rows.bind(e),
	}
}

// checkStageTemplate takes the hospital from the journey template.
func checkStageTemplate(ctx context.Context, q *db.Queries, w *write[db.StageTemplateInsertParams]) error {
	template, err := q.JourneyTemplateLock(ctx, db.JourneyTemplateLockParams{ID: w.row.JourneyTemplate})
	if queries.NoRows(err) { // it was there a moment ago
		return problem.InvalidField("journey_template", contract.MessageNoObject(w.row.JourneyTemplate.String()))
	}
	w.row.Hospital = template.Hospital
	return err
}

// checkStageTemplateUpdate keeps a stage in its journey template.
func checkStageTemplateUpdate(ctx context.Context, q *db.Queries, w *write[db.StageTemplateInsertParams]) error {
	if w.old.JourneyTemplate != w.row.JourneyTemplate {
		return problem.InvalidField("journey_template", contract.MessageFixed)
	}
	return checkStageTemplate(ctx, q, w)
}
