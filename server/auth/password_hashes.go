package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	argonSaltBytes = 16
	argonSumBytes  = 32
)

// currentArgon is what OWASP recommends for argon2id: 19 MiB, two passes, one lane.
var currentArgon = argonParams{memoryKiB: 19 << 10, passes: 2, lanes: 1}

// Upper bounds on the parameters of a stored hash: a hash imported from elsewhere
// must not take gigabytes or minutes to check (denial of service).
const (
	maxArgonMemoryKiB   = 64 << 10
	maxArgonPasses      = 8
	maxArgonLanes       = 4
	minSaltBytes        = 8
	maxSaltBytes        = 64
	minSumBytes         = 16
	maxSumBytes         = 64
	maxPBKDF2Iterations = 3_000_000 // Django 5.2 writes 1,000,000 and each release some more
	maxPBKDF2SaltBytes  = 256
	maxStoredBytes      = 1024
)

// storedHash is a parsed password hash.
type storedHash interface {
	matches(password string) (bool, error)
	outdated() bool
}

// parseStored reads a hash. Where it cannot be used it returns a dummy hash
// instead, so that the caller does the same work in every case and its timing
// does not tell which usernames exist.
func parseStored(encoded string) (hash storedHash, usable bool, err error) {
	dummy := argonHash{
		argonParams: currentArgon,
		salt:        make([]byte, argonSaltBytes),
		sum:         make([]byte, argonSumBytes),
	}
	switch {
	case encoded == "" || encoded[0] == '!':
		return dummy, false, nil
	case len(encoded) > maxStoredBytes:
		return dummy, false, ErrMalformedHash
	}
	if hash, ok := parseArgon(encoded); ok {
		return hash, true, nil
	}
	if hash, ok := parsePBKDF2(encoded); ok {
		return hash, true, nil
	}
	return dummy, false, ErrMalformedHash
}

type argonParams struct {
	memoryKiB uint32
	passes    uint32
	lanes     uint8
}

// argonHash is an argon2id hash, version 1.3.
type argonHash struct {
	argonParams
	salt, sum []byte
}

func (h argonHash) derive(password string, size int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memoryKiB, h.lanes, uint32(size))
}

func (h argonHash) matches(password string) (bool, error) {
	return sameBytes(h.sum, h.derive(password, len(h.sum))), nil
}

func (h argonHash) outdated() bool {
	return h.argonParams != currentArgon || len(h.salt) != argonSaltBytes || len(h.sum) != argonSumBytes
}

// encode writes the PHC string format.
func (h argonHash) encode() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memoryKiB, h.passes, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.sum))
}

func parseArgon(encoded string) (argonHash, bool) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return argonHash{}, false
	}
	settings := strings.Split(parts[3], ",")
	if len(settings) != 3 {
		return argonHash{}, false
	}
	memory, ok1 := boundedSetting(settings[0], "m=", maxArgonMemoryKiB)
	passes, ok2 := boundedSetting(settings[1], "t=", maxArgonPasses)
	lanes, ok3 := boundedSetting(settings[2], "p=", maxArgonLanes)
	if !ok1 || !ok2 || !ok3 || memory < 8*lanes {
		return argonHash{}, false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < minSaltBytes || len(salt) > maxSaltBytes ||
		len(sum) < minSumBytes || len(sum) > maxSumBytes {
		return argonHash{}, false
	}
	hash := argonHash{
		argonParams: argonParams{memoryKiB: uint32(memory), passes: uint32(passes), lanes: uint8(lanes)},
		salt:        salt,
		sum:         sum,
	}
	// Only the canonical encoding is accepted. This also checks the version and
	// refuses signs, leading zeros, line breaks and non-zero padding bits.
	return hash, hash.encode() == encoded
}

func boundedSetting(text, prefix string, most int) (int, bool) {
	digits, found := strings.CutPrefix(text, prefix)
	if !found {
		return 0, false
	}
	number, err := strconv.Atoi(digits)
	return number, err == nil && number >= 1 && number <= most
}

// pbkdf2Hash is what Django's default hasher writes. Users migrated from Django
// keep their passwords and are rehashed with argon2id when they log in.
type pbkdf2Hash struct {
	iterations int
	salt       string // Django hashes the salt's text
	sum        []byte
}

func (h pbkdf2Hash) matches(password string) (bool, error) {
	sum, err := pbkdf2.Key(sha256.New, password, []byte(h.salt), h.iterations, len(h.sum))
	if err != nil {
		return false, fmt.Errorf("checking a pbkdf2 hash: %w", err)
	}
	return sameBytes(h.sum, sum), nil
}

func (h pbkdf2Hash) outdated() bool { return true }

func (h pbkdf2Hash) encode() string {
	return fmt.Sprintf("pbkdf2_sha256$%d$%s$%s", h.iterations, h.salt, base64.StdEncoding.EncodeToString(h.sum))
}

func parsePBKDF2(encoded string) (pbkdf2Hash, bool) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 4 {
		return pbkdf2Hash{}, false
	}
	iterations, ok := boundedSetting(parts[1], "", maxPBKDF2Iterations)
	if !ok || parts[2] == "" || len(parts[2]) > maxPBKDF2SaltBytes {
		return pbkdf2Hash{}, false
	}
	sum, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil || len(sum) != sha256.Size {
		return pbkdf2Hash{}, false
	}
	hash := pbkdf2Hash{iterations: iterations, salt: parts[2], sum: sum}
	return hash, hash.encode() == encoded
}
