package server

import (
	"context"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

var roles = &collection[api.Role, db.RoleListParams]{
	noun: "role",
	list: func(q *db.Queries, ctx context.Context, filter db.RoleListParams) ([]api.Role, error) {
		rows, err := q.RoleList(ctx, filter)
		return each(rows, err, func(row db.RoleListRow) api.Role { return api.Role(row) })
	},
	count: func(q *db.Queries, ctx context.Context, filter db.RoleListParams) (int64, error) {
		return q.RoleCount(ctx, fill[db.RoleCountParams](filter))
	},
}

func (s *Server) ListRoles(ctx context.Context, r api.ListRolesRequestObject) (api.ListRolesResponseObject, error) {
	page, err := listPage(ctx, s, roles, r.Params)
	return api.ListRoles200JSONResponse(page), err
}

func (s *Server) RetrieveRole(ctx context.Context, r api.RetrieveRoleRequestObject) (api.RetrieveRoleResponseObject, error) {
	row, err := retrieve(ctx, s, roles, r.ID)
	return api.RetrieveRole200JSONResponse(row), err
}
