package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

var users = &resource[api.User, db.UserListParams, db.UserInsertParams]{
	collection: collection[api.User, db.UserListParams]{
		noun: "user",
		list: func(q *db.Queries, ctx context.Context, filter db.UserListParams) ([]api.User, error) {
			rows, err := q.UserList(ctx, filter)
			return each(rows, err, func(row db.UserListRow) api.User { return api.User(row) })
		},
		count: func(q *db.Queries, ctx context.Context, filter db.UserListParams) (int64, error) {
			return q.UserCount(ctx, fill[db.UserCountParams](filter))
		},
	},
	lock: func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (db.UserInsertParams, error) {
		row, err := q.UserLock(ctx, db.UserLockParams{ID: id, Scope: scope})
		return db.UserInsertParams(row), err
	},
	insert: (*db.Queries).UserInsert,
	update: func(q *db.Queries, ctx context.Context, row db.UserInsertParams) error {
		return q.UserUpdate(ctx, db.UserUpdateParams(row))
	},
	remove:  (*db.Queries).UserDelete,
	fresh:   db.UserInsertParams{Language: "en", IsActive: true},
	check:   checkUser,
	written: userChanged,
	removed: func(ctx context.Context, q *db.Queries, p auth.Principal, row db.UserInsertParams) error {
		if err := mayChange(ctx, q, p, row.ID); err != nil {
			return err
		}
		return keepAnAdmin(ctx, q, row.ID)
	},
}

const messagePasswords = "The two password fields didn’t match."

// messagePasswordBytes is about a password that has few enough characters, but not bytes.
var messagePasswordBytes = fmt.Sprintf("This password is too long. It may have at most %d bytes.", auth.MaxPasswordBytes)

// errUserGone is about the caller's own account, that is not there, or was deleted while they changed it.
var errUserGone = unauthorized(detail{Detail: "User not found", Code: "user_not_found"})

var errLastAdmin = conflict("This is the last active PX Admin.")

// checkUser keeps everybody but PX Admins to users of their own hospital, and to those whose roles they
// could have given.
func checkUser(ctx context.Context, q *db.Queries, w *writing[db.UserInsertParams]) error {
	if w.old != nil {
		if err := mayChange(ctx, q, w.principal, w.id); err != nil {
			return err
		}
		if w.old.IsActive && !w.row.IsActive {
			if err := keepAnAdmin(ctx, q, w.id); err != nil {
				return err
			}
		}
	}
	if w.row.Hospital == nil && !w.principal.IsPXAdmin() {
		if w.old != nil || says(w.body, "hospital") {
			return invalidField("hospital", messageNull)
		}
		w.row.Hospital = w.principal.Hospital
	}
	return nil
}

// userChanged ends the tokens of a user who was deactivated.
func userChanged(ctx context.Context, q *db.Queries, w *writing[db.UserInsertParams]) error {
	if w.old != nil && w.old.IsActive && !w.row.IsActive {
		_, err := q.UserEndTokens(ctx, db.UserEndTokensParams{ID: w.id})
		return err
	}
	return nil
}

