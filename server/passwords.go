package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

const messagePasswordsDiffer = "The two password fields didn’t match."

// messagePasswordBytes is about a password that has few enough characters, but not bytes.
var messagePasswordBytes = fmt.Sprintf("This password is too long. It may have at most %d bytes.", auth.MaxPasswordBytes)

// passwords are what every operation does with one. Hashing takes its time, so none of them runs within a transaction.
type passwords struct {
	turns *limits.Turns
	log   *slog.Logger
}

// hashTimeout is how long a request waits for its turn to have a password hashed: long enough for a burst, short enough
// that a flood does not pile up.
const hashTimeout = 3 * time.Second

// errManyHash tells the log why a request was answered 503.
var errManyHash = errors.New("too many passwords are being hashed")

func newPasswords(log *slog.Logger) *passwords {
	return &passwords{limits.NewTurns(auth.ConcurrentHashes), log}
}

// wait waits for the request's turn, which release ends. Client addresses take turns, so that who guesses at passwords
// does not keep others from having theirs checked.
func (p *passwords) wait(ctx context.Context) (release func(), err error) {
	waiting, cancel := context.WithTimeoutCause(ctx, hashTimeout, errManyHash)
	defer cancel()
	err = p.turns.Acquire(waiting, limits.ClientAddress(requestOf(ctx).clientIP))
	if err != nil && context.Cause(waiting) == errManyHash {
		err = fmt.Errorf("%w: %w", errManyHash, problem.Busy()) // the log tells this from other reasons
	}
	return p.turns.Release, err
}

// create checks a password and its repetition, which are the fields field and field_confirm of the request, and
// hashes it.
func (p *passwords) create(ctx context.Context, field, password, confirm string, user auth.Attributes) (string, error) {
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
	return p.hash(ctx, password)
}

// hash hashes a password, or answers 503 when too many are being hashed.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	release, err := p.wait(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return auth.HashPassword(password)
}

// check compares a password with a stored hash, and tells whether a better hash should be stored. A password
// that is too long and a hash that cannot be read match nothing.
func (p *passwords) check(ctx context.Context, stored, password string) (ok, rehash bool, err error) {
	release, err := p.wait(ctx)
	if err != nil {
		return false, false, err
	}
	defer release()
	ok, rehash, err = auth.CheckPassword(stored, password)
	switch {
	case errors.Is(err, auth.ErrMalformedHash):
		p.log.WarnContext(ctx, "a stored password cannot be read", "request_id", requestOf(ctx).id)
		return false, false, nil
	case errors.Is(err, auth.ErrTooLong):
		return false, false, nil
	}
	return ok, rehash, err
}
