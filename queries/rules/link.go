package rules

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/google/uuid"
)

// LinkKeyID tells the key apart that the link of a survey was made with, without showing it.
func LinkKeyID(key []byte) []byte {
	sum := sha256.Sum256(append([]byte("px360 survey link key "), key...))
	return sum[:4]
}

// NewLinkToken is the token in the link of a survey: 128 bits in 22 letters. It is derived from the secret key, so that
// a reminder has the same link although only the token's hash is stored.
func NewLinkToken(key []byte, survey uuid.UUID) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("px360 survey link "))
	mac.Write(survey[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// LinkTokenHash is what is stored of a token. It is false for what cannot be one, in its only spelling.
func LinkTokenHash(token string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != 16 {
		return nil, false
	}
	sum := sha256.Sum256(raw)
	return sum[:], true
}

// SurveyLink is the address of a survey's page, below the public URL.
func SurveyLink(publicURL, token string) string { return publicURL + "/s/" + token }

// UnsubscribeLink is where a mail program unsubscribes its reader, by one POST (RFC 8058).
func UnsubscribeLink(surveyLink string) string { return surveyLink + "/unsubscribe" }
