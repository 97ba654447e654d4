package server

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/text/unicode/norm"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// What the px360 program does to users without a request. Names are normalized as those of requests are: see
// x-px360-normalize in the contract.

// EnsureAdmin creates the first PX Admin if there is no active one, and tells whether it did.
func (s *Server) EnsureAdmin(ctx context.Context, username, password string) (created bool, err error) {
	var admins int64
	err = s.engine.db.Read(ctx, func(q *db.Queries) error {
		admins, err = q.UserOtherAdmins(ctx, newID())
		return err
	})
	if err != nil || admins > 0 {
		return false, err
	}
	return true, s.CreateAdmin(ctx, username, password)
}

// CreateAdmin creates a user who holds the role PX Admin.
func (s *Server) CreateAdmin(ctx context.Context, username, password string) error {
	username = norm.NFKC.String(username)
	hash, err := commandPassword(username, password)
	if err != nil {
		return err
	}
	err = s.engine.command(ctx, "create-admin", func(q *db.Queries) (auditEntry, error) {
		row := s.users.defaults
		row.ID, row.Username, row.Password = newID(), username, hash
		if err := q.UserInsert(ctx, row); err != nil {
			return auditEntry{}, err
		}
		return auditEntry{"user", row.ID, nil, []string{"username", "password", "roles"}}, q.UserAddAdmin(ctx, row.ID)
	})
	if taken, found := queries.FieldErrorOf(err); found {
		return errors.New(taken.Message)
	}
	return err
}

// SetPassword gives a user another password and ends the tokens that they have.
func (s *Server) SetPassword(ctx context.Context, username, password string) error {
	username = norm.NFKC.String(username)
	hash, err := commandPassword(username, password)
	if err != nil {
		return err
	}
	return s.engine.command(ctx, "set-password", func(q *db.Queries) (auditEntry, error) {
		user, err := q.UserForLogin(ctx, username)
		switch {
		case queries.NoRows(err):
			return auditEntry{}, fmt.Errorf("there is no user %q", username)
		case err != nil:
			return auditEntry{}, err
		}
		return auditEntry{"user", user.ID, user.Hospital, []string{"password"}}, q.UserSetPassword(ctx, db.UserSetPasswordParams{ID: user.ID, Password: hash})
	})
}

// commandPassword holds a password from the command line to the same rules as one from a request.
func commandPassword(username, password string) (string, error) {
	if len(password) > auth.MaxPasswordBytes {
		return "", auth.ErrTooLong
	}
	for _, message := range auth.Validate(password, auth.Attributes{Username: username}) {
		return "", errors.New(message)
	}
	return auth.HashPassword(password)
}
