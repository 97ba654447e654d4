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
	}
	return struct {
		list[api.ListHospitalsParams, api.HospitalList]
		*hospitalRows
	}{
		newList[api.ListHospitalsParams](e, (*db.Queries).HospitalList, (*db.Queries).HospitalCount,
			func(row db.HospitalListRow) api.Hospital { return api.Hospital(row) },
			func(p page[api.Hospital]) api.HospitalList { return api.HospitalList(p) }, "Scope"),
		rows.bind(e),
	}
}
