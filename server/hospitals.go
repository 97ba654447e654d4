package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var hospitals = &resource[api.Hospital, db.HospitalListParams, db.HospitalInsertParams]{
	collection: collection[api.Hospital, db.HospitalListParams]{
		noun: "hospital",
		list: func(q *db.Queries, ctx context.Context, filter db.HospitalListParams) ([]api.Hospital, error) {
			rows, err := q.HospitalList(ctx, filter)
			return each(rows, err, func(row db.HospitalListRow) api.Hospital { return api.Hospital(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.HospitalListParams) (int64, error) {
			return q.HospitalCount(ctx, fill[db.HospitalCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.HospitalInsertParams, error) {
		row, err := q.HospitalLock(ctx, db.HospitalLockParams{ID: id, Scope: scope})
		return db.HospitalInsertParams(row), err
	},
	insert: (*db.Queries).HospitalInsert,
	update: func(q *db.Queries, ctx context.Context, row db.HospitalInsertParams) error {
		return q.HospitalUpdate(ctx, db.HospitalUpdateParams(row))
	},
	remove: (*db.Queries).HospitalDelete,
	fresh:  db.HospitalInsertParams{Status: "active"},
}

func (s *Server) ListHospitals(ctx context.Context, r api.ListHospitalsRequestObject) (api.ListHospitalsResponseObject, error) {
	page, err := listPage(ctx, s, &hospitals.collection, r.Params)
	return api.ListHospitals200JSONResponse(page), err
}

func (s *Server) CreateHospital(ctx context.Context, r api.CreateHospitalRequestObject) (api.CreateHospitalResponseObject, error) {
	row, err := create(ctx, s, hospitals, r.Body)
	return api.CreateHospital201JSONResponse(row), err
}

func (s *Server) RetrieveHospital(ctx context.Context, r api.RetrieveHospitalRequestObject) (api.RetrieveHospitalResponseObject, error) {
	row, err := retrieve(ctx, s, &hospitals.collection, r.ID)
	return api.RetrieveHospital200JSONResponse(row), err
}

func (s *Server) ReplaceHospital(ctx context.Context, r api.ReplaceHospitalRequestObject) (api.ReplaceHospitalResponseObject, error) {
	row, err := update(ctx, s, hospitals, r.ID, r.Body)
	return api.ReplaceHospital200JSONResponse(row), err
}

func (s *Server) UpdateHospital(ctx context.Context, r api.UpdateHospitalRequestObject) (api.UpdateHospitalResponseObject, error) {
	row, err := update(ctx, s, hospitals, r.ID, r.Body)
	return api.UpdateHospital200JSONResponse(row), err
}

func (s *Server) DeleteHospital(ctx context.Context, r api.DeleteHospitalRequestObject) (api.DeleteHospitalResponseObject, error) {
	return api.DeleteHospital204Response{}, remove(ctx, s, hospitals, r.ID)
}
