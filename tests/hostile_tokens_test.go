package tests

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const attackedMe = "/api/auth/users/me/"

// tokenError is the answer to an invalid token in the Authorization header.
func tokenError(message string) string {
	return `{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":"AccessToken","token_type":"access","message":"` + message + `"}]}`
}

var (
	bodyTokenInvalid = tokenError("Token is invalid")
	bodyNoUser       = `{"detail":"Token contained no recognizable user identification","code":"token_not_valid"}`
	bodyTwoValues    = `{"detail":"Authorization header must contain two space-delimited values","code":"bad_authorization_header"}`
)

// A forger signs tokens with the server's key, so that they are refused for their content and not
// for their signature.
type forger struct{ header, claims map[string]any }

// forgerFor returns a forger with the header and claims of a valid access token.
func forgerFor(t *testing.T, p person) forger {
	var f forger
	for i, into := range []*map[string]any{&f.header, &f.claims} {
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(p.access, ".")[i])
		must(t, err)
		must(t, json.Unmarshal(text, into))
	}
	for _, name := range []string{"exp", "iat", "ver"} { // as integers, not as 1e9
		f.claims[name] = int64(f.claims[name].(float64))
	}
	return f
}

// altered sets members or, with a nil value, removes them.
func altered(of map[string]any, pairs ...any) string {
	copied := map[string]any{}
	for name, value := range of {
		copied[name] = value
	}
	for i := 0; i < len(pairs); i += 2 {
		if copied[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(copied, pairs[i].(string))
		}
	}
	return jsonText(copied)
}

// withClaims is a token with changed claims, withHeader one with a changed header.
func (f forger) withClaims(pairs ...any) string {
	return signToken(jsonText(f.header), altered(f.claims, pairs...), sha256.New, signingKey)
}

func (f forger) withHeader(pairs ...any) string {
	return signToken(altered(f.header, pairs...), jsonText(f.claims), sha256.New, signingKey)
}

func (f forger) withPayload(claims string) string {
	return signToken(jsonText(f.header), claims, sha256.New, signingKey)
}

func signToken(header, claims string, algorithm func() hash.Hash, key string) string {
	text := encode64(header) + "." + encode64(claims)
	mac := hmac.New(algorithm, []byte(key))
	mac.Write([]byte(text))
	return text + "." + encode64(string(mac.Sum(nil)))
}

func encode64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// TestHostileTokens sends invalid tokens.
func TestHostileTokens(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	victim, deleted, inactive, revoked := h.person(h.hospital), h.person(h.hospital), h.person(h.hospital), h.person(h.hospital)
	h.exec("DELETE FROM users WHERE id = $1", deleted.id)
	h.exec("UPDATE users SET is_active = false WHERE id = $1", inactive.id)
	h.exec("UPDATE users SET token_version = 1 WHERE id = $1", revoked.id)
	h.snapshot()
	f := forgerFor(t, victim)
	h.secret(strings.Split(victim.access, ".")...)
	h.secret(strings.Split(victim.refresh, ".")...)

	var attacks []attack
	try := func(name, token, want string) {
		attacks = append(attacks, attack{name: name, path: attackedMe, token: token, status: 401, want: want})
	}
	for name, token := range f.invalidHeaders() {
		try(name, token, bodyTokenInvalid)
	}
	for name, token := range f.invalidClaims() {
		try(name, token, bodyTokenInvalid)
	}
	for name, token := range f.invalidTexts(victim) {
		try(name, token, bodyTokenInvalid)
	}
	try("expired", f.withClaims("exp", time.Now().Add(-time.Minute).Unix()), tokenError("Token is expired"))
	try("expires in 1970", f.withClaims("exp", 0), tokenError("Token is expired"))
	try("never expires", f.withClaims("exp", nil), tokenError("Token has no 'exp' claim"))
	try("EXP", f.withClaims("exp", nil, "EXP", time.Now().Add(time.Hour).Unix()), tokenError("Token has no 'exp' claim"))
	try("no jti", f.withClaims("jti", nil), tokenError("Token has no id"))
	try("a refresh token", victim.refresh, tokenError("Token has wrong type"))
	try("type Access", f.withClaims("token_type", "Access"), tokenError("Token has wrong type"))
	try("type as a list", f.withClaims("token_type", []string{"access"}), tokenError("Token has wrong type"))
	try("no type", f.withClaims("token_type", nil), tokenError("Token has no type"))
	for name, user := range map[string]any{
		"no user": nil, "user 1": 1, "user in braces": "{" + victim.id.String() + "}", "user as urn": "urn:uuid:" + victim.id.String(),
		"user as SQL": "' OR 1=1 --", "user as a list": []string{victim.id.String()}, "user with NUL": victim.id.String() + "\x00", "user as true": true,
	} {
		try(name, f.withClaims("user_id", user), bodyNoUser)
	}
	try("unknown user", f.withClaims("user_id", wireUnknownID), `{"detail":"User not found","code":"user_not_found"}`)
	try("the nil user", f.withClaims("user_id", uuid.Nil), `{"detail":"User not found","code":"user_not_found"}`)
	try("deleted user", deleted.access, `{"detail":"User not found","code":"user_not_found"}`)
	try("inactive user", inactive.access, `{"detail":"User is inactive","code":"user_inactive"}`)
	try("of an older version", revoked.access, bodyTokenInvalid)
	h.run(t, attacks)
	h.run(t, h.badAuthorizations(victim))
	h.run(t, h.badTokenBodies(victim, deleted, inactive, revoked))
}

