package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
)

// MaxPasswordBytes bounds a password, so that a long one does not make hashing
// slower.
const MaxPasswordBytes = 4096

// ConcurrentHashes is how many hashes a process should compute at a time: each holds 19 MiB and one core for tens of
// milliseconds. Whoever calls keeps to it.
const ConcurrentHashes = 2

var (
	// ErrTooLong means that a password has more than MaxPasswordBytes.
	ErrTooLong = errors.New("password is too long")
	// ErrMalformedHash means that a stored hash cannot be read. Log it, and
	// answer as for a wrong password.
	ErrMalformedHash = errors.New("stored password hash is malformed")
)

// HashPassword returns the argon2id hash of a password as a PHC string. It fails with ErrTooLong.
func HashPassword(password string) (string, error) {
	if len(password) > MaxPasswordBytes {
		return "", ErrTooLong
	}
	hash := argonHash{argonParams: currentArgon, salt: make([]byte, argonSaltBytes)}
	rand.Read(hash.salt) // never fails: the process ends first
	hash.sum = hash.derive(password, argonSumBytes)
	return hash.encode(), nil
}

// CheckPassword compares a password with a stored hash, ours or Django's
// pbkdf2_sha256$…. rehash asks the caller to store a fresh hash of the password,
// which ok then says is the right one.
//
// An empty hash or one that starts with "!" (Django's unusable password) matches
// nothing but takes as long as one of ours: call it with an empty hash for
// an unknown user, against user enumeration by timing. Only a user migrated from
// Django who has not logged in since takes longer.
//
// It fails with ErrTooLong or ErrMalformedHash.
func CheckPassword(encoded, password string) (ok, rehash bool, err error) {
	if len(password) > MaxPasswordBytes {
		return false, false, ErrTooLong
	}
	stored, usable, malformed := parseStored(encoded)
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

func sameBytes(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
