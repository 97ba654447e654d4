package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

type physicianRows = resource[api.Physician, api.PhysicianCreate, api.PhysicianCreate, api.PhysicianUpdate, db.PhysicianInsertParams]

func newPhysicians(e *engine) api.PhysicianResource {
	rows := &physicianRows{
		reader: reader[api.Physician]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Physician, error) {
			found, err := q.PhysicianGet(ctx, db.PhysicianGetParams(row))
			return api.Physician(found), err
		}},
		noun: "physician",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.PhysicianInsertParams, error) {
			found, err := q.PhysicianLock(ctx, db.PhysicianLockParams(row))
			return db.PhysicianInsertParams(found), err
		},
		insert: (*db.Queries).PhysicianInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.PhysicianInsertParams) error {
			return q.PhysicianUpdate(ctx, db.PhysicianUpdateParams(fields))
		},
		remove:   (*db.Queries).PhysicianDelete,
		defaults: db.PhysicianInsertParams{Status: "active"},
		id:       func(fields *db.PhysicianInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.PhysicianInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[db.PhysicianInsertParams]{
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.PhysicianInsertParams) error {
				return lockHospitals(ctx, q, id, stated.Hospital)
			},
		},
	}
	return struct {
		list[api.ListPhysiciansParams, api.PhysicianList]
		*physicianRows
	}{
		newList[api.ListPhysiciansParams](e, (*db.Queries).PhysicianList,
			func(row db.PhysicianListRow) api.Physician { return api.Physician(row) },
			func(p page[api.Physician]) api.PhysicianList { return api.PhysicianList(p) }, "Scope"),
		rows.bind(e),
	}
}