// invalidHeaders are signed tokens with an unacceptable header.
func (f forger) invalidHeaders() map[string]string {
	claims := jsonText(f.claims)
	return map[string]string{
		"alg none":                      encode64(altered(f.header, "alg", "none")) + "." + encode64(claims) + ".",
		"alg none, signed":              f.withHeader("alg", "none"),
		"alg NoNe":                      f.withHeader("alg", "NoNe"),
		"alg RS256":                     f.withHeader("alg", "RS256"),
		"alg HS384":                     signToken(altered(f.header, "alg", "HS384"), claims, sha512.New384, signingKey),
		"alg HS512":                     signToken(altered(f.header, "alg", "HS512"), claims, sha512.New, signingKey),
		"alg hs256":                     f.withHeader("alg", "hs256"),
		"alg missing":                   f.withHeader("alg", nil),
		"alg as a list":                 f.withHeader("alg", []string{"HS256"}),
		"alg ALG":                       f.withHeader("alg", nil, "ALG", "HS256"),
		"alg twice":                     signToken(`{"alg":"none","alg":"HS256","typ":"JWT"}`, claims, sha256.New, signingKey),
		"alg twice by escape":           signToken(`{"alg":"HS256","\u0061lg":"HS256","typ":"JWT"}`, claims, sha256.New, signingKey),
		"kid unknown":                   f.withHeader("kid", "another"),
		"kid empty":                     f.withHeader("kid", ""),
		"kid a path, key empty":         signToken(altered(f.header, "kid", "../../../../dev/null"), claims, sha256.New, ""),
		"kid SQL":                       f.withHeader("kid", "' UNION SELECT 'key' --"),
		"kid a number":                  f.withHeader("kid", 0),
		"kid NUL":                       f.withHeader("kid", "\x00"),
		"crit exp":                      f.withHeader("crit", []string{"exp"}),
		"crit empty":                    f.withHeader("crit", []string{}),
		"crit b64":                      f.withHeader("crit", []string{"b64"}, "b64", false),
		"typ JWE":                       f.withHeader("typ", "JWE"),
		"typ a number":                  f.withHeader("typ", 5),
		"jwk of an attacker":            signToken(altered(f.header, "jwk", map[string]string{"kty": "oct", "k": "YXR0YWNr"}), claims, sha256.New, "attack"),
		"jku of an attacker":            signToken(altered(f.header, "jku", "http://127.0.0.1:1/keys"), claims, sha256.New, "attack"),
		"signed with an empty key":      signToken(jsonText(f.header), claims, sha256.New, ""),
		"signed with the kid":           signToken(jsonText(f.header), claims, sha256.New, fmt.Sprint(f.header["kid"])),
		"signed with a common key":      signToken(jsonText(f.header), claims, sha256.New, "secret"),
		"header null":                   signToken("null", claims, sha256.New, signingKey),
		"header a list":                 signToken(`["alg","HS256"]`, claims, sha256.New, signingKey),
		"header no JSON":                signToken("alg=HS256", claims, sha256.New, signingKey),
		"header with trailing data":     signToken(jsonText(f.header)+"{}", claims, sha256.New, signingKey),
		"header of nested brackets":     signToken(strings.Repeat("[", 2000)+strings.Repeat("]", 2000), claims, sha256.New, signingKey),
		"header with a byte order mark": signToken("\ufeff"+jsonText(f.header), claims, sha256.New, signingKey),
	}
}

