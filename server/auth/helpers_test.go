package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
)

const (
	testKey   = "test-only-signing-key-of-at-least-32-bytes"
	otherKey  = "another-signing-key-of-at-least-32-bytes"
	someJTI   = "0123456789abcdef0123456789abcdef"
	someUser  = "018f4e5c-7a70-7c3e-9b1e-3f2d6c1a0b4d"
	someIat   = 1750000000
	someExp   = someIat + 1800
	plainHead = `{"alg":"HS256","typ":"JWT"}`
)

var (
	someUserID = uuid.MustParse(someUser)
	someTime   = time.Unix(someIat+60, 0)
)

func readTestdata(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func newKeys(t testing.TB, current, previous string) Keys {
	t.Helper()
	keys, err := NewKeys([]byte(current), []byte(previous))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// newTokens returns a Tokens with a fixed clock.
func newTokens(t testing.TB, keys Keys, now time.Time) *Tokens {
	t.Helper()
	tokens, err := NewTokens(keys, TokenConfig{DefaultAccessLifetime, DefaultRefreshLifetime, func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// sign signs any header and payload with the key.
func sign(header, payload, key string) string {
	text := b64(header) + "." + b64(payload)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + b64(string(mac.Sum(nil)))
}

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
