package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	claimType    = "token_type"
	claimExpiry  = "exp"
	claimIssued  = "iat"
	claimBefore  = "nbf"
	claimID      = "jti"
	claimUser    = "user_id"
	claimVersion = "ver"
)

const (
	// maxTokenBytes bounds the work that a stranger's token may cause. Ours have
	// about 350 bytes.
	maxTokenBytes = 8 << 10
	// maxTokenIDBytes keeps a jti within what a revocation list stores.
	maxTokenIDBytes = 64
	// maxVersion is what an integer column holds.
	maxVersion = 1<<31 - 1
	// maxTime is the last second of the year 9999: later ones overflow
	// somewhere, be it here or in the database.
	maxTime = 253402300799
	// clockLeeway forgives another server's clock that runs ahead. It applies to
	// iat and nbf; an expired token is expired.
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
// It decodes by itself instead of with jwt.Parser, which accepts unknown crit
// headers, members given twice and numbers in quotes; nothing of the payload
// is parsed before the signature holds.
func (t *Tokens) Verify(token string, wanted TokenType) (Claims, error) {
	header, payload, signature, ok := splitToken(token)
	if !ok {
		return Claims{}, ErrTokenInvalid
	}
	if !t.signed(header, payload, signature) {
		return Claims{}, ErrTokenInvalid
	}
	members, err := decodeSegment(payload)
	if err != nil {
		return Claims{}, ErrTokenInvalid
	}
	return readClaims(members, wanted, t.now())
}

// splitToken checks size and alphabet before anything is decoded: decoders skip
// line breaks, and then two different texts would be the same token.
func splitToken(token string) (header, payload, signature string, ok bool) {
	if len(token) > maxTokenBytes {
		return "", "", "", false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", "", "", false
	}
	for _, part := range parts {
		if !isToken64(part) {
			return "", "", "", false
		}
	}
	return parts[0], parts[1], parts[2], true
}

// isToken64 reports whether text is not empty and of the base64url alphabet.
func isToken64(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return text != ""
}

// signed reports whether the header is one of ours or SimpleJWT's and one of its
// keys made the signature.
func (t *Tokens) signed(header, payload, signature string) bool {
	members, err := decodeSegment(header)
	if err != nil {
		return false
	}
	// All keys are HS256 keys. Naming the one algorithm shuts out "none" and
	// every confusion of key kinds.
	if alg, _, err := textMember(members, "alg"); err != nil || alg != jwt.SigningMethodHS256.Alg() {
		return false
	}
	if typ, present, err := textMember(members, "typ"); err != nil || present && !strings.EqualFold(typ, "JWT") {
		return false
	}
	// crit lists extensions without which a token must not be understood; we
	// understand none.
	if _, present := members["crit"]; present {
		return false
	}
	kid, present, err := textMember(members, "kid")
	if err != nil {
		return false
	}
	// Strict: the last character has unused bits, which would otherwise let one
	// token be written in several ways.
	sum, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil {
		return false
	}
	for _, key := range t.keys.candidates(kid, present) {
		if jwt.SigningMethodHS256.Verify(header+"."+payload, sum, key.secret()) == nil {
			return true
		}
	}
	return false
}

func readClaims(members map[string]jsontext.Value, wanted TokenType, now time.Time) (Claims, error) {
	claims, err := readTimes(members, now)
	if err != nil {
		return Claims{}, err
	}

	id, present, err := textMember(members, claimID)
	if err == nil && !present {
		return Claims{}, ErrTokenNoID
	}
	if err != nil || len(id) > maxTokenIDBytes || !isToken64(id) {
		return Claims{}, ErrTokenInvalid
	}
	claims.ID = id

	kind, present, err := textMember(members, claimType)
	if err == nil && !present && wanted != AnyToken {
		return Claims{}, ErrTokenNoType
	}
	if wanted != AnyToken && (err != nil || kind != string(wanted)) {
		return Claims{}, ErrTokenWrongType
	}
	claims.Type = TokenType(kind)

	user, _, err := textMember(members, claimUser)
	if err != nil {
		return Claims{}, ErrTokenNoUser
	}
	claims.UserID, err = parseUserID(user)
	if err != nil {
		return Claims{}, ErrTokenNoUser
	}

	version, _, err := wholeMember(members, claimVersion, maxVersion)
	if err != nil {
		return Claims{}, ErrTokenInvalid
	}
	claims.Version = int(version)
	return claims, nil
}

// readTimes checks iat and nbf before exp, as PyJWT does under SimpleJWT.
func readTimes(members map[string]jsontext.Value, now time.Time) (Claims, error) {
	issued, present, err := wholeMember(members, claimIssued, maxTime)
	if err != nil || !present {
		return Claims{}, ErrTokenInvalid
	}
	before, _, err := wholeMember(members, claimBefore, maxTime)
	if err != nil {
		return Claims{}, ErrTokenInvalid
	}
	if latest := now.Add(clockLeeway).Unix(); issued > latest || before > latest {
		return Claims{}, ErrTokenInvalid
	}
	expires, present, err := wholeMember(members, claimExpiry, maxTime)
	if err != nil {
		return Claims{}, ErrTokenInvalid
	}
	if !present {
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

// textMember returns a member that must be a JSON string if it is there.
func textMember(members map[string]jsontext.Value, name string) (text string, present bool, err error) {
	raw, present := members[name]
	if !present {
		return "", false, nil
	}
	if raw.Kind() != '"' {
		return "", true, errors.New(name + " is not a string")
	}
	unquoted, err := jsontext.AppendUnquote(nil, raw)
	return string(unquoted), true, err
}

// wholeMember returns a member that must be a whole number from 0 to most if it
// is there. Quotes, fractions and exponents are refused: nobody writes them.
func wholeMember(members map[string]jsontext.Value, name string, most int64) (number int64, present bool, err error) {
	raw, present := members[name]
	if !present {
		return 0, false, nil
	}
	number, err = strconv.ParseInt(string(raw), 10, 64)
	if err == nil && (number < 0 || number > most) {
		err = errors.New(name + " is out of range")
	}
	return number, true, err
}

// decodeSegment decodes a header or payload: a JSON object in valid UTF-8 that
// names no member twice at any depth, which is what a jsontext.Decoder insists
// on. Names keep their case.
func decodeSegment(segment string) (map[string]jsontext.Value, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, err
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	opening, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	if opening.Kind() != '{' {
		return nil, errors.New("not an object")
	}
	members := map[string]jsontext.Value{}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		member := name.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		members[member] = value.Clone()
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := decoder.ReadToken(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return members, nil
}