// invalidClaims are signed tokens with unacceptable claims.
func (f forger) invalidClaims() map[string]string {
	claims, hour := jsonText(f.claims), time.Now().Add(time.Hour).Unix()
	and := func(more string) string { return f.withPayload(strings.TrimSuffix(claims, "}") + "," + more + "}") }
	return map[string]string{
		"iat in the future":       f.withClaims("iat", hour),
		"iat missing":             f.withClaims("iat", nil),
		"iat negative":            f.withClaims("iat", -1),
		"iat as text":             f.withClaims("iat", "0"),
		"nbf in the future":       f.withClaims("nbf", hour),
		"nbf as text":             f.withClaims("nbf", "0"),
		"exp as text":             f.withClaims("exp", fmt.Sprint(hour)),
		"exp with a fraction":     f.withClaims("exp", json.RawMessage(fmt.Sprint(hour)+".5")),
		"exp with an exponent":    f.withClaims("exp", json.RawMessage("9e9")),
		"exp null":                f.withClaims("exp", json.RawMessage("null")),
		"exp true":                f.withClaims("exp", true),
		"exp a list":              f.withClaims("exp", []int64{hour}),
		"exp negative":            f.withClaims("exp", -1),
		"exp over the year 9999":  f.withClaims("exp", 253402300800),
		"exp over 64 bits":        f.withClaims("exp", json.RawMessage("18446744073709551616")),
		"exp 1e400":               f.withClaims("exp", json.RawMessage("1e400")),
		"exp twice":               and(fmt.Sprintf(`"exp":%d`, hour)),
		"user_id twice":           and(`"user_id":"` + wireUnknownID + `"`),
		"user_id twice by escape": and(`"user\u005fid":"` + wireUnknownID + `"`),
		"twice further down":      and(`"x":{"a":1,"a":2}`),
		"jti a number":            f.withClaims("jti", 5),
		"jti too long":            f.withClaims("jti", strings.Repeat("a", 65)),
		"jti SQL":                 f.withClaims("jti", "'; DROP TABLE users --"),
		"ver above":               f.withClaims("ver", 1),
		"ver negative":            f.withClaims("ver", -1),
		"ver as text":             f.withClaims("ver", "0"),
		"ver 0.0":                 f.withClaims("ver", json.RawMessage("0.0")),
		"ver over 32 bits":        f.withClaims("ver", 1<<32),
		"claims null":             f.withPayload("null"),
		"claims a list":           f.withPayload("[" + claims + "]"),
		"claims text":             f.withPayload(`"` + claims + `"`),
		"claims with data behind": f.withPayload(claims + claims),
		"claims of invalid UTF-8": and("\"x\":\"\xff\""),
		"claims with a surrogate": f.withClaims("jti", json.RawMessage(`"\ud800"`)),
	}
}

