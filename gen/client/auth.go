package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// session has the access token of a user.
type session struct {
	client             *Client
	username, password string
	now                func() time.Time

	// turn is held, by having put a value into it, while reading or renewing what is below. A channel and not a mutex,
	// because who waits for another's renewal may be interrupted.
	turn    chan struct{}
	access  string
	renewAt time.Time // zero: not known, the server's refusal will tell
	refresh string
	fixed   bool  // the token was given and cannot be renewed
	refused error // the password was wrong: asking again would only lock the account out
}

func newSession(c *Client, username, password string) *session {
	return &session{client: c, username: username, password: password, now: time.Now, turn: make(chan struct{}, 1)}
}

func fixedSession(c *Client, access string) *session {
	s := newSession(c, "", "")
	s.access, s.fixed = access, true
	return s
}

var errNoToken = errors.New("the answer has no token in it: does the base URL lead to PX360?")

// token returns an access token for the call other than the refused one; blank if the call takes none.
func (c *Client) token(ctx context.Context, r *call, refusedToken string) (string, error) {
	if r.public || c.session == nil {
		return "", nil
	}
	return c.session.token(ctx, r, refusedToken)
}

// renews tells whether the call may get another token when one is refused.
func (c *Client) renews(r *call) bool {
	return !r.public && c.session != nil && !c.session.fixed
}

// token returns an access token other than the refused one, which is blank if none was refused. Of several callers one
// renews it and the others wait for that.
func (s *session) token(ctx context.Context, r *call, refusedToken string) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", r.failed("", ctx.Err())
	}
	expiring := !s.renewAt.IsZero() && !s.now().Before(s.renewAt)
	if s.access != "" && s.access != refusedToken && !expiring {
		return s.access, nil
	}
	if err := s.renew(ctx); err != nil {
		return "", err
	}
	return s.access, nil
}

// renew gets an access token by the refresh token or, if there is no good one, by the password.
func (s *session) renew(ctx context.Context) error {
	if s.refused != nil {
		return s.refused
	}
	if s.refresh != "" {
		renewed, err := s.client.RefreshToken(ctx, TokenRefreshRequest{Refresh: s.refresh})
		if err == nil && renewed.Access != "" {
			if renewed.Refresh != nil {
				s.refresh = *renewed.Refresh
			}
			s.keep(renewed.Access)
			return nil
		}
		failure, ok := asError[*Error](err)
		if ok && failure.Status != http.StatusUnauthorized && !failure.MaybeDone {
			return err
		}
		// Where refresh tokens rotate, one that may be used up must not be shown again: that ends the user's tokens.
		s.refresh = ""
	}
	pair, err := s.client.CreateToken(ctx, TokenRequest{Username: s.username, Password: s.password}, WithRepeats())
	if err == nil && pair.Access == "" {
		err = errNoToken
	}
	if err != nil {
		err = fmt.Errorf("log in as %s: %w", s.username, err)
		if failure, ok := asError[*Error](err); ok && failure.Status == http.StatusUnauthorized {
			s.refused = err
		}
		return err
	}
	s.refresh = pair.Refresh
	s.keep(pair.Access)
	return nil
}

// keep remembers a token and when to renew it: when a tenth of its life is left, or half a minute if that is less. It is
// the token's life that counts and not its end, because the clocks may differ.
func (s *session) keep(access string) {
	s.access, s.renewAt = access, time.Time{}
	if life := lifetime(access); life > 0 {
		s.renewAt = s.now().Add(life - min(life/10, 30*time.Second))
	}
}

// lifetime reads how long a token was meant to live; 0 if it does not say.
func lifetime(token string) time.Duration {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct {
		IssuedAt float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.IssuedAt == 0 {
		return 0
	}
	return max(0, time.Duration(claims.Expires-claims.IssuedAt)*time.Second)
}
