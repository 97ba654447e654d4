package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
)

// MaxPasswordBytes bounds a password, so that a long one does not make hashing
// slower.
const MaxPasswordBytes = 4096

const (
	// maxConcurrentHashes bounds memory and processors that logins may take: each
	// hash holds 19 MiB and one core for tens of milliseconds.
	maxConcurrentHashes = 2
	// hashQueueTimeout is how long a login waits for the semaphore before it is
	// answered 503: long enough for a burst, short enough that a flood does not
	// pile up.
	hashQueueTimeout = time.Second
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
	running *semaphore.Weighted // one unit per hash being computed
}

// NewPasswords makes a Passwords that computes two hashes at a time.
func NewPasswords() *Passwords {
	return &Passwords{running: semaphore.NewWeighted(maxConcurrentHashes)}
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
// nothing but takes as long as one of ours: call Check with an empty hash for
// an unknown user, against user enumeration by timing. Only a user migrated from
// Django who has not logged in since takes longer.
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

// acquire waits for the semaphore. ErrBusy is the cause only of its own timeout:
// a caller whose context ends first gets the context's error.
func (p *Passwords) acquire(ctx context.Context) error {
	waiting, cancel := context.WithTimeoutCause(ctx, hashQueueTimeout, ErrBusy)
	defer cancel()
	err := p.running.Acquire(waiting, 1)
	if err != nil && context.Cause(waiting) == ErrBusy {
		return ErrBusy
	}
	return err
}

func (p *Passwords) release() { p.running.Release(1) }

func sameBytes(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
