package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"time"
)

// MaxPasswordBytes bounds a password, so that hashing it costs what a hash costs
// and not what a megabyte costs.
const MaxPasswordBytes = 4096

const (
	// hashesAtOnce bounds memory and processors that logins may take: each hash
	// holds 19 MiB and one core for tens of milliseconds.
	hashesAtOnce = 2
	// hashPatience is how long a login queues before it is told to come again:
	// long enough for a burst, short enough that a flood does not pile up.
	hashPatience = time.Second
)

var (
	// ErrBusy means that no hash could start within a second: answer 503.
	ErrBusy = errors.New("too many passwords are being hashed")
	// ErrTooLong means that a password has more than MaxPasswordBytes.
	ErrTooLong = errors.New("password is too long")
	// ErrMalformedHash means that a stored hash cannot be read. Log it, and
	// answer as for a wrong password.
	ErrMalformedHash = errors.New("stored password hash is malformed")
)

// Passwords hashes and checks passwords, a few at a time. One value serves the
// whole process. It is safe for concurrent use.
type Passwords struct {
	slots chan struct{}
}

// NewPasswords makes a Passwords with all its slots free.
func NewPasswords() *Passwords {
	return &Passwords{slots: make(chan struct{}, hashesAtOnce)}
}

// Hash returns the argon2id hash of a password as a PHC string. It fails with
// ErrTooLong, ErrBusy or the context's error.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > MaxPasswordBytes {
		return "", ErrTooLong
	}
	if err := p.acquire(ctx); err != nil {
		return "", err
	}
	defer p.release()

	hash := argonHash{argonParams: currentArgon, salt: make([]byte, argonSaltBytes)}
	rand.Read(hash.salt) // never fails: the process ends first
	hash.sum = hash.derive(password, argonSumBytes)
	return hash.encode(), nil
}

// Check compares a password with a stored hash, ours or Django's
// pbkdf2_sha256$…. rehash asks the caller to store a fresh Hash of the password,
// which ok then says is the right one.
//
// An empty hash or one that starts with "!" (Django's unusable password) matches
// nothing but costs as much as one of ours: call Check with an empty hash for
// an unknown user, so that time does not tell who exists. Only a user moved over
// from Django who never logged in since takes longer.
//
// It fails with ErrTooLong, ErrBusy, ErrMalformedHash or the context's error.
func (p *Passwords) Check(ctx context.Context, encoded, password string) (ok, rehash bool, err error) {
	if len(password) > MaxPasswordBytes {
		return false, false, ErrTooLong
	}
	stored, usable, malformed := parseStored(encoded)
	if err := p.acquire(ctx); err != nil {
		return false, false, err
	}
	defer p.release()

	same, err := stored.matches(password)
	if err != nil {
		return false, false, err
	}
	if malformed != nil {
		return false, false, malformed
	}
	ok = same && usable
	return ok, ok && stored.outdated(), nil
}

func (p *Passwords) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(hashPatience)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ErrBusy
	}
}

func (p *Passwords) release() { <-p.slots }

func sameBytes(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
