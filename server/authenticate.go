package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

const codeNotValid = "token_not_valid"

var errNoCredentials = unauthorized(detail{Detail: "Authentication credentials were not provided."})

// A credential is what a request shows of who sends it, as far as that can be checked without the
// database: a token that was signed here, or an API key.
type credential struct {
	claims auth.Claims
	key    string
	hashes [][]byte // of the key
}

// id names the credential, and not in plain text.
func (c credential) id() string {
	if c.key != "" {
		return "key " + string(c.hashes[0])
	}
	return "token " + c.claims.UserID.String() + " " + strconv.Itoa(c.claims.Version)
}

// credential reads Authorization or, on event operations, X-API-Key.
func (s *Server) credential(header http.Header, item *pathItem) (credential, error) {
	// A header given twice is read as one with a comma, which is no credential: whoever stands in front of
	// this server may look at the other one.
	if parts := strings.Fields(strings.Join(header.Values("Authorization"), ",")); len(parts) > 0 {
		if !strings.EqualFold(parts[0], "Bearer") {
			return credential{}, errNoCredentials
		}
		if len(parts) != 2 {
			return credential{}, unauthorized(detail{Detail: "Authorization header must contain two space-delimited values", Code: "bad_authorization_header"})
		}
		claims, err := s.tokens.Verify(parts[1], auth.AccessToken)
		if err != nil {
			return credential{}, tokenProblem(err)
		}
		return credential{claims: claims}, nil
	}
	if key := strings.Join(header.Values("X-API-Key"), ","); key != "" && item.apiKeys {
		return credential{key: key, hashes: s.keys.Hashes(key)}, nil
	}
	return credential{}, errNoCredentials
}

// authenticate finds out whose credential it is and, in the same statement, counts the call under its rate
// limits. Whatever a token says of its user beside who it is, the database knows better: roles, hospital and
// whether the account is active are read each time.
func (s *Server) authenticate(ctx context.Context, r *request, limit string) (auth.Principal, []allowance, error) {
	if r.credential.key != "" {
		return s.authenticateKey(ctx, r, limit)
	}
	return s.authenticateToken(ctx, r, limit)
}

func (s *Server) authenticateToken(ctx context.Context, r *request, limit string) (auth.Principal, []allowance, error) {
	claims := r.credential.claims
	charges := s.limiter.charges(r, limit, auth.Principal{Kind: auth.KindUser, UserID: claims.UserID})
	ask := s.limiter.question(charges)
	var row db.UserPrincipalRow
	err := s.db.Read(ctx, func(q *db.Queries) (err error) {
		row, err = q.UserPrincipal(ctx, db.UserPrincipalParams{
			ID: claims.UserID, TokenVersion: int32(claims.Version), MembersOnly: r.operation != nil && auth.MembersOnly(r.operation.permission),
			Keys: ask.keys, Costs: ask.costs, Quotas: ask.quotas, WindowsUs: ask.windowsUs,
		})
		return err
	})
	switch {
	case queries.NoRows(err):
		return auth.Principal{}, nil, errUserGone
	case err != nil:
		return auth.Principal{}, nil, err
	case !row.IsActive:
		return auth.Principal{}, nil, unauthorized(detail{Detail: "User is inactive", Code: "user_inactive"})
	case int(row.TokenVersion) != claims.Version:
		return auth.Principal{}, nil, tokenProblem(auth.ErrTokenInvalid)
	}
	return principalOf(row), ask.answer(charges, row.Limits), nil
}

func principalOf(row db.UserPrincipalRow) auth.Principal {
	return auth.Principal{
		Kind: auth.KindUser, UserID: row.ID, Username: row.Username, Hospital: row.Hospital, Department: row.Department,
		Roles: row.Roles, TokenVersion: int(row.TokenVersion),
	}
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

func (s *Server) authenticateKey(ctx context.Context, r *request, limit string) (auth.Principal, []allowance, error) {
	who := r.credential
	// Whom the limits are about will be known with the answer.
	ask := s.limiter.question(s.limiter.charges(r, limit, auth.Principal{Kind: auth.KindAPIKey}))
	var row db.ConfigPrincipalRow
	err := s.db.Read(ctx, func(q *db.Queries) (err error) {
		row, err = q.ConfigPrincipal(ctx, db.ConfigPrincipalParams{
			Hash: who.hashes[0], PreviousHash: who.hashes[len(who.hashes)-1], Policies: ask.policies, Costs: ask.costs, Quotas: ask.quotas, WindowsUs: ask.windowsUs,
		})
		return err
	})
	switch {
	case queries.NoRows(err), err == nil && !s.keys.Matches(who.key, row.APIKeyHash):
		return auth.Principal{}, nil, unauthorized(detail{Detail: "Invalid API key."})
	case err != nil:
		return auth.Principal{}, nil, err
	}
	p := auth.Principal{
		Kind: auth.KindAPIKey, ConfigID: row.ID, Username: row.Name, SourceSystem: row.SourceSystem, Hospital: row.Hospital,
	}
	return p, ask.answer(s.limiter.charges(r, limit, p), row.Limits), nil
}
