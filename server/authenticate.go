package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

const codeNotValid = "token_not_valid"

var errNoCredentials = unauthorized(detail{Detail: "Authentication credentials were not provided."})

// authenticate finds out who sends a request, from Authorization or, on event operations,
// from X-API-Key. Whatever a token says of its user beside who it is, the database knows
// better: roles, hospital and whether the account is active are read each time.
func (s *Server) authenticate(ctx context.Context, header http.Header, item *pathItem) (auth.Principal, error) {
	if parts := strings.Fields(header.Get("Authorization")); len(parts) > 0 {
		if !strings.EqualFold(parts[0], "Bearer") {
			return auth.Principal{}, errNoCredentials
		}
		if len(parts) != 2 {
			return auth.Principal{}, unauthorized(detail{Detail: "Authorization header must contain two space-delimited values", Code: "bad_authorization_header"})
		}
		return s.authenticateToken(ctx, parts[1])
	}
	if key := header.Get("X-API-Key"); key != "" && item.apiKeys {
		return s.authenticateKey(ctx, key)
	}
	return auth.Principal{}, errNoCredentials
}

func (s *Server) authenticateToken(ctx context.Context, token string) (auth.Principal, error) {
	claims, err := s.tokens.Verify(token, auth.AccessToken)
	if err != nil {
		return auth.Principal{}, tokenProblem(err)
	}
	var row db.UserPrincipalRow
	err = s.db.Read(ctx, func(q *db.Queries) error {
		row, err = q.UserPrincipal(ctx, claims.UserID)
		return err
	})
	switch {
	case queries.NoRows(err):
		return auth.Principal{}, unauthorized(detail{Detail: "User not found", Code: "user_not_found"})
	case err != nil:
		return auth.Principal{}, err
	case !row.IsActive:
		return auth.Principal{}, unauthorized(detail{Detail: "User is inactive", Code: "user_inactive"})
	case int(row.TokenVersion) != claims.Version:
		return auth.Principal{}, tokenProblem(auth.ErrTokenInvalid)
	}
	return auth.Principal{
		Kind: auth.KindUser, UserID: row.ID, Username: row.Username, Hospital: row.Hospital, Department: row.Department,
		Roles: row.Roles, TokenVersion: int(row.TokenVersion),
	}, nil
}

// tokenProblem is the answer to a bad token in the Authorization header.
func tokenProblem(err error) error {
	var bad *auth.TokenError
	if !errors.As(err, &bad) {
		return err
	}
	if bad == auth.ErrTokenNoUser {
		return unauthorized(detail{Detail: bad.Message, Code: codeNotValid})
	}
	return unauthorized(detail{Detail: "Given token not valid for any token type", Code: codeNotValid,
		Messages: []tokenMessage{{TokenClass: "AccessToken", TokenType: "access", Message: bad.Message}}})
}

func (s *Server) authenticateKey(ctx context.Context, key string) (auth.Principal, error) {
	var row db.ConfigPrincipalRow
	err := s.db.Read(ctx, func(q *db.Queries) (err error) {
		row, err = q.ConfigPrincipal(ctx, s.keys.Hashes(key))
		return err
	})
	if queries.NoRows(err) || err == nil && !s.keys.Matches(key, row.APIKeyHash) {
		return auth.Principal{}, unauthorized(detail{Detail: "Invalid API key."})
	}
	return auth.Principal{Kind: auth.KindAPIKey, ConfigID: row.ID, Username: row.Name, SourceSystem: row.SourceSystem, Hospital: row.Hospital}, err
}
