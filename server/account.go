package server

import (
	"context"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// accountOperations are what users do to their own account, which takes no permission over users.
type accountOperations struct {
	engine      *engine
	users       *userRows
	passwords   *passwords
	logins      *limits.Logins
	fromProfile mapping[db.UserInsertParams, api.ProfileUpdate]
}

// RetrieveMe answers the caller's own account.
func (o accountOperations) RetrieveMe(ctx context.Context) (api.User, error) {
	return o.users.Retrieve(ctx, requestOf(ctx).principal.UserID)
}

// ReplaceProfile writes what users may state of themselves.
func (o accountOperations) ReplaceProfile(ctx context.Context, body api.ProfileUpdate) (api.User, error) {
	return o.UpdateProfile(ctx, body)
}

// UpdateProfile writes what users may state of themselves.
func (o accountOperations) UpdateProfile(ctx context.Context, body api.ProfileUpdate) (answer api.User, err error) {
	id := requestOf(ctx).principal.UserID
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		row, err := lockOwnAccount(ctx, q)
		if err != nil {
			return auditEntry{}, err
		}
		_, changed := o.fromProfile.copy(&row, body)
		if err := q.UserUpdate(ctx, db.UserUpdateParams(row)); err != nil {
			return auditEntry{}, err
		}
		answer, err = o.users.one(ctx, q, id)
		return auditEntry{"user", id, row.Hospital, changed}, err
	})
	return answer, err
}

var errWrongOldPassword = problem.InvalidField("old_password", "Your old password was entered incorrectly. Please enter it again.")

// ChangePassword gives the caller another password and revokes their tokens.
func (o accountOperations) ChangePassword(ctx context.Context, body api.PasswordChange) (answer api.Message, err error) {
	me, old, err := o.ownPassword(ctx)
	if err != nil {
		return answer, err
	}
	// Hashing takes its time, so it happens outside the transaction. Guessing is slowed down as at login.
	ok, err := o.logins.Attempt(ctx, loginOf(ctx, me.Username), func() (bool, error) {
		ok, _, err := o.passwords.check(ctx, old, body.OldPassword)
		return ok, err
	})
	if err != nil {
		return answer, err
	}
	if !ok {
		return answer, errWrongOldPassword
	}
	hash, err := o.passwords.create(ctx, "new_password", body.NewPassword, body.NewPasswordConfirm, auth.Attributes{
		Username: me.Username, FirstName: me.FirstName, LastName: me.LastName, Email: me.Email,
	})
	if err != nil {
		return answer, err
	}
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		// Whoever knows the old password must not win a race against its owner's change.
		now, err := lockOwnAccount(ctx, q)
		switch {
		case err != nil:
			return auditEntry{}, err
		case now.Password != old:
			return auditEntry{}, errWrongOldPassword
		}
		return auditEntry{"user", me.ID, me.Hospital, []string{"password"}}, q.UserSetPassword(ctx, db.UserSetPasswordParams{ID: me.ID, Password: hash})
	})
	return api.Message{Detail: "Password changed successfully."}, err
}

func lockOwnAccount(ctx context.Context, q *db.Queries) (db.UserInsertParams, error) {
	row, err := q.UserLock(ctx, db.UserLockParams{ID: requestOf(ctx).principal.UserID})
	if queries.NoRows(err) {
		err = errUserGone
	}
	return db.UserInsertParams(row), err
}

// ownPassword reads the caller's account and the hash of its password.
func (o accountOperations) ownPassword(ctx context.Context) (me api.User, hash string, err error) {
	id := requestOf(ctx).principal.UserID
	err = o.engine.db.Read(ctx, func(q *db.Queries) error {
		if me, err = o.users.one(ctx, q, id); err != nil {
			return err
		}
		hash, err = q.UserPassword(ctx, id)
		return err
	})
	if err == problem.NotFound || queries.NoRows(err) {
		err = errUserGone
	}
	return me, hash, err
}
