package auth

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	// maxTokenBytes bounds the work that an unauthenticated client may cause. Our
	// tokens have about 350 bytes.
	maxTokenBytes = 8 << 10
	// maxTokenIDBytes is the length that used_refresh_tokens.token_id stores.
	maxTokenIDBytes = 64
	// maxVersion is what an integer column holds.
	maxVersion = 1<<31 - 1
	// maxTime is the last second of the year 9999: later ones overflow in
	// time.Time's JSON or in the database.
	maxTime = 253402300799
	// clockLeeway is for clock skew between servers. It applies to iat and nbf,
	// not to exp.
	clockLeeway = 30 * time.Second
)

// Claims is what a verified token says. The caller still compares Version with
// the user's current token version, and looks ID up where tokens are revoked.
type Claims struct {
	Type      TokenType // empty only if AnyToken was wanted and the token has none
	ID        string    // jti, 1 to 64 characters of A-Z a-z 0-9 - _
	UserID    uuid.UUID
	Version   int // 0 in tokens without ver, as SimpleJWT makes them
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// Verify checks a token and that it is of the wanted type. Every error is one of
// the Err variables of TokenError. The checks come in SimpleJWT's order, so that
// a token with several faults gets the same message.
//
// Of golang-jwt it uses the HMAC alone. jwt.Parser 5.3 accepts an unknown crit,
// repeated members and invalid UTF-8, so most of this file would have to stay,
// and everything would be decoded twice: verification took twice as long. It also
// applies its one leeway to exp, and refuses a header in which a member that is
// to be ignored holds a number beyond float64.
func (t *Tokens) Verify(token string, wanted TokenType) (Claims, error) {
	header, payload, signature, ok := splitToken(token)
	if !ok || !t.signed(header, payload, signature) {
		return Claims{}, ErrTokenInvalid
	}
	// The payload is parsed only now that its signature is known to be good.
	var claims rawClaims
	if decodeSegment(payload, &claims) != nil {
		return Claims{}, ErrTokenInvalid
	}
	return claims.validate(wanted, t.now())
}

// splitToken checks size and alphabet before anything is decoded: base64 decoders
// skip line breaks, and then two different texts would be the same token.
func splitToken(token string) (header, payload, signature string, ok bool) {
	if len(token) > maxTokenBytes {
		return "", "", "", false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !isBase64URL(parts[0]) || !isBase64URL(parts[1]) || !isBase64URL(parts[2]) {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// isBase64URL reports whether text is not empty and of the base64url alphabet.
func isBase64URL(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return text != ""
}

// tokenHeader is a header before its members' types are checked. Absent members
// are nil, which tells them from null.
type tokenHeader struct {
	Algorithm jsontext.Value `json:"alg"`
	Type      jsontext.Value `json:"typ"`
	Critical  jsontext.Value `json:"crit"`
	KeyID     jsontext.Value `json:"kid"`
}

// signed reports whether the header is one of ours or SimpleJWT's and one of its
// keys made the signature.
func (t *Tokens) signed(header, payload, signature string) bool {
	var members tokenHeader
	if decodeSegment(header, &members) != nil {
		return false
	}
	// All keys are HS256 keys. Allowing one algorithm rules out "none" and
	// algorithm confusion.
	if alg, err := stringValue(members.Algorithm); err != nil || alg != jwt.SigningMethodHS256.Alg() {
		return false
	}
	if typ, err := stringValue(members.Type); err != nil || members.Type != nil && !strings.EqualFold(typ, "JWT") {
		return false
	}
	// crit lists extensions without which a token must not be understood; we
	// understand none.
	if members.Critical != nil {
		return false
	}
	kid, err := stringValue(members.KeyID)
	if err != nil {
		return false
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil {
		return false
	}
	for _, key := range t.keys.candidates(kid, members.KeyID != nil) {
		if jwt.SigningMethodHS256.Verify(header+"."+payload, sum, key.secret()) == nil {
			return true
		}
	}
	return false
}

// rawClaims is a payload before its members' types are checked: which error a
// wrong type gets depends on the claim. Absent claims are nil.
type rawClaims struct {
	Type      jsontext.Value `json:"token_type"`
	ExpiresAt jsontext.Value `json:"exp"`
	IssuedAt  jsontext.Value `json:"iat"`
	NotBefore jsontext.Value `json:"nbf"`
	ID        jsontext.Value `json:"jti"`
	UserID    jsontext.Value `json:"user_id"`
	Version   jsontext.Value `json:"ver"`
}

func (raw rawClaims) validate(wanted TokenType, now time.Time) (Claims, error) {
	claims, err := raw.validateTimes(now)
	if err != nil {
		return Claims{}, err
	}

	claims.ID, err = stringValue(raw.ID)
	switch {
	case raw.ID == nil:
		return Claims{}, ErrTokenNoID
	case err != nil || len(claims.ID) > maxTokenIDBytes || !isBase64URL(claims.ID):
		return Claims{}, ErrTokenInvalid
	}

	kind, err := stringValue(raw.Type)
	switch claims.Type = TokenType(kind); {
	case wanted == AnyToken:
	case raw.Type == nil:
		return Claims{}, ErrTokenNoType
	case err != nil || claims.Type != wanted:
		return Claims{}, ErrTokenWrongType
	}

	user, err := stringValue(raw.UserID)
	if err != nil {
		return Claims{}, ErrTokenNoUser
	}
	claims.UserID, err = parseUserID(user)
	if err != nil {
		return Claims{}, ErrTokenNoUser
	}

	version, err := wholeNumber(raw.Version, maxVersion)
	if err != nil {
		return Claims{}, ErrTokenInvalid
	}
	claims.Version = int(version)
	return claims, nil
}

// validateTimes checks iat and nbf before exp, as PyJWT does under SimpleJWT.
func (raw rawClaims) validateTimes(now time.Time) (Claims, error) {
	issued, err1 := wholeNumber(raw.IssuedAt, maxTime)
	notBefore, err2 := wholeNumber(raw.NotBefore, maxTime)
	expires, err3 := wholeNumber(raw.ExpiresAt, maxTime)
	if err1 != nil || err2 != nil || err3 != nil || raw.IssuedAt == nil {
		return Claims{}, ErrTokenInvalid
	}
	if latest := now.Add(clockLeeway).Unix(); issued > latest || notBefore > latest {
		return Claims{}, ErrTokenInvalid
	}
	if raw.ExpiresAt == nil {
		return Claims{}, ErrTokenNoExpiry
	}
	claims := Claims{
		IssuedAt:  time.Unix(issued, 0).UTC(),
		ExpiresAt: time.Unix(expires, 0).UTC(),
	}
	if !now.Before(claims.ExpiresAt) {
		return Claims{}, ErrTokenExpired
	}
	return claims, nil
}

// parseUserID takes the two spellings that SimpleJWT and we write;
// uuid.Parse alone would take braces and urn: too.
func parseUserID(text string) (uuid.UUID, error) {
	if len(text) != 36 && len(text) != 32 {
		return uuid.Nil, errors.New("not a UUID")
	}
	return uuid.Parse(text)
}

// stringValue unquotes a JSON string. It is empty if absent.
func stringValue(raw jsontext.Value) (string, error) {
	if raw == nil {
		return "", nil
	}
	if raw.Kind() != '"' {
		return "", errors.New("not a string")
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	return string(text), err
}

// wholeNumber parses a whole number from 0 to most. It is 0 if absent. Quotes,
// fractions and exponents are refused: no issuer writes them.
func wholeNumber(raw jsontext.Value, most int64) (int64, error) {
	if raw == nil {
		return 0, nil
	}
	number, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil && (number < 0 || number > most) {
		err = errors.New("out of range")
	}
	return number, err
}

// decodeSegment decodes a header or payload into a struct. Package json, unlike
// encoding/json, insists on valid UTF-8 and unique names at any depth and
// matches names by case. Base64 is strict: the last character has unused bits,
// which would otherwise let one token be written in several ways.
func decodeSegment(segment string, into any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