// mayChange refuses to change a user who holds a role that the caller could not assign.
func mayChange(ctx context.Context, q *db.Queries, p auth.Principal, id uuid.UUID) error {
	held, err := q.UserRoles(ctx, id)
	if err == nil && !p.MayAssign(held...) {
		return errForbidden
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

// newPassword checks a password and its repetition, and hashes it.
func (s *Server) newPassword(ctx context.Context, field, password, confirm string, user auth.Attributes) (string, error) {
	errs := fieldErrors{}
	if len(password) > auth.MaxPasswordBytes {
		errs.add(field, messagePasswordBytes)
	} else if messages := auth.Validate(password, user); len(messages) > 0 {
		errs.add(field, messages...)
	}
	if password != confirm {
		errs.add(field+"_confirm", messagePasswords)
	}
	if len(errs) > 0 {
		return "", invalid(errs)
	}
	return s.passwords.Hash(ctx, password)
}

func (s *Server) CreateUser(ctx context.Context, r api.CreateUserRequestObject) (api.CreateUserResponseObject, error) {
	body := *r.Body
	attributes := fill[auth.Attributes](body)
	hash, err := s.newPassword(ctx, "password", body.Password, body.PasswordConfirm, attributes)
	if err != nil {
		return nil, err
	}
	body.Password = hash
	row, err := create(ctx, s, users, &body)
	return api.CreateUser201JSONResponse(row), err
}

func (s *Server) RetrieveMe(ctx context.Context, _ api.RetrieveMeRequestObject) (api.RetrieveMeResponseObject, error) {
	row, err := retrieve(ctx, s, &users.collection, requestOf(ctx).principal.UserID)
	return api.RetrieveMe200JSONResponse(row), err
}

func (s *Server) ReplaceProfile(ctx context.Context, r api.ReplaceProfileRequestObject) (api.ReplaceProfileResponseObject, error) {
	row, err := s.updateProfile(ctx, r.Body)
	return api.ReplaceProfile200JSONResponse(row), err
}

func (s *Server) UpdateProfile(ctx context.Context, r api.UpdateProfileRequestObject) (api.UpdateProfileResponseObject, error) {
	row, err := s.updateProfile(ctx, r.Body)
	return api.UpdateProfile200JSONResponse(row), err
}

// updateProfile writes what a user may say of themselves, which asks for no permission over users.
func (s *Server) updateProfile(ctx context.Context, body any) (row api.User, err error) {
	id := requestOf(ctx).principal.UserID
	err = s.change(ctx, func(q *db.Queries, record *audit) error {
		old, err := q.UserLock(ctx, db.UserLockParams{ID: id})
		if queries.NoRows(err) {
			return errUserGone
		}
		if err != nil {
			return err
		}
		record.object("user", id, old.Hospital, assign(&old, body))
		if err := q.UserUpdate(ctx, db.UserUpdateParams(old)); err != nil {
			return err
		}
		row, err = users.one(ctx, q, s.scope(ctx), id)
		return err
	})
	return row, err
}

func (s *Server) ChangePassword(ctx context.Context, r api.ChangePasswordRequestObject) (api.ChangePasswordResponseObject, error) {
	me, old, err := s.ownPassword(ctx)
	if err != nil {
		return nil, err
	}
	// Hashing takes its time, so it happens outside the transaction. Guessing is as slow here as at login.
	ok, err := s.logins.attempt(ctx, me.Username, func() (bool, error) {
		ok, _, err := s.checkPassword(ctx, old, r.Body.OldPassword)
		return ok, err
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalidField("old_password", "Your old password was entered incorrectly. Please enter it again.")
	}
	hash, err := s.newPassword(ctx, "new_password", r.Body.NewPassword, r.Body.NewPasswordConfirm, fill[auth.Attributes](me))
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, func(q *db.Queries, record *audit) error {
		record.object("user", me.ID, me.Hospital, []string{"password"})
		// Whoever still knows the old one must not be faster than its owner's change.
		now, err := q.UserLock(ctx, db.UserLockParams{ID: me.ID})
		switch {
		case queries.NoRows(err):
			return errUserGone
		case err != nil:
			return err
		case now.Password != old:
			return conflict("The password was changed at the same time.")
		}
		return q.UserSetPassword(ctx, db.UserSetPasswordParams{ID: me.ID, Password: hash})
	})
	return api.ChangePassword200JSONResponse{Detail: "Password changed successfully."}, err
}

// ownPassword reads the caller's account and the hash of its password.
func (s *Server) ownPassword(ctx context.Context) (me api.User, hash string, err error) {
	id := requestOf(ctx).principal.UserID
	err = s.db.Read(ctx, func(q *db.Queries) error {
		if me, err = users.one(ctx, q, s.scope(ctx), id); err != nil {
			return err
		}
		hash, err = q.UserPassword(ctx, id)
		return err
	})
	if err == errNotFound || queries.NoRows(err) {
		err = errUserGone
	}
	return me, hash, err
}

func (s *Server) AssignRole(ctx context.Context, r api.AssignRoleRequestObject) (api.AssignRoleResponseObject, error) {
	row, err := s.changeRole(ctx, r.ID, r.Body.RoleID, func(q *db.Queries) error {
		_, err := q.UserAddRole(ctx, db.UserAddRoleParams{UserID: r.ID, RoleID: r.Body.RoleID})
		return err
	})
	return api.AssignRole200JSONResponse(row), err
}

func (s *Server) RemoveRole(ctx context.Context, r api.RemoveRoleRequestObject) (api.RemoveRoleResponseObject, error) {
	row, err := s.changeRole(ctx, r.ID, r.Body.RoleID, func(q *db.Queries) error {
		role, err := roles.one(ctx, q, scoped{}, r.Body.RoleID)
		if err != nil {
			return err
		}
		if role.Name == auth.RolePXAdmin {
			if err := keepAnAdmin(ctx, q, r.ID); err != nil {
				return err
			}
		}
		_, err = q.UserRemoveRole(ctx, db.UserRemoveRoleParams{UserID: r.ID, RoleID: r.Body.RoleID})
		return err
	})
	return api.RemoveRole200JSONResponse(row), err
}

// changeRole gives or takes a role that the caller may assign, of a user whose every role is such.
func (s *Server) changeRole(ctx context.Context, id, role uuid.UUID, write func(*db.Queries) error) (row api.User, err error) {
	p := requestOf(ctx).principal
	err = s.change(ctx, func(q *db.Queries, record *audit) error {
		user, err := q.UserLock(ctx, db.UserLockParams{ID: id, Scope: p.Scope()})
		if queries.NoRows(err) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		if err := s.checkReferences(ctx, q); err != nil {
			return err
		}
		named, err := roles.one(ctx, q, scoped{}, role)
		if err != nil {
			return err
		}
		if !p.MayAssign(named.Name) {
			return errForbidden
		}
		if err := mayChange(ctx, q, p, id); err != nil {
			return err
		}
		record.object("user", id, user.Hospital, []string{"roles"})
		if err := write(q); err != nil {
			return err
		}
		row, err = users.one(ctx, q, s.scope(ctx), id)
		return err
	})
	return row, err
}

func (s *Server) ListUsers(ctx context.Context, r api.ListUsersRequestObject) (api.ListUsersResponseObject, error) {
	page, err := listPage(ctx, s, &users.collection, r.Params)
	return api.ListUsers200JSONResponse(page), err
}

func (s *Server) RetrieveUser(ctx context.Context, r api.RetrieveUserRequestObject) (api.RetrieveUserResponseObject, error) {
	row, err := retrieve(ctx, s, &users.collection, r.ID)
	return api.RetrieveUser200JSONResponse(row), err
}

func (s *Server) ReplaceUser(ctx context.Context, r api.ReplaceUserRequestObject) (api.ReplaceUserResponseObject, error) {
	row, err := update(ctx, s, users, r.ID, r.Body)
	return api.ReplaceUser200JSONResponse(row), err
}

func (s *Server) UpdateUser(ctx context.Context, r api.UpdateUserRequestObject) (api.UpdateUserResponseObject, error) {
	row, err := update(ctx, s, users, r.ID, r.Body)
	return api.UpdateUser200JSONResponse(row), err
}

func (s *Server) DeleteUser(ctx context.Context, r api.DeleteUserRequestObject) (api.DeleteUserResponseObject, error) {
	return api.DeleteUser204Response{}, remove(ctx, s, users, r.ID)
}
