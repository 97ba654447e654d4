package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

type hospitalRows = resource[api.Hospital, api.HospitalCreate, api.HospitalCreate, api.HospitalUpdate, db.HospitalInsertParams]

func newHospitals(e *engine) api.HospitalResource {
	rows := &hospitalRows{
		reader: reader[api.Hospital]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Hospital, error) {
			found, err := q.HospitalGet(ctx, db.HospitalGetParams(row))
			return api.Hospital(found), err
		}},
		noun: "hospital",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.HospitalInsertParams, error) {
			found, err := q.HospitalLock(ctx, db.HospitalLockParams(row))
			return db.HospitalInsertParams(found), err
		},
		insert: (*db.Queries).HospitalInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.HospitalInsertParams) error {
			return q.HospitalUpdate(ctx, db.HospitalUpdateParams(fields))
		},
		remove:   (*db.Queries).HospitalDelete,
		defaults: db.HospitalInsertParams{Status: "active"},
		id:       func(fields *db.HospitalInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.HospitalInsertParams) *uuid.UUID { return &fields.ID },
		hooks: hooks[db.HospitalInsertParams]{
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.HospitalInsertParams) error {
				if stated.Code == "" {
					return nil
				}
				return q.HospitalLockCode(ctx, db.HospitalLockCodeParams{ID: id, Code: stated.Code})
			},
		},
	}
	return struct {
		list[api.ListHospitalsParams, api.HospitalList]
		*hospitalRows
	}{
		newList[api.ListHospitalsParams](e, (*db.Queries).HospitalList,
			func(row db.HospitalListRow) api.Hospital { return api.Hospital(row) },
			func(p page[api.Hospital]) api.HospitalList { return api.HospitalList(p) }, "Scope"),
		rows.bind(e),
	}
}

// lockHospitals locks the hospital of a row before the row, and that which the row is to be in. Those outside of the
// caller's scope are not waited for, because the wait would tell of them; the checks refuse them.
func lockHospitals(ctx context.Context, q *db.Queries, id, stated uuid.UUID) error {
	return q.HospitalLockOf(ctx, db.HospitalLockOfParams{ID: id, Stated: &stated, Scope: requestOf(ctx).principal.Scope()})
}
