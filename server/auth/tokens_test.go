package auth

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestNewKeys(t *testing.T) {
	t.Parallel()
	long, short := strings.Repeat("k", 32), strings.Repeat("k", 31)
	for _, test := range []struct {
		name, current, previous string
		ok                      bool
	}{
		{"current alone", long, "", true},
		{"both", long, testKey, true},
		{"the same twice", long, long, true},
		{"none", "", "", false},
		{"previous alone", "", long, false},
		{"short", short, "", false},
		{"short previous", long, short, false},
	} {
		if _, err := NewKeys([]byte(test.current), []byte(test.previous)); (err == nil) != test.ok {
			t.Errorf("%s: error %v", test.name, err)
		} else if err != nil && strings.Contains(err.Error(), "kkk") {
			t.Errorf("%s: the error shows the key: %v", test.name, err)
		}
	}
}

func TestNewTokensRefuses(t *testing.T) {
	t.Parallel()
	if _, err := NewTokens(Keys{}, TokenConfig{}); err == nil {
		t.Error("no keys: no error")
	}
	keys := newKeys(t, testKey, "")
	for _, config := range []TokenConfig{
		{AccessLifetime: -time.Hour, RefreshLifetime: time.Hour},
		{AccessLifetime: time.Hour, RefreshLifetime: -time.Hour},
		{AccessLifetime: time.Millisecond, RefreshLifetime: time.Hour},
		{AccessLifetime: time.Hour},
		{RefreshLifetime: time.Hour},
	} {
		if _, err := NewTokens(keys, config); err == nil {
			t.Errorf("%+v: no error", config)
		}
	}
}

func TestIssueWireFormat(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	access, refresh, err := tokens.Issue(someUserID, 7)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for kind, token := range map[string]string{"access": access, "refresh": refresh} {
		var header map[string]string
		decodeInto(t, strings.Split(token, ".")[0], &header)
		if len(header) != 3 || header["alg"] != "HS256" || header["typ"] != "JWT" ||
			!regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(header["kid"]) {
			t.Errorf("%s: header %v", kind, header)
		}
		var claims struct {
			Type    string `json:"token_type"`
			Exp     int64  `json:"exp"`
			Iat     int64  `json:"iat"`
			JTI     string `json:"jti"`
			UserID  string `json:"user_id"`
			Version int    `json:"ver"`
		}
		decodeInto(t, strings.Split(token, ".")[1], &claims)
		lifetime := int64(30 * 60)
		if kind == "refresh" {
			lifetime = 24 * 60 * 60
		}
		if claims.Type != kind || claims.Iat != someTime.Unix() || claims.Exp != claims.Iat+lifetime ||
			claims.UserID != someUser || claims.Version != 7 ||
			!regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(claims.JTI) {
			t.Errorf("%s: claims %+v", kind, claims)
		}
		ids[claims.JTI] = true
	}
	if len(ids) != 2 {
		t.Error("two tokens share a jti")
	}
}

func decodeInto(t *testing.T, segment string, into any) {
	t.Helper()
	if err := decodeSegment(segment, into); err != nil {
		t.Fatal(err)
	}
}

func TestIssueVerify(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	access, refresh, err := tokens.Issue(someUserID, 3)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tokens.IssueAccess(someUserID, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		token  string
		wanted TokenType
		kind   TokenType
		err    error
	}{
		{access, AccessToken, AccessToken, nil},
		{again, AccessToken, AccessToken, nil},
		{refresh, RefreshToken, RefreshToken, nil},
		{access, AnyToken, AccessToken, nil},
		{refresh, AnyToken, RefreshToken, nil},
		{access, RefreshToken, "", ErrTokenWrongType},
		{refresh, AccessToken, "", ErrTokenWrongType},
	} {
		claims, err := tokens.Verify(test.token, test.wanted)
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("wanted %q: error %v, not %v", test.wanted, err, test.err)
			continue
		}
		if err != nil {
			if claims != (Claims{}) {
				t.Errorf("wanted %q: claims %+v beside an error", test.wanted, claims)
			}
			continue
		}
		if claims.Type != test.kind || claims.UserID != someUserID || claims.Version != 3 || len(claims.ID) != 32 ||
			!claims.IssuedAt.Equal(someTime) || !claims.ExpiresAt.After(someTime) {
			t.Errorf("wanted %q: claims %+v", test.wanted, claims)
		}
	}
	if _, err := tokens.IssueAccess(someUserID, -1); err == nil {
		t.Error("a negative version was issued")
	}
}

