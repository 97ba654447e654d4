package auth

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// APIKeyPrefix starts every key that NewAPIKey makes, so that people and secret
// scanners recognize one.
const APIKeyPrefix = "px360_"

// NewAPIKey makes an API key of 256 random bits.
func NewAPIKey() string {
	var random [32]byte
	rand.Read(random[:]) // never fails: the process ends first
	return APIKeyPrefix + hex.EncodeToString(random[:])
}

// KeyHasher hashes API keys for storage with HMAC-SHA256. Its key is derived from
// the server's secret by HKDF with a separate info string (domain separation), so
// that neither a hash nor this key helps to forge a token. Without the secret, a
// stolen table cannot be brute-forced offline.
// It is safe for concurrent use.
type KeyHasher struct {
	keys []redacted // the first makes Hash, any may match
}

// NewKeyHasher derives the hashing key from the server's current secret and,
// unless it is empty, from the previous one: hashes stored before the secret was
// rotated still match. It fails if a secret is shorter than MinKeyBytes.
func NewKeyHasher(current, previous []byte) (*KeyHasher, error) {
	var keys []redacted
	for _, secret := range [][]byte{current, previous} {
		if len(secret) == 0 && len(keys) > 0 {
			continue
		}
		if len(secret) < MinKeyBytes {
			return nil, fmt.Errorf("a server secret has %d bytes, it needs at least %d", len(secret), MinKeyBytes)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "px360 api key hash", sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("deriving the key for API key hashes: %w", err)
		}
		keys = append(keys, redact(key))
	}
	return &KeyHasher{keys: keys}, nil
}

// Hash returns the 32 bytes to store for an API key.
func (h *KeyHasher) Hash(key string) []byte {
	return keyedHash(h.keys[0](), key)
}

// Hashes returns every hash under which the API key may be stored, Hash first:
// what to look it up by.
func (h *KeyHasher) Hashes(key string) [][]byte {
	hashes := make([][]byte, len(h.keys))
	for i, hashKey := range h.keys {
		hashes[i] = keyedHash(hashKey(), key)
	}
	return hashes
}

// Matches compares an API key with a stored hash in constant time.
func (h *KeyHasher) Matches(key string, stored []byte) bool {
	matches := false
	for _, hash := range h.Hashes(key) {
		if hmac.Equal(hash, stored) {
			matches = true
		}
	}
	return matches
}

// keyedHash is HMAC-SHA256.
func keyedHash(secret []byte, key string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(key))
	return mac.Sum(nil)
}
