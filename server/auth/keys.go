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
// scanners know one when they see it.
const APIKeyPrefix = "px360_"

// NewAPIKey makes an API key of 256 random bits.
func NewAPIKey() string {
	var random [32]byte
	rand.Read(random[:]) // never fails: the process ends first
	return APIKeyPrefix + hex.EncodeToString(random[:])
}

// KeyHasher hashes API keys for storage. Its key is derived from the server's
// secret with a label of its own, so that neither a hash nor this key helps to
// forge a token, and a stolen table alone cannot be searched for weak keys.
// It is safe for concurrent use.
type KeyHasher struct {
	keys []sealed // the first hashes, all match
}

// NewKeyHasher derives the hashing key from the server's current secret and,
// unless it is empty, from the previous one: hashes stored before the secret
// was changed still match.
func NewKeyHasher(current, previous []byte) (*KeyHasher, error) {
	var keys []sealed
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
		keys = append(keys, seal(key))
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
	for i, secret := range h.keys {
		hashes[i] = keyedHash(secret(), key)
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

func keyedHash(secret []byte, key string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(key))
	return mac.Sum(nil)
}