func TestVerifyExpiry(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, testKey, "")
	access, refresh, err := newTokens(t, keys, someTime).Issue(someUserID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		token string
		kind  TokenType
		after time.Duration
		want  error
	}{
		{access, AccessToken, DefaultAccessLifetime - time.Nanosecond, nil},
		{access, AccessToken, DefaultAccessLifetime, ErrTokenExpired},
		{refresh, RefreshToken, DefaultRefreshLifetime - time.Nanosecond, nil},
		{refresh, RefreshToken, DefaultRefreshLifetime, ErrTokenExpired},
		{access, AccessToken, -clockLeeway, nil},
		{access, AccessToken, -clockLeeway - time.Second, ErrTokenInvalid},
	} {
		_, err := newTokens(t, keys, someTime.Add(test.after)).Verify(test.token, test.kind)
		if err != test.want && !errors.Is(err, test.want) {
			t.Errorf("%s after %v: error %v, not %v", test.kind, test.after, err, test.want)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	older := newTokens(t, newKeys(t, otherKey, ""), someTime)
	newer := newTokens(t, newKeys(t, testKey, otherKey), someTime)
	old, err := older.IssueAccess(someUserID, 0)
	if err != nil {
		t.Fatal(err)
	}
	ofNewer, err := newer.IssueAccess(someUserID, 0)
	if err != nil {
		t.Fatal(err)
	}
	payload := fmt.Sprintf(`{"token_type":"access","exp":%d,"iat":%d,"jti":%q,"user_id":%q}`, someExp, someIat, someJTI, someUser)
	kidOf := func(key string) string { return newKeys(t, key, "").ring[0].id }
	head := func(kid string) string { return `{"alg":"HS256","kid":"` + kid + `","typ":"JWT"}` }
	for _, test := range []struct {
		name   string
		tokens *Tokens
		token  string
		ok     bool
	}{
		{"of the current key", newer, ofNewer, true},
		{"of the previous key", newer, old, true},
		{"of a newer key", older, ofNewer, false},
		{"current, no kid", newer, sign(plainHead, payload, testKey), true},
		{"previous, no kid", newer, sign(plainHead, payload, otherKey), true},
		{"kid of the other key", newer, sign(head(kidOf(otherKey)), payload, testKey), false},
		{"unknown kid", newer, sign(head("0000000000000000"), payload, testKey), false},
		{"empty kid", newer, sign(head(""), payload, testKey), false},
	} {
		if _, err := test.tokens.Verify(test.token, AccessToken); (err == nil) != test.ok {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
}

// No fmt verb prints a secret.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, testKey, otherKey)
	tokens := newTokens(t, keys, someTime)
	hasher, err := NewKeyHasher([]byte(testKey), []byte(otherKey))
	if err != nil {
		t.Fatal(err)
	}
	derived := hasher.keys[0]()
	for _, value := range []any{keys, &keys, tokens, *tokens, hasher, *hasher, struct{ K Keys }{keys}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			text := fmt.Sprintf(verb, value)
			for _, secret := range [][]byte{[]byte(testKey), []byte(otherKey), derived} {
				for _, shape := range []string{"%s", "%v", "%x", "%#v"} {
					if strings.Contains(text, strings.Trim(fmt.Sprintf(shape, secret), "[]")) {
						t.Errorf("%s of %T shows a secret", verb, value)
					}
				}
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	keys := newKeys(f, testKey, otherKey)
	tokens := newTokens(f, keys, someTime)
	access, refresh, err := tokens.Issue(uuid.New(), 1)
	if err != nil {
		f.Fatal(err)
	}
	var vectors tokenVectors
	readTestdata(f, "tokens.json", &vectors)
	for _, vector := range vectors.Cases {
		f.Add(vector.Token, vector.Wanted)
	}
	f.Add(access, "access")
	f.Add(refresh, "")
	f.Fuzz(func(t *testing.T, token, wanted string) {
		claims, err := tokens.Verify(token, TokenType(wanted))
		if err != nil {
			var reason *TokenError
			if !errors.As(err, &reason) || claims != (Claims{}) {
				t.Fatalf("%q: error %#v, claims %+v", token, err, claims)
			}
			return
		}
		if wanted != "" && string(claims.Type) != wanted {
			t.Fatalf("%q verified as %q", token, wanted)
		}
		// A token that verifies is in canonical encoding, and signed with one of the keys.
		header, payload, _, _ := splitToken(token)
		for _, key := range []string{testKey, otherKey} {
			if sign(unb64(t, header), unb64(t, payload), key) == token {
				return
			}
		}
		t.Fatalf("%q verified without a valid signature", token)
	})
}

func BenchmarkVerify(b *testing.B) {
	tokens := newTokens(b, newKeys(b, testKey, otherKey), someTime)
	access, err := tokens.IssueAccess(someUserID, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.Verify(access, AccessToken); err != nil {
			b.Fatal(err)
		}
	}
}