// invalidTexts are tokens that were changed after signing, or never signed.
func (f forger) invalidTexts(victim person) map[string]string {
	good := victim.access
	parts := strings.Split(good, ".")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	return map[string]string{
		"the last character's spare bits": good[:len(good)-1] + string(alphabet[last^1]),
		"padded":                          good + "=",
		"with a line break's escape":      good + "%0A",
		"with a NUL's escape":             good + "%00",
		"a comma behind":                  good + ",",
		"a quote around":                  `"` + good + `"`,
		"one character short":             good[:len(good)-1],
		"no signature":                    parts[0] + "." + parts[1] + ".",
		"no dots behind":                  parts[0] + "." + parts[1],
		"four parts":                      good + "." + parts[2],
		"only dots":                       "..",
		"one letter":                      "x",
		"of another's claims":             parts[0] + "." + encode64(altered(f.claims, "user_id", wireUnknownID)) + "." + parts[2],
		"standard base64":                 parts[0] + "." + parts[1] + ".+/" + parts[2][2:],
		"too long":                        good + strings.Repeat("A", 9<<10),
		"very long":                       strings.Repeat("A", 28<<10),
		"not ASCII":                       "té.té.té",
		"a path":                          "../../etc/passwd",
	}
}

// badAuthorizations are a valid token sent in invalid ways.
func (h *hostile) badAuthorizations(p person) []attack {
	by := func(name, want string, header ...string) attack {
		return attack{name: name, path: attackedMe, token: noToken, header: header, status: 401, want: want}
	}
	request := func(name, want, headers string) attack {
		return attack{name: name, raw: "GET " + attackedMe + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n" + headers + "\r\n", status: 401, want: want}
	}
	query := attack{name: "in the query", path: attackedMe + "?access_token=" + p.access, token: noToken, status: 401, want: bodyNoCredentials}
	return []attack{
		by("nothing", bodyNoCredentials),
		by("empty", bodyNoCredentials, "Authorization", ""),
		by("Bearer alone", bodyTwoValues, "Authorization", "Bearer"),
		by("three values", bodyTwoValues, "Authorization", "Bearer "+p.access+" x"),
		by("token alone", bodyNoCredentials, "Authorization", p.access),
		by("Basic", bodyNoCredentials, "Authorization", "Basic YWRtaW46YWRtaW4="),
		by("Token", bodyNoCredentials, "Authorization", "Token "+p.access),
		by("Bearer:", bodyNoCredentials, "Authorization", "Bearer: "+p.access),
		by("in a cookie", bodyNoCredentials, "Cookie", "access="+p.access),
		by("in another header", bodyNoCredentials, "X-Authorization", "Bearer "+p.access),
		by("X-User-Id", bodyNoCredentials, "X-User-Id", p.id.String()),
		query,
		request("twice", bodyTwoValues, strings.Repeat("Authorization: Bearer "+p.access+"\r\n", 2)),
		request("two callers", bodyTwoValues, "Authorization: Bearer "+p.access+"\r\nAuthorization: Bearer "+h.px.access+"\r\n"),
	}
}

// badTokenBodies are invalid tokens in the bodies of the token operations.
func (h *hostile) badTokenBodies(victim, deleted, inactive, revoked person) []attack {
	var attacks []attack
	try := func(name, path, field, token string, status int, want string) {
		attacks = append(attacks, attack{name: path + " " + name, path: "/api/auth/token/" + path, token: noToken, body: fields{field: token}, status: status, want: want})
	}
	const noAccount, invalid = `{"detail":"No active account found for the given token."}`, `{"detail":"Token is invalid","code":"token_not_valid"}`
	const wrongType = `{"detail":"Token has wrong type","code":"token_not_valid"}`
	for _, path := range []string{"refresh/", "blacklist/"} {
		try("an access token", path, "refresh", victim.access, 401, wrongType)
		try("garbage", path, "refresh", "' OR 1=1 --", 401, invalid)
		try("blank", path, "refresh", " ", 400, fieldError("refresh", msgBlank))
		try("NUL", path, "refresh", victim.refresh+"\x00", 400, fieldError("refresh", msgNUL))
		try("deleted user", path, "refresh", deleted.refresh, 401, noAccount)
		try("inactive user", path, "refresh", inactive.refresh, 401, noAccount)
		try("older version", path, "refresh", revoked.refresh, 401, invalid)
		try("too large", path, "refresh", strings.Repeat("A", 9<<10), 413, bodyTooLarge)
	}
	try("garbage", "verify/", "token", "x.y.z", 401, invalid)
	try("deleted user", "verify/", "token", deleted.access, 401, noAccount)
	try("older version", "verify/", "token", revoked.access, 401, invalid)
	return attacks
}
