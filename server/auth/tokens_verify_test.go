package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

type tokenVectors struct {
	Key    string
	UserID uuid.UUID `json:"user_id"`
	JTI    string
	Exp    int64
	Iat    int64
	Cases  []struct {
		Name, Token, Wanted, Message string
	}
}

// Verify returns the same messages as SimpleJWT for tokens that SimpleJWT made.
func TestVerifyMatchesSimpleJWT(t *testing.T) {
	t.Parallel()
	var vectors tokenVectors
	readTestdata(t, "tokens.json", &vectors)
	if len(vectors.Cases) < 25 {
		t.Fatalf("only %d vectors", len(vectors.Cases))
	}
	tokens := newTokens(t, newKeys(t, vectors.Key, ""), time.Unix(vectors.Iat+3600, 0))
	for _, vector := range vectors.Cases {
		claims, err := tokens.Verify(vector.Token, TokenType(vector.Wanted))
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != vector.Message {
			t.Errorf("%s: %q, SimpleJWT says %q", vector.Name, message, vector.Message)
		}
		if err == nil && (claims.UserID != vectors.UserID || claims.ID != vectors.JTI || claims.Version != 0 ||
			claims.IssuedAt.Unix() != vectors.Iat || claims.ExpiresAt.Unix() != vectors.Exp) {
			t.Errorf("%s: claims %+v", vector.Name, claims)
		}
	}
}

func TestVerifyStrictHeader(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	payload := fmt.Sprintf(`{"token_type":"access","exp":%d,"iat":%d,"jti":%q,"user_id":%q}`, someExp, someIat, someJTI, someUser)
	for header, ok := range map[string]bool{
		plainHead:         true,
		`{"alg":"HS256"}`: true,
		`{"typ":"jwt","alg":"HS256","x":{"a":[1]}}`: true,
		`{"alg":"HS256","crit":[]}`:                 false,
		`{"alg":"HS256","crit":null}`:               false,
		`{"alg":"HS256","crit":["exp"]}`:            false,
		`{"alg":"none"}`:                            false,
		`{"alg":"hs256"}`:                           false,
		`{"alg":"HS384"}`:                           false,
		`{"alg":"RS256"}`:                           false,
		`{"alg":["HS256"]}`:                         false,
		`{"alg":null}`:                              false,
		`{"ALG":"HS256"}`:                           false,
		`{}`:                                        false,
		`null`:                                      false,
		`[]`:                                        false,
		`"HS256"`:                                   false,
		`{"alg":"HS256"} `:                          true,
		`{"alg":"HS256"}{}`:                         false,
		`{"alg":"none","alg":"HS256"}`:              false,
		`{"alg":"HS256","\u0061lg":"HS256"}`:        false,
		`{"alg":"HS256","x":[{"a":1,"a":2}]}`:       false,
		`{"alg":"HS256","x":1,"x":1}`:               false,
		`{"alg":"HS256","typ":"dpop+jwt"}`:          false,
		`{"alg":"HS256","typ":1}`:                   false,
		`{"alg":"HS256","kid":1}`:                   false,
		`{"alg":"HS256","kid":null}`:                false,
		"{\"alg\":\"HS256\",\"x\":\"\xff\"}":        false,
		`{"alg":"HS256","x":1e999}`:                 true,
	} {
		_, err := tokens.Verify(sign(header, payload, testKey), AccessToken)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: error %v", header, err)
		}
	}
}

