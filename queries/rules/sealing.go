package rules

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// A Sealer keeps texts as nobody without the secret key can read or make them: by AES-256-GCM, under keys that are derived
// from it for one purpose. What was sealed under the previous one can still be opened.
type Sealer struct{ current, previous cipher.AEAD }

// ErrSealed is about a secret that was sealed under another key, or for another place.
var ErrSealed = errors.New("the secret was sealed under a secret key that is neither the present nor the previous one")

// A Purpose is what a sealer is for. What was sealed for one cannot be opened for another.
type Purpose string

const (
	SealsWebhookSecrets Purpose = "px360 webhook secrets"
	SealsCursors        Purpose = "px360 list cursors"
)

// NewSealer makes a sealer of the secret key and, if it is not blank, the previous one.
func NewSealer(purpose Purpose, key, previous string) (s Sealer, err error) {
	if s.current, err = newAEAD(purpose, key); err == nil && previous != "" {
		s.previous, err = newAEAD(purpose, previous)
	}
	return s, err
}

func newAEAD(purpose Purpose, key string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(key), nil, string(purpose), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Seal seals a secret for a place, in which alone it can be opened.
func (s Sealer) Seal(secret, place []byte) []byte { return s.current.Seal(nil, nil, secret, place) }

// Open opens what was sealed for a place. What was sealed under the previous key is old: seal it again, for the day on
// which that key is forgotten.
func (s Sealer) Open(sealed, place []byte) (secret []byte, old bool, err error) {
	for i, aead := range []cipher.AEAD{s.current, s.previous} {
		if aead == nil {
			continue
		}
		if secret, err := aead.Open(nil, nil, sealed, place); err == nil {
			return secret, i > 0, nil
		}
	}
	return nil, false, ErrSealed
}

// webhookSecretPrefix begins secrets, as Standard Webhooks has it.
const webhookSecretPrefix = "whsec_"

// NewWebhookSecret is a secret of 32 random bytes, and how it is written.
func NewWebhookSecret() (secret []byte, text string) {
	secret = make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return secret, webhookSecretPrefix + base64.StdEncoding.EncodeToString(secret)
}
