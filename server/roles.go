package server

import (
	"context"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

func newRoles(e *engine) api.RoleResource {
	return struct {
		list[api.ListRolesParams, api.RoleList]
		*reader[api.Role]
	}{
		newList[api.ListRolesParams](e, func(q *db.Queries, ctx context.Context, filter struct{ Search *string }) ([]db.RoleListRow, error) {
			return q.RoleList(ctx, filter.Search)
		},
			func(row db.RoleListRow) api.Role { return api.Role(row) },
			func(p page[api.Role]) api.RoleList { return api.RoleList(p) }),
		&reader[api.Role]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Role, error) {
			found, err := q.RoleGet(ctx, row.ID)
			return api.Role(found), err
		}},
	}
}
