package rules

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestSealer(t *testing.T) {
	t.Parallel()
	sealer := func(key, previous string) Sealer {
		t.Helper()
		s, err := NewSealer(SealsWebhookSecrets, key, previous)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	secret, place := []byte("a secret"), []byte("an endpoint")
	old := sealer("the first key", "")
	sealed := old.Seal(secret, place)
	if bytes.Contains(sealed, secret) || bytes.Equal(sealed, old.Seal(secret, place)) {
		t.Error("sealed secrets show what they are")
	}
	for what, c := range map[string]struct {
		sealer Sealer
		sealed []byte
		place  string
		opens  bool
		old    bool
	}{
		"under the same key":     {old, sealed, "an endpoint", true, false},
		"under the previous key": {sealer("the second key", "the first key"), sealed, "an endpoint", true, true},
		"under another key":      {sealer("the third key", "the second key"), sealed, "an endpoint", false, false},
		"for another place":      {old, sealed, "another endpoint", false, false},
		"changed":                {old, append([]byte{1}, sealed[1:]...), "an endpoint", false, false},
		"cut off":                {old, sealed[:5], "an endpoint", false, false},
		"nothing":                {old, nil, "an endpoint", false, false},
	} {
		got, isOld, err := c.sealer.Open(c.sealed, []byte(c.place))
		if isOld != c.old || c.opens != (err == nil) || c.opens && !bytes.Equal(got, secret) || !c.opens && !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

func TestWebhookSecret(t *testing.T) {
	t.Parallel()
	secret, text := NewWebhookSecret()
	encoded, found := strings.CutPrefix(text, "whsec_")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(secret) != 32 || !bytes.Equal(decoded, secret) {
		t.Errorf("%q of %d bytes: %v", text, len(secret), err)
	}
	if _, other := NewWebhookSecret(); other == text {
		t.Error("two secrets are the same")
	}
}
