package server

import (
	"context"
	"errors"
	"log/slog"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// tokenOperations are how a client proves who it is.
type tokenOperations struct {
	engine        *engine
	log           *slog.Logger
	tokens        *auth.Tokens
	rotateRefresh bool
	passwords     *passwords
	logins        *limits.Logins
}

// errLogin is the same for a user who does not exist, is inactive, or gave another password.
var errLogin = problem.Unauthorized(problem.Detail{Detail: "No active account found with the given credentials"})

// errTokenUsed is what SimpleJWT says of a refresh token that rotation has used up.
var errTokenUsed = problem.Unauthorized(problem.Detail{Detail: "Token is blacklisted", Code: codeNotValid})

// loginOf is an attempt to log in as the user with this name. It gives its place back while it waits.
func loginOf(ctx context.Context, name string) limits.Login {
	r := requestOf(ctx)
	return limits.Login{Name: name, Address: limits.ClientAddress(r.clientIP), Pause: r.place.pause}
}

// CreateToken exchanges a username and a password for tokens.
func (o tokenOperations) CreateToken(ctx context.Context, body api.TokenRequest) (answer api.TokenPair, err error) {
	var user db.UserForLoginRow
	var rehash bool
	ok, err := o.logins.Attempt(ctx, loginOf(ctx, body.Username), func() (ok bool, err error) {
		err = o.engine.db.Read(ctx, func(q *db.Queries) error {
			user, err = q.UserForLogin(ctx, body.Username)
			return err
		})
		if err != nil && !queries.NoRows(err) {
			return false, err
		}
		// An unknown user's empty hash costs as much time as a real one.
		ok, rehash, err = o.passwords.check(ctx, user.Password, body.Password)
		return ok && user.IsActive, err
	})
	switch {
	case err != nil:
		return answer, err
	case !ok:
		o.log.InfoContext(ctx, "login refused", "request_id", requestOf(ctx).id, "ip", requestOf(ctx).clientIP)
		return answer, errLogin
	}
	login := db.UserLoggedInParams{ID: user.ID, TokenVersion: user.TokenVersion}
	if rehash {
		hash, err := o.passwords.hash(ctx, body.Password)
		if err != nil {
			return answer, err
		}
		login.Password = &hash
	}
	if err := o.engine.db.Read(ctx, func(q *db.Queries) error { return q.UserLoggedIn(ctx, login) }); err != nil {
		return answer, err
	}
	answer.Access, answer.Refresh, err = o.tokens.Issue(user.ID, int(user.TokenVersion))
	return answer, err
}

// RefreshToken exchanges a refresh token for an access token and, where refresh tokens are rotated, for the next.
func (o tokenOperations) RefreshToken(ctx context.Context, body api.TokenRefreshRequest) (answer api.AccessToken, err error) {
	owner, claims, err := o.tokenOwner(ctx, body.Refresh, auth.RefreshToken)
	switch {
	case err != nil:
		return answer, err
	case o.rotateRefresh:
		return o.rotate(ctx, owner, claims)
	}
	answer.Access, err = o.tokens.IssueAccess(claims.UserID, claims.Version)
	return answer, err
}

// rotate uses a refresh token up and answers with the next. A second use means that the token was stolen, from one or
// by the other. Nobody can tell which is which, so all tokens of the user are revoked (RFC 9700, section 4.14.2).
func (o tokenOperations) rotate(ctx context.Context, owner auth.Principal, claims auth.Claims) (answer api.AccessToken, err error) {
	use := db.RefreshTokenUseParams{TokenID: claims.ID, UsedBy: newID(), ExpiresAt: claims.ExpiresAt}
	var used uuid.UUID
	err = queries.RetryIdempotent(ctx, func() error {
		return o.engine.db.Read(ctx, func(q *db.Queries) (err error) {
			used, err = q.RefreshTokenUse(ctx, use)
			return err
		})
	})
	switch {
	case err != nil:
		return answer, err
	case used != use.UsedBy:
		o.log.WarnContext(ctx, "a refresh token was used again", "request_id", requestOf(ctx).id, "caller", owner.Username, "ip", requestOf(ctx).clientIP)
		if err := o.endTokens(ctx, owner, claims); err != nil {
			return answer, err
		}
		return answer, errTokenUsed
	}
	access, refresh, err := o.tokens.Issue(claims.UserID, claims.Version)
	return api.AccessToken{Access: access, Refresh: &refresh}, err
}

// VerifyToken tells whether a token is valid.
func (o tokenOperations) VerifyToken(ctx context.Context, body api.TokenVerifyRequest) (answer api.Empty, err error) {
	_, claims, err := o.tokenOwner(ctx, body.Token, auth.AnyToken)
	if err != nil || !o.rotateRefresh || claims.Type != auth.RefreshToken {
		return answer, err
	}
	var used bool
	err = o.engine.db.Read(ctx, func(q *db.Queries) (err error) {
		used, err = q.RefreshTokenUsed(ctx, claims.ID)
		return err
	})
	if err == nil && used {
		err = errTokenUsed
	}
	return answer, err
}

// BlacklistToken logs out the user of a refresh token.
func (o tokenOperations) BlacklistToken(ctx context.Context, body api.TokenRefreshRequest) (answer api.Empty, err error) {
	owner, claims, err := o.tokenOwner(ctx, body.Refresh, auth.RefreshToken)
	if err != nil {
		return answer, err
	}
	return answer, o.endTokens(ctx, owner, claims)
}

// errAlreadyEnded rolls endTokens back when it changed nothing, so that there is no audit entry.
var errAlreadyEnded = errors.New("the tokens are revoked already")

// endTokens revokes the token and every other that was issued to its user so far. When another request does so at the
// same time, nothing is left to revoke.
func (o tokenOperations) endTokens(ctx context.Context, owner auth.Principal, claims auth.Claims) error {
	version := int32(claims.Version)
	err := o.engine.changeAs(ctx, owner, func(q *db.Queries) (auditEntry, error) {
		ended, err := q.UserEndTokens(ctx, db.UserEndTokensParams{ID: claims.UserID, TokenVersion: &version})
		if err == nil && ended == 0 {
			err = errAlreadyEnded
		}
		return auditEntry{"user", claims.UserID, owner.Hospital, []string{"token_version"}}, err
	})
	if errors.Is(err, errAlreadyEnded) {
		return nil
	}
	return err
}

// tokenOwner verifies a token from a body and loads its user, in whose name the request then acts.
func (o tokenOperations) tokenOwner(ctx context.Context, token string, wanted auth.TokenType) (auth.Principal, auth.Claims, error) {
	claims, err := o.tokens.Verify(token, wanted)
	if err != nil {
		return auth.Principal{}, claims, problem.Unauthorized(problem.Detail{Detail: err.Error(), Code: codeNotValid})
	}
	user, err := userPrincipal(ctx, o.engine.db, db.UserPrincipalParams{ID: claims.UserID})
	switch {
	case queries.NoRows(err), err == nil && !user.IsActive:
		err = problem.Unauthorized(problem.Detail{Detail: "No active account found for the given token."})
	case err == nil && int(user.TokenVersion) != claims.Version:
		err = problem.Unauthorized(problem.Detail{Detail: auth.ErrTokenInvalid.Message, Code: codeNotValid})
	}
	if err != nil {
		return auth.Principal{}, claims, err
	}
	owner := principalOf(user)
	*requestOf(ctx).actor = owner
	return owner, claims, nil
}
