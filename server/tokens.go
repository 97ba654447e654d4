package server

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// errLogin is the same for a user who does not exist, is inactive, or gave another password.
var errLogin = unauthorized(detail{Detail: "No active account found with the given credentials"})

func (s *Server) CreateToken(ctx context.Context, r api.CreateTokenRequestObject) (api.CreateTokenResponseObject, error) {
	var user db.UserForLoginRow
	var rehash bool
	ok, err := s.logins.attempt(ctx, r.Body.Username, func() (ok bool, err error) {
		err = s.db.Read(ctx, func(q *db.Queries) error {
			user, err = q.UserForLogin(ctx, r.Body.Username)
			return err
		})
		if err != nil && !queries.NoRows(err) {
			return false, err
		}
		// An unknown user's empty hash costs as much time as a real one.
		ok, rehash, err = s.checkPassword(ctx, user.Password, r.Body.Password)
		return ok && user.IsActive, err
	})
	switch {
	case err != nil:
		return nil, err
	case !ok:
		s.log.InfoContext(ctx, "login refused", "request_id", requestOf(ctx).id, "ip", requestOf(ctx).clientIP)
		return nil, errLogin
	}
	login := db.UserLoggedInParams{ID: user.ID, TokenVersion: user.TokenVersion}
	if rehash {
		hash, err := s.passwords.Hash(ctx, r.Body.Password)
		if err != nil {
			return nil, err
		}
		login.Password = &hash
	}
	if err := s.db.Read(ctx, func(q *db.Queries) error { return q.UserLoggedIn(ctx, login) }); err != nil {
		return nil, err
	}
	access, refresh, err := s.tokens.Issue(user.ID, int(user.TokenVersion))
	return api.CreateToken200JSONResponse{Access: access, Refresh: refresh}, err
}

// checkPassword compares a password with a stored hash. What is too long to be one, and a hash that
// nobody can read, are no match.
func (s *Server) checkPassword(ctx context.Context, stored, password string) (ok, rehash bool, err error) {
	ok, rehash, err = s.passwords.Check(ctx, stored, password)
	switch err {
	case auth.ErrMalformedHash:
		s.log.WarnContext(ctx, "a stored password cannot be read", "request_id", requestOf(ctx).id)
		return false, false, nil
	case auth.ErrTooLong:
		return false, false, nil
	}
	return ok, rehash, err
}

func (s *Server) RefreshToken(ctx context.Context, r api.RefreshTokenRequestObject) (api.RefreshTokenResponseObject, error) {
	claims, err := s.current(ctx, r.Body.Refresh, auth.RefreshToken)
	switch {
	case err != nil:
		return nil, err
	case s.rotateRefresh:
		return s.rotate(ctx, claims)
	}
	access, err := s.tokens.IssueAccess(claims.UserID, claims.Version)
	return api.RefreshToken200JSONResponse{Access: access}, err
}

// rotate uses a refresh token up and answers with the next. When one is used again, it and what followed from
// it are in two hands, one of which stole it. Nobody can tell whose is whose, so all tokens of the user end
// (RFC 9700, section 4.14.2).
func (s *Server) rotate(ctx context.Context, claims auth.Claims) (api.RefreshTokenResponseObject, error) {
	use := db.RefreshTokenUseParams{TokenID: claims.ID, UsedBy: newID(), ExpiresAt: claims.ExpiresAt}
	var used uuid.UUID
	err := again(ctx, func() error {
		return s.db.Read(ctx, func(q *db.Queries) (err error) {
			used, err = q.RefreshTokenUse(ctx, use)
			return err
		})
	})
	switch {
	case err != nil:
		return nil, err
	case used != use.UsedBy:
		s.log.WarnContext(ctx, "a refresh token was used again", "request_id", requestOf(ctx).id, "caller", requestOf(ctx).caller(), "ip", requestOf(ctx).clientIP)
		if err := s.endTokens(ctx, claims); err != nil {
			return nil, err
		}
		return nil, errTokenUsed
	}
	access, refresh, err := s.tokens.Issue(claims.UserID, claims.Version)
	return api.RefreshToken200JSONResponse{Access: access, Refresh: &refresh}, err
}

// errTokenUsed is what SimpleJWT says of a refresh token that rotation has used up.
var errTokenUsed = unauthorized(detail{Detail: "Token is blacklisted", Code: codeNotValid})

func (s *Server) VerifyToken(ctx context.Context, r api.VerifyTokenRequestObject) (api.VerifyTokenResponseObject, error) {
	claims, err := s.current(ctx, r.Body.Token, auth.AnyToken)
	if err != nil || !s.rotateRefresh || claims.Type != auth.RefreshToken {
		return api.VerifyToken200JSONResponse{}, err
	}
	var used bool
	err = s.db.Read(ctx, func(q *db.Queries) (err error) {
		used, err = q.RefreshTokenUsed(ctx, claims.ID)
		return err
	})
	if err == nil && used {
		err = errTokenUsed
	}
	return api.VerifyToken200JSONResponse{}, err
}

func (s *Server) BlacklistToken(ctx context.Context, r api.BlacklistTokenRequestObject) (api.BlacklistTokenResponseObject, error) {
	claims, err := s.current(ctx, r.Body.Refresh, auth.RefreshToken)
	if err != nil {
		return nil, err
	}
	return api.BlacklistToken200JSONResponse{}, s.endTokens(ctx, claims)
}

// errEnded keeps endTokens from writing an entry about nothing.
var errEnded = errors.New("ended already")

// endTokens ends the token, and every other that was issued to its user so far. When another request is doing
// so at the same time, nothing is left to end.
func (s *Server) endTokens(ctx context.Context, claims auth.Claims) error {
	version := int32(claims.Version)
	err := s.change(ctx, func(q *db.Queries, record *audit) error {
		record.object("user", claims.UserID, requestOf(ctx).principal.Hospital, []string{"token_version"})
		ended, err := q.UserEndTokens(ctx, db.UserEndTokensParams{ID: claims.UserID, TokenVersion: &version})
		if err == nil && ended == 0 {
			err = errEnded
		}
		return err
	})
	if err == errEnded {
		return nil
	}
	return err
}

// current verifies a token from a body and asks whether its user still lets it count. That user is then who
// makes the request.
func (s *Server) current(ctx context.Context, token string, wanted auth.TokenType) (auth.Claims, error) {
	claims, err := s.tokens.Verify(token, wanted)
	if err != nil {
		return claims, unauthorized(detail{Detail: err.Error(), Code: codeNotValid})
	}
	var user db.UserPrincipalRow
	err = s.db.Read(ctx, func(q *db.Queries) error {
		user, err = q.UserPrincipal(ctx, db.UserPrincipalParams{ID: claims.UserID})
		return err
	})
	switch {
	case queries.NoRows(err), err == nil && !user.IsActive:
		return claims, unauthorized(detail{Detail: "No active account found for the given token."})
	case err == nil && int(user.TokenVersion) != claims.Version:
		return claims, unauthorized(detail{Detail: auth.ErrTokenInvalid.Message, Code: codeNotValid})
	}
	if err == nil {
		requestOf(ctx).principal = principalOf(user)
	}
	return claims, err
}