func TestVerifyStrictClaims(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	good := map[string]string{
		"token_type": `"access"`, "exp": fmt.Sprint(someExp), "iat": fmt.Sprint(someIat),
		"jti": `"` + someJTI + `"`, "user_id": `"` + someUser + `"`, "ver": "5",
	}
	const absent = ""
	for _, test := range []struct {
		claim, value string
		want         error
	}{
		{"ver", "5", nil},
		{"ver", absent, nil},
		{"ver", "-1", ErrTokenInvalid},
		{"ver", "1.0", ErrTokenInvalid},
		{"ver", `"5"`, ErrTokenInvalid},
		{"ver", "null", ErrTokenInvalid},
		{"ver", "2147483648", ErrTokenInvalid},
		{"exp", fmt.Sprintf(`"%d"`, someExp), ErrTokenInvalid},
		{"exp", fmt.Sprintf("%d.5", someExp), ErrTokenInvalid},
		{"exp", "1e12", ErrTokenInvalid},
		{"exp", "1e999", ErrTokenInvalid},
		{"exp", "9223372036854775807", ErrTokenInvalid},
		{"exp", "99999999999999999999999999", ErrTokenInvalid},
		{"exp", "-1", ErrTokenInvalid},
		{"exp", "true", ErrTokenInvalid},
		{"exp", "null", ErrTokenInvalid},
		{"exp", "0", ErrTokenExpired},
		{"exp", absent, ErrTokenNoExpiry},
		{"iat", absent, ErrTokenInvalid},
		{"iat", "null", ErrTokenInvalid},
		{"iat", fmt.Sprintf(`"%d"`, someIat), ErrTokenInvalid},
		{"iat", fmt.Sprint(someTime.Unix() + 30), nil},
		{"iat", fmt.Sprint(someTime.Unix() + 31), ErrTokenInvalid},
		{"nbf", fmt.Sprint(someTime.Unix() + 30), nil},
		{"nbf", fmt.Sprint(someTime.Unix() + 31), ErrTokenInvalid},
		{"nbf", `"x"`, ErrTokenInvalid},
		{"jti", absent, ErrTokenNoID},
		{"jti", `""`, ErrTokenInvalid},
		{"jti", "null", ErrTokenInvalid},
		{"jti", "5", ErrTokenInvalid},
		{"jti", `"a\u0000"`, ErrTokenInvalid},
		{"jti", `"` + strings.Repeat("a", 64) + `"`, nil},
		{"jti", `"` + strings.Repeat("a", 65) + `"`, ErrTokenInvalid},
		{"token_type", absent, ErrTokenNoType},
		{"token_type", "null", ErrTokenWrongType},
		{"token_type", `""`, ErrTokenWrongType},
		{"token_type", `"refresh"`, ErrTokenWrongType},
		{"token_type", `"Access"`, ErrTokenWrongType},
		{"user_id", absent, ErrTokenNoUser},
		{"user_id", "null", ErrTokenNoUser},
		{"user_id", "1", ErrTokenNoUser},
		{"user_id", `"1"`, ErrTokenNoUser},
		{"user_id", `"{` + someUser + `}"`, ErrTokenNoUser},
		{"user_id", `"urn:uuid:` + someUser + `"`, ErrTokenNoUser},
		{"user_id", `"` + strings.ReplaceAll(someUser, "-", "") + `"`, nil},
		{"user_id", `"` + strings.ToUpper(someUser) + `"`, nil},
		// Names are case-sensitive.
		{"EXP", `"never"`, nil},
		{"User_ID", `"x"`, nil},
		{"extra", `{"a":{"b":[1,{"c":null}]}}`, nil},
		{"extra", `{"a":{"b":[1,{"c":null,"c":1}]}}`, ErrTokenInvalid},
		{"extra", strings.Repeat("[", 5000) + strings.Repeat("]", 1000), ErrTokenInvalid},
	} {
		claims := map[string]string{}
		for name, value := range good {
			claims[name] = value
		}
		claims[test.claim] = test.value
		var members []string
		for name, value := range claims {
			if value != absent {
				members = append(members, fmt.Sprintf("%q:%s", name, value))
			}
		}
		token := sign(plainHead, "{"+strings.Join(members, ",")+"}", testKey)
		if _, err := tokens.Verify(token, AccessToken); err != test.want && !errors.Is(err, test.want) {
			t.Errorf("%s = %s: error %v, not %v", test.claim, test.value, err, test.want)
		}
	}
}

func TestVerifyRepeatedClaims(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	body := fmt.Sprintf(`"token_type":"access","exp":%d,"iat":%d,"jti":%q,"user_id":%q`, someExp, someIat, someJTI, someUser)
	for _, payload := range []string{
		`{` + body + `,"exp":` + fmt.Sprint(someExp) + `}`,
		`{` + body + `,"\u0065xp":1}`,
		`{"user_id":"` + uuid.NewString() + `",` + body + `}`,
		`{` + body + `,"extra":1,"extra":1}`,
		`{` + body + `}{` + body + `}`,
		`{` + body + `},`,
		`[{` + body + `}]`,
		`null`,
		``,
	} {
		if _, err := tokens.Verify(sign(plainHead, payload, testKey), AccessToken); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: error %v", payload, err)
		}
	}
}

// Only the canonical encoding of a token verifies.
func TestVerifyMalleability(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	token, err := tokens.IssueAccess(someUserID, 0)
	if err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(token) {
		for _, c := range alphabet + ".=\n +" {
			other := token[:i] + string(c) + token[i+1:]
			if other == token {
				continue
			}
			if _, err := tokens.Verify(other, AccessToken); err == nil {
				t.Fatalf("character %d may be %q too", i, c)
			}
		}
	}
	parts := strings.Split(token, ".")
	for _, other := range []string{
		token + "=", token + "==", token + "\n", " " + token, token + ".", "." + token, token + "A",
		parts[0] + "\n." + parts[1] + "." + parts[2],
		parts[0] + "=." + parts[1] + "." + parts[2],
		parts[0] + "." + parts[1], parts[0] + "." + parts[1] + ".",
		"Bearer " + token, token + token, "", "..", strings.Repeat(".", 100),
	} {
		if _, err := tokens.Verify(other, AccessToken); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%q: error %v", other, err)
		}
	}
}

func TestVerifySize(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t, newKeys(t, testKey, ""), someTime)
	ofSize := func(padding int) string {
		return sign(plainHead, fmt.Sprintf(`{"token_type":"access","exp":%d,"iat":%d,"jti":%q,"user_id":%q,"x":%q}`,
			someExp, someIat, someJTI, someUser, strings.Repeat("x", padding)), testKey)
	}
	padding := 5900
	for len(ofSize(padding+1)) <= 8192 {
		padding++
	}
	if _, err := tokens.Verify(ofSize(padding), AccessToken); err != nil {
		t.Errorf("the largest token: %v", err)
	}
	if _, err := tokens.Verify(ofSize(padding+1), AccessToken); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("a token too large: error %v", err)
	}
}

func unb64(t *testing.T, segment string) string {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
