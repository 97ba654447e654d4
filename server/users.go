package server

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

// userOperations are those on users that are no plain reads or writes.
type userOperations struct {
	engine    *engine
	users     *userRows
	passwords *passwords
}

type userRows = resource[api.User, api.UserCreate, api.UserReplace, api.UserUpdate, db.UserInsertParams]

// newUserResource answers the plain reads and writes.
func newUserResource(e *engine, rows *userRows) api.UserResource {
	return struct {
		list[api.ListUsersParams, api.UserList]
		*userRows
	}{
		newList[api.ListUsersParams](e, (*db.Queries).UserList,
			func(row db.UserListRow) api.User { return api.User(row) },
			func(p page[api.User]) api.UserList { return api.UserList(p) }, "Scope", "Self"),
		rows,
	}
}

func newUsers(e *engine) *userRows {
	rows := &userRows{
		reader: reader[api.User]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.User, error) {
			self := requestOf(ctx).principal.UserID
			found, err := q.UserGet(ctx, db.UserGetParams{ID: row.ID, Scope: row.Scope, Self: &self})
			return api.User(found), err
		}},
		noun: "user",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.UserInsertParams, error) {
			found, err := q.UserLock(ctx, db.UserLockParams(row))
			return db.UserInsertParams(found), err
		},
		insert: (*db.Queries).UserInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.UserInsertParams) error {
			return q.UserUpdate(ctx, db.UserUpdateParams(fields))
		},
		remove:   (*db.Queries).UserDelete,
		defaults: db.UserInsertParams{Language: "en", IsActive: true},
		id:       func(fields *db.UserInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.UserInsertParams) *uuid.UUID { return fields.Hospital },
		hooks: hooks[db.UserInsertParams]{
			lockForUpdate: lockUserName,
			lockForDelete: func(ctx context.Context, q *db.Queries, id uuid.UUID) error { return q.DepartmentLockManaged(ctx, id) },
			checkCreate:   checkNewUser,
			checkUpdate:   checkUser,
			checkDelete:   checkUserDelete,
			updated:       endTokensOfInactive,
		},
	}
	return rows.bind(e, "PasswordConfirm")
}

// lockUserName locks the holder of the name that a user is to have, if there is another.
func lockUserName(ctx context.Context, q *db.Queries, id uuid.UUID, stated db.UserInsertParams) error {
	if stated.Username == "" {
		return nil
	}
	return q.UserLockName(ctx, db.UserLockNameParams{ID: id, Username: stated.Username, Scope: requestOf(ctx).principal.Scope()})
}

// errUserGone is about the caller's own account, that was deleted while the request was under way.
var errUserGone = problem.Unauthorized(problem.Detail{Detail: "User not found", Code: "user_not_found"})

var errOwnAccount = problem.Conflict("This is your own account. Ask another administrator to delete it.")

var errLastAdmin = problem.Conflict("This is the last active PX Admin.")

// checkNewUser gives a new user the hospital of whoever creates them, unless the body states another.
func checkNewUser(_ context.Context, _ *db.Queries, w *write[db.UserInsertParams]) error {
	if w.row.Hospital == nil && !w.states("hospital") && !w.principal.IsPXAdmin() {
		w.row.Hospital = w.principal.Hospital
	}
	return checkUserHospital(w)
}

// checkUser keeps everybody but PX Admins to users whose roles they could have given.
func checkUser(ctx context.Context, q *db.Queries, w *write[db.UserInsertParams]) error {
	if err := mayChange(ctx, q, w.principal, w.id); err != nil {
		return err
	}
	if w.old.IsActive && !w.row.IsActive {
		if err := keepAnAdmin(ctx, q, w.id); err != nil {
			return err
		}
	}
	return checkUserHospital(w)
}

// checkUserDelete keeps the last PX Admin, and users from deleting themselves by mistake.
func checkUserDelete(ctx context.Context, q *db.Queries, p auth.Principal, old db.UserInsertParams) error {
	if err := mayChange(ctx, q, p, old.ID); err != nil {
		return err
	}
	if err := keepAnAdmin(ctx, q, old.ID); err != nil {
		return err
	}
	if old.ID == p.UserID {
		return errOwnAccount
	}
	return nil
}

