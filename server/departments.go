package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/problem"
)

type departmentRows = resource[api.Department, api.DepartmentCreate, api.DepartmentCreate, api.DepartmentUpdate, db.DepartmentInsertParams]

func newDepartments(e *engine) api.DepartmentResource {
	rows := &departmentRows{
		reader: reader[api.Department]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Department, error) {
			found, err := q.DepartmentGet(ctx, db.DepartmentGetParams(row))
			return api.Department(found), err
		}},
		noun: "department",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.DepartmentInsertParams, error) {
			found, err := q.DepartmentLock(ctx, db.DepartmentLockParams(row))
			return db.DepartmentInsertParams(found), err
		},
		insert: (*db.Queries).DepartmentInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.DepartmentInsertParams) error {
			return q.DepartmentUpdate(ctx, db.DepartmentUpdateParams(fields))
		},
		remove:   (*db.Queries).DepartmentDelete,
		defaults: db.DepartmentInsertParams{Status: "active"},
		id:       func(fields *db.DepartmentInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.DepartmentInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[db.DepartmentInsertParams]{
			lockForUpdate: func(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.DepartmentInsertParams) error {
				return lockHospitals(ctx, q, id, stated.Hospital)
			},
			// A child that takes the code of a department that is being deleted waits for it, and that looks for its children.
			lockForDelete: func(ctx context.Context, q *db.Queries, id uuid.UUID) error {
				return lockHospitals(ctx, q, id, uuid.Nil)
			},
			checkUpdate: checkDepartmentTree,
		},
	}
	return struct {
		list[api.ListDepartmentsParams, api.DepartmentList]
		*departmentRows
	}{
		newList[api.ListDepartmentsParams](e, (*db.Queries).DepartmentList,
			func(row db.DepartmentListRow) api.Department { return api.Department(row) },
			func(p page[api.Department]) api.DepartmentList { return api.DepartmentList(p) }, "Scope"),
		rows.bind(e),
	}
}

// checkDepartmentTree keeps the departments of a hospital a tree: none is below itself. The hospital is locked, so that
// two moves, each valid alone, do not close a cycle.
func checkDepartmentTree(ctx context.Context, q *db.Queries, w *write[db.DepartmentInsertParams]) error {
	if w.row.Parent == nil {
		return nil
	}
	below, err := q.DepartmentIsBelow(ctx, db.DepartmentIsBelowParams{Department: *w.row.Parent, Above: w.id})
	if err == nil && below {
		return problem.InvalidField("parent", "A department cannot be below itself.")
	}
	return err
}
