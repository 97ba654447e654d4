package server

import (
	"context"
	"errors"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// newPassword checks a password and its repetition, which are the fields field and field_confirm of the request, and
// hashes it.
func (s *Server) newPassword(ctx context.Context, field, password, confirm string, user auth.Attributes) (string, error) {
	fields := problem.Fields{}
	if len(password) > auth.MaxPasswordBytes {
		fields.Add(field, messagePasswordBytes)
	} else if messages := auth.Validate(password, user); len(messages) > 0 {
		fields.Add(field, messages...)
	}
	if password != confirm {
		fields.Add(field+"_confirm", messagePasswordsDiffer)
	}
	if len(fields) > 0 {
		return "", problem.Invalid(fields)
	}
	return s.hashPassword(ctx, password)
}

// hashPassword hashes a password, or answers 503 when too many are being hashed.
func (s *Server) hashPassword(ctx context.Context, password string) (string, error) {
	hash, err := s.passwords.Hash(ctx, password)
	return hash, busyIfHashing(err)
}

// checkPassword compares a password with a stored hash, and tells whether a better hash should be stored. A password
// that is too long and a hash that cannot be read match nothing.
func (s *Server) checkPassword(ctx context.Context, stored, password string) (ok, rehash bool, err error) {
	ok, rehash, err = s.passwords.Check(ctx, stored, password)
	switch {
	case errors.Is(err, auth.ErrMalformedHash):
		s.log.WarnContext(ctx, "a stored password cannot be read", "request_id", requestOf(ctx).id)
		return false, false, nil
	case errors.Is(err, auth.ErrTooLong):
		return false, false, nil
	}
	return ok, rehash, busyIfHashing(err)
}

func busyIfHashing(err error) error {
	if errors.Is(err, auth.ErrBusy) {
		return problem.Busy()
	}
	return err
}
