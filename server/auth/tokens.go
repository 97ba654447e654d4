package auth

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Lifetimes of tokens where nobody configures others.
const (
	DefaultAccessLifetime  = 30 * time.Minute
	DefaultRefreshLifetime = 24 * time.Hour
)

// MinKeyBytes is the least length of a signing key: HS256 is no stronger than
// its key, and RFC 7518 asks for at least the 256 bits of the hash.
const MinKeyBytes = 32

// TokenType is the token_type claim: what a token may be used for.
type TokenType string

const (
	AccessToken  TokenType = "access"
	RefreshToken TokenType = "refresh"
	// AnyToken makes Verify accept any type, as SimpleJWT's token/verify/ does. It
	// is never a token's own type.
	AnyToken TokenType = ""
)

// TokenError says why a token was refused. Message is what SimpleJWT 5.5 says
// in the same case and may be shown to the client. Compare with errors.Is
// against the Err variables below.
type TokenError struct{ Message string }

func (e *TokenError) Error() string { return e.Message }

// Why Verify refuses a token. SimpleJWT answers ErrTokenNoUser as the whole
// detail, the others in the messages of a token class.
var (
	ErrTokenInvalid   = &TokenError{"Token is invalid"}
	ErrTokenExpired   = &TokenError{"Token is expired"}
	ErrTokenNoExpiry  = &TokenError{"Token has no 'exp' claim"}
	ErrTokenNoID      = &TokenError{"Token has no id"}
	ErrTokenNoType    = &TokenError{"Token has no type"}
	ErrTokenWrongType = &TokenError{"Token has wrong type"}
	ErrTokenNoUser    = &TokenError{"Token contained no recognizable user identification"}
)

// Keys is a key ring: the first key signs, all verify (key rotation).
type Keys struct {
	ring []tokenKey
}

type tokenKey struct {
	id     string
	secret redacted
}

// redacted keeps a secret out of logs. Some fmt verb prints even unexported fields
// and what pointers refer to, but none prints the variables of a closure.
type redacted func() []byte

func redact(secret []byte) redacted {
	secret = bytes.Clone(secret)
	return func() []byte { return secret }
}

// NewKeys makes a key ring of the current key and, unless it is empty, the
// previous one, which only verifies. Both need at least MinKeyBytes.
func NewKeys(current, previous []byte) (Keys, error) {
	var keys Keys
	for _, secret := range [][]byte{current, previous} {
		if len(secret) == 0 && len(keys.ring) > 0 {
			continue
		}
		if len(secret) < MinKeyBytes {
			return Keys{}, fmt.Errorf("a signing key has %d bytes, it needs at least %d", len(secret), MinKeyBytes)
		}
		id, err := keyID(secret)
		if err != nil {
			return Keys{}, err
		}
		keys.ring = append(keys.ring, tokenKey{id: id, secret: redact(secret)})
	}
	return keys, nil
}

// keyID is public (the kid of every token), so it is derived one-way, by HKDF with
// an info string that nothing else uses. 64 bits suffice to tell two keys apart.
func keyID(secret []byte) (string, error) {
	id, err := hkdf.Key(sha256.New, secret, nil, "px360 token key id", 8)
	if err != nil {
		return "", fmt.Errorf("deriving a key id: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// candidates are the keys that may have signed a token with this kid: any of them
// without one (SimpleJWT writes none), none of them if it is unknown.
func (k Keys) candidates(kid string, present bool) []tokenKey {
	if !present {
		return k.ring
	}
	for _, key := range k.ring {
		if key.id == kid {
			return []tokenKey{key}
		}
	}
	return nil
}

// TokenConfig sets what Tokens issues.
type TokenConfig struct {
	AccessLifetime  time.Duration    // at least 1 s
	RefreshLifetime time.Duration    // at least 1 s
	Now             func() time.Time // nil means time.Now
}

// Tokens issues and verifies tokens with the claims of SimpleJWT 5.5 and the
// token version of their user. It is safe for concurrent use.
type Tokens struct {
	keys            Keys
	accessLifetime  time.Duration
	refreshLifetime time.Duration
	now             func() time.Time
}

// NewTokens refuses an empty key ring and lifetimes under a second.
func NewTokens(keys Keys, config TokenConfig) (*Tokens, error) {
	if len(keys.ring) == 0 {
		return nil, errors.New("tokens need a signing key")
	}
	tokens := &Tokens{
		keys:            keys,
		accessLifetime:  config.AccessLifetime,
		refreshLifetime: config.RefreshLifetime,
		now:             config.Now,
	}
	if tokens.now == nil {
		tokens.now = time.Now
	}
	// Claims count whole seconds: with anything shorter, exp could equal iat.
	if tokens.accessLifetime < time.Second || tokens.refreshLifetime < time.Second {
		return nil, errors.New("a token lifetime is at least one second")
	}
	return tokens, nil
}

// Issue makes an access and a refresh token for a user whose token version is
// version.
func (t *Tokens) Issue(userID uuid.UUID, version int) (access, refresh string, err error) {
	access, err = t.issue(AccessToken, t.accessLifetime, userID, version)
	if err != nil {
		return "", "", err
	}
	refresh, err = t.issue(RefreshToken, t.refreshLifetime, userID, version)
	if err != nil {
		return "", "", err
	}
	return access, refresh, nil
}

// IssueAccess makes an access token alone, for a refresh without rotation of the
// refresh token.
func (t *Tokens) IssueAccess(userID uuid.UUID, version int) (string, error) {
	return t.issue(AccessToken, t.accessLifetime, userID, version)
}

func (t *Tokens) issue(kind TokenType, lifetime time.Duration, userID uuid.UUID, version int) (string, error) {
	if version < 0 || version > maxVersion {
		return "", fmt.Errorf("token version %d is out of range", version)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("drawing a token id: %w", err)
	}
	now := t.now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"token_type": string(kind),
		"exp":        now.Add(lifetime).Unix(),
		"iat":        now.Unix(),
		"jti":        hex.EncodeToString(id[:]),
		"user_id":    userID.String(),
		"ver":        version,
	})
	key := t.keys.ring[0]
	token.Header["kid"] = key.id
	signed, err := token.SignedString(key.secret())
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}
