package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var departments = &resource[api.Department, db.DepartmentListParams, db.DepartmentInsertParams]{
	collection: collection[api.Department, db.DepartmentListParams]{
		noun: "department",
		list: func(q *db.Queries, ctx context.Context, filter db.DepartmentListParams) ([]api.Department, error) {
			rows, err := q.DepartmentList(ctx, filter)
			return each(rows, err, func(row db.DepartmentListRow) api.Department { return api.Department(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.DepartmentListParams) (int64, error) {
			return q.DepartmentCount(ctx, fill[db.DepartmentCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.DepartmentInsertParams, error) {
		row, err := q.DepartmentLock(ctx, db.DepartmentLockParams{ID: id, Scope: scope})
		return db.DepartmentInsertParams(row), err
	},
	insert: (*db.Queries).DepartmentInsert,
	update: func(q *db.Queries, ctx context.Context, row db.DepartmentInsertParams) error {
		return q.DepartmentUpdate(ctx, db.DepartmentUpdateParams(row))
	},
	remove: (*db.Queries).DepartmentDelete,
	fresh:  db.DepartmentInsertParams{Status: "active"},
	check:  checkDepartment,
}

// checkDepartment keeps the tree a tree: nothing is above itself.
func checkDepartment(ctx context.Context, q *db.Queries, w *writing[db.DepartmentInsertParams]) error {
	if w.old == nil || w.row.Parent == nil {
		return nil
	}
	if err := q.DepartmentLockTree(ctx, w.row.Hospital); err != nil {
		return err
	}
	below, err := q.DepartmentIsBelow(ctx, db.DepartmentIsBelowParams{Department: *w.row.Parent, Above: w.id})
	if err == nil && below {
		return invalidField("parent", "A department cannot be below itself.")
	}
	return err
}

func (s *Server) ListDepartments(ctx context.Context, r api.ListDepartmentsRequestObject) (api.ListDepartmentsResponseObject, error) {
	page, err := listPage(ctx, s, &departments.collection, r.Params)
	return api.ListDepartments200JSONResponse(page), err
}

func (s *Server) CreateDepartment(ctx context.Context, r api.CreateDepartmentRequestObject) (api.CreateDepartmentResponseObject, error) {
	row, err := create(ctx, s, departments, r.Body)
	return api.CreateDepartment201JSONResponse(row), err
}

func (s *Server) RetrieveDepartment(ctx context.Context, r api.RetrieveDepartmentRequestObject) (api.RetrieveDepartmentResponseObject, error) {
	row, err := retrieve(ctx, s, &departments.collection, r.ID)
	return api.RetrieveDepartment200JSONResponse(row), err
}

func (s *Server) ReplaceDepartment(ctx context.Context, r api.ReplaceDepartmentRequestObject) (api.ReplaceDepartmentResponseObject, error) {
	row, err := update(ctx, s, departments, r.ID, r.Body)
	return api.ReplaceDepartment200JSONResponse(row), err
}

func (s *Server) UpdateDepartment(ctx context.Context, r api.UpdateDepartmentRequestObject) (api.UpdateDepartmentResponseObject, error) {
	row, err := update(ctx, s, departments, r.ID, r.Body)
	return api.UpdateDepartment200JSONResponse(row), err
}

func (s *Server) DeleteDepartment(ctx context.Context, r api.DeleteDepartmentRequestObject) (api.DeleteDepartmentResponseObject, error) {
	return api.DeleteDepartment204Response{}, remove(ctx, s, departments, r.ID)
}
