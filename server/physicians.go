package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var physicians = &resource[api.Physician, db.PhysicianListParams, db.PhysicianInsertParams]{
	collection: collection[api.Physician, db.PhysicianListParams]{
		noun: "physician",
		list: func(q *db.Queries, ctx context.Context, filter db.PhysicianListParams) ([]api.Physician, error) {
			rows, err := q.PhysicianList(ctx, filter)
			return each(rows, err, func(row db.PhysicianListRow) api.Physician { return api.Physician(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.PhysicianListParams) (int64, error) {
			return q.PhysicianCount(ctx, fill[db.PhysicianCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.PhysicianInsertParams, error) {
		row, err := q.PhysicianLock(ctx, db.PhysicianLockParams{ID: id, Scope: scope})
		return db.PhysicianInsertParams(row), err
	},
	insert: (*db.Queries).PhysicianInsert,
	update: func(q *db.Queries, ctx context.Context, row db.PhysicianInsertParams) error {
		return q.PhysicianUpdate(ctx, db.PhysicianUpdateParams(row))
	},
	remove: (*db.Queries).PhysicianDelete,
	fresh:  db.PhysicianInsertParams{Status: "active"},
}

func (s *Server) ListPhysicians(ctx context.Context, r api.ListPhysiciansRequestObject) (api.ListPhysiciansResponseObject, error) {
	page, err := listPage(ctx, s, &physicians.collection, r.Params)
	return api.ListPhysicians200JSONResponse(page), err
}

func (s *Server) CreatePhysician(ctx context.Context, r api.CreatePhysicianRequestObject) (api.CreatePhysicianResponseObject, error) {
	row, err := create(ctx, s, physicians, r.Body)
	return api.CreatePhysician201JSONResponse(row), err
}

func (s *Server) RetrievePhysician(ctx context.Context, r api.RetrievePhysicianRequestObject) (api.RetrievePhysicianResponseObject, error) {
	row, err := retrieve(ctx, s, &physicians.collection, r.ID)
	return api.RetrievePhysician200JSONResponse(row), err
}

func (s *Server) ReplacePhysician(ctx context.Context, r api.ReplacePhysicianRequestObject) (api.ReplacePhysicianResponseObject, error) {
	row, err := update(ctx, s, physicians, r.ID, r.Body)
	return api.ReplacePhysician200JSONResponse(row), err
}

func (s *Server) UpdatePhysician(ctx context.Context, r api.UpdatePhysicianRequestObject) (api.UpdatePhysicianResponseObject, error) {
	row, err := update(ctx, s, physicians, r.ID, r.Body)
	return api.UpdatePhysician200JSONResponse(row), err
}

func (s *Server) DeletePhysician(ctx context.Context, r api.DeletePhysicianRequestObject) (api.DeletePhysicianResponseObject, error) {
	return api.DeletePhysician204Response{}, remove(ctx, s, physicians, r.ID)
}
