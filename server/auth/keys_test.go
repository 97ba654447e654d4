package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"regexp"
	"strings"
	"testing"
)

func keyHasher(t *testing.T, current, previous string) *KeyHasher {
	t.Helper()
	hasher, err := NewKeyHasher([]byte(current), []byte(previous))
	if err != nil {
		t.Fatal(err)
	}
	return hasher
}

func TestNewAPIKey(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		key := NewAPIKey()
		if !regexp.MustCompile(`^px360_[0-9a-f]{64}$`).MatchString(key) {
			t.Fatalf("key %q", key)
		}
		if seen[key] {
			t.Fatal("the same key twice")
		}
		seen[key] = true
	}
}

func TestKeyHasher(t *testing.T) {
	t.Parallel()
	hasher := keyHasher(t, testKey, "")
	key := NewAPIKey()
	hash := hasher.Hash(key)
	if len(hash) != 32 || !bytes.Equal(hash, hasher.Hash(key)) {
		t.Fatalf("hash %x", hash)
	}
	if bytes.Equal(hash, hasher.Hash(key+"x")) || bytes.Equal(hash, keyHasher(t, otherKey, "").Hash(key)) {
		t.Error("two keys, or two secrets, share a hash")
	}
	// The secret must not be used as the HMAC key directly.
	mac := hmac.New(sha256.New, []byte(testKey))
	mac.Write([]byte(key))
	if bytes.Equal(hash, mac.Sum(nil)) {
		t.Error("the hash is made with the server's secret itself")
	}
	for _, test := range []struct {
		name   string
		key    string
		stored []byte
		want   bool
	}{
		{"same", key, hash, true},
		{"other", NewAPIKey(), hash, false},
		{"empty key", "", hash, false},
		{"nothing stored", key, nil, false},
		{"cut", key, hash[:31], false},
	} {
		if got := hasher.Matches(test.key, test.stored); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestKeyHasherAfterSecretRotation(t *testing.T) {
	t.Parallel()
	older, newer := keyHasher(t, otherKey, ""), keyHasher(t, testKey, otherKey)
	key := NewAPIKey()
	hashes := newer.Hashes(key)
	if len(hashes) != 2 || !bytes.Equal(hashes[0], newer.Hash(key)) || !bytes.Equal(hashes[1], older.Hash(key)) {
		t.Errorf("hashes %x", hashes)
	}
	if !newer.Matches(key, older.Hash(key)) || !newer.Matches(key, newer.Hash(key)) || older.Matches(key, newer.Hash(key)) {
		t.Error("Matches does not follow the secrets")
	}
}

func TestNewKeyHasherRefuses(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][2]string{{"", ""}, {"", testKey}, {"short", ""}, {testKey, "short"}} {
		if _, err := NewKeyHasher([]byte(secrets[0]), []byte(secrets[1])); err == nil {
			t.Errorf("%q: no error", secrets)
		} else if strings.Contains(err.Error(), "short") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