// checkUserHospital lets only PX Admins leave a user without a hospital.
func checkUserHospital(w *write[db.UserInsertParams]) error {
	if w.row.Hospital == nil && !w.principal.IsPXAdmin() {
		return problem.InvalidField("hospital", contract.MessageNull)
	}
	return nil
}

// endTokensOfInactive revokes the tokens of a user who was deactivated.
func endTokensOfInactive(ctx context.Context, q *db.Queries, w *write[db.UserInsertParams]) error {
	if !w.old.IsActive || w.row.IsActive {
		return nil
	}
	_, err := q.UserEndTokens(ctx, db.UserEndTokensParams{ID: w.id})
	return err
}

// mayChange refuses to change a user who holds a role that the caller could not assign.
func mayChange(ctx context.Context, q *db.Queries, p auth.Principal, id uuid.UUID) error {
	held, err := q.UserRoles(ctx, id)
	if err == nil && !p.MayAssign(held...) {
		return problem.Forbidden
	}
	return err
}

// keepAnAdmin refuses what would leave nobody to administer the system. The lock makes a second request
// that takes away another PX Admin at the same time wait for this one.
func keepAnAdmin(ctx context.Context, q *db.Queries, id uuid.UUID) error {
	held, err := q.UserRoles(ctx, id)
	if err != nil || !slices.Contains(held, auth.RolePXAdmin) {
		return err
	}
	if err := q.UserLockAdmins(ctx); err != nil {
		return err
	}
	others, err := q.UserOtherAdmins(ctx, id)
	if err == nil && others == 0 {
		return errLastAdmin
	}
	return err
}

// CreateUser hashes the password of a new user before anything is locked: hashing takes its time.
func (o userOperations) CreateUser(ctx context.Context, body api.UserCreate) (answer api.User, err error) {
	body.Password, err = o.passwords.create(ctx, "password", body.Password, body.PasswordConfirm, auth.Attributes{
		Username: body.Username, FirstName: value(body.FirstName), LastName: value(body.LastName), Email: body.Email,
	})
	if err != nil {
		return answer, err
	}
	return o.users.Create(ctx, body)
}

// AssignRole gives a user a role.
func (o userOperations) AssignRole(ctx context.Context, id uuid.UUID, body api.RoleAssignment) (api.User, error) {
	return o.changeRole(ctx, id, body.RoleID, func(q *db.Queries, _ db.RoleGetRow) error {
		_, err := q.UserAddRole(ctx, db.UserAddRoleParams{UserID: id, RoleID: body.RoleID})
		return err
	})
}

// RemoveRole takes a role from a user.
func (o userOperations) RemoveRole(ctx context.Context, id uuid.UUID, body api.RoleAssignment) (api.User, error) {
	return o.changeRole(ctx, id, body.RoleID, func(q *db.Queries, role db.RoleGetRow) error {
		if role.Name == auth.RolePXAdmin {
			if err := keepAnAdmin(ctx, q, id); err != nil {
				return err
			}
		}
		_, err := q.UserRemoveRole(ctx, db.UserRemoveRoleParams{UserID: id, RoleID: body.RoleID})
		return err
	})
}

// changeRole gives or takes a role that the caller may assign, of a user whose every role is such.
func (o userOperations) changeRole(ctx context.Context, id, role uuid.UUID, write func(*db.Queries, db.RoleGetRow) error) (answer api.User, err error) {
	p := requestOf(ctx).principal
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		entry := auditEntry{noun: "user", id: id, fields: []string{"roles"}}
		user, err := o.users.locked(ctx, q, id)
		if err != nil {
			return entry, err
		}
		entry.hospital = user.Hospital
		if err := checkBody(ctx, q); err != nil {
			return entry, err
		}
		named, err := q.RoleGet(ctx, role)
		switch {
		case queries.NoRows(err):
			return entry, problem.NotFound
		case err != nil:
			return entry, err
		case !p.MayAssign(named.Name):
			return entry, problem.Forbidden
		}
		if err := mayChange(ctx, q, p, id); err != nil {
			return entry, err
		}
		if err := write(q, named); err != nil {
			return entry, err
		}
		answer, err = o.users.one(ctx, q, id)
		return entry, err
	})
	return answer, err
}
