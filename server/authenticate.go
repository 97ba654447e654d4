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
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

const codeNotValid = "token_not_valid"

var errNoCredentials = problem.Unauthorized(problem.Detail{Detail: "Authentication credentials were not provided."})

// A credential is what a request shows of who sends it, as far as that can be checked without the database: a token
// that was signed here, or an API key.
type credential struct {
	claims auth.Claims
	key    string
	hashes [][]byte // of the key
}

// id names the credential without showing it.
func (c credential) id() string {
	if c.key != "" {
		return "key " + string(c.hashes[0])
	}
	return "token " + c.claims.UserID.String() + " " + strconv.Itoa(c.claims.Version)
}

// credential reads Authorization or, on event operations, X-API-Key.
func (s *Server) credential(header http.Header, path *contract.Path) (credential, error) {
	// A header that is given twice is read as one with a comma, which is no credential: a proxy in front of this server
	// may look at the other one.
	if parts := strings.Fields(strings.Join(header.Values("Authorization"), ",")); len(parts) > 0 {
		if !strings.EqualFold(parts[0], "Bearer") {
			return credential{}, errNoCredentials
		}
		if len(parts) != 2 {
			return credential{}, problem.Unauthorized(problem.Detail{Detail: "Authorization header must contain two space-delimited values", Code: "bad_authorization_header"})
		}
		claims, err := s.tokens.Verify(parts[1], auth.AccessToken)
		if err != nil {
			return credential{}, tokenProblem(err)
		}
		return credential{claims: claims}, nil
	}
	if key := strings.Join(header.Values("X-API-Key"), ","); key != "" && path.APIKeys {
		return credential{key: key, hashes: s.keys.Hashes(key)}, nil
	}
	return credential{}, errNoCredentials
}

// authenticateToken loads the user of a token and, in the same statement, counts the call under its rate limits; the
// statement fills in the hospital, which is known only with the answer.
// Whatever a token says of its user beside who it is, the database knows better: roles, hospital and whether the
// account is active are read each time.
func (a *admission) authenticateToken(charged func(auth.Principal) []limits.Charge) (auth.Principal, limits.Decision, error) {
	claims, ctx := a.credential.claims, a.c.Request().Context()
	ask := a.server.rates.AskInHospital(charged(auth.Principal{Kind: auth.KindUser, UserID: claims.UserID}))
	var rule auth.Rule // of events, whose limits are shared
	takesEvents := a.operation != nil && a.operation.TakesEvents()
	if takesEvents {
		rule = a.operation.Permission
	}
	row, err := userPrincipal(ctx, a.server.engine.db, db.UserPrincipalParams{
		ID: claims.UserID, TokenVersion: int32(claims.Version), MembersOnly: rule.MembersOnly(), MemberRoles: rule.Roles,
		Keys: ask.Keys, Numbers: ask.Numbers, OfHospital: takesEvents,
	})
	switch {
	case queries.NoRows(err):
		return auth.Principal{}, limits.Decision{}, errUserGone
	case err != nil:
		return auth.Principal{}, limits.Decision{}, err
	case !row.IsActive:
		return auth.Principal{}, limits.Decision{}, problem.Unauthorized(problem.Detail{Detail: "User is inactive", Code: "user_inactive"})
	case int(row.TokenVersion) != claims.Version:
		return auth.Principal{}, limits.Decision{}, tokenProblem(auth.ErrTokenInvalid)
	}
	p := principalOf(row)
	return p, a.server.rates.Decide(ask, charged(p), row.Limits), nil
}

func userPrincipal(ctx context.Context, database *queries.DB, arg db.UserPrincipalParams) (row db.UserPrincipalRow, err error) {
	err = database.Read(ctx, func(q *db.Queries) error {
		row, err = q.UserPrincipal(ctx, arg)
		return err
	})
	return row, err
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
		return problem.Unauthorized(problem.Detail{Detail: bad.Message, Code: codeNotValid})
	}
	return problem.Unauthorized(problem.Detail{Detail: "Given token not valid for any token type", Code: codeNotValid,
		Messages: []problem.TokenMessage{{TokenClass: "AccessToken", TokenType: "access", Message: bad.Message}}})
}

// authenticateKey does the same for an API key. Whom the limits are about, the config and its source system, is known
// only with the answer: the statement fills it in.
func (a *admission) authenticateKey(charged func(auth.Principal) []limits.Charge) (auth.Principal, limits.Decision, error) {
	who, ctx := a.credential, a.c.Request().Context()
	ask := a.server.rates.Ask(charged(auth.Principal{Kind: auth.KindAPIKey}))
	var row db.ConfigPrincipalRow
	err := a.server.engine.db.Read(ctx, func(q *db.Queries) (err error) {
		row, err = q.ConfigPrincipal(ctx, db.ConfigPrincipalParams{
			Hash: who.hashes[0], PreviousHash: who.hashes[len(who.hashes)-1], Policies: ask.Policies, Numbers: ask.Numbers,
		})
		return err
	})
	switch {
	case queries.NoRows(err), err == nil && !a.server.keys.Matches(who.key, row.APIKeyHash):
		return auth.Principal{}, limits.Decision{}, a.wrongKey()
	case err != nil:
		return auth.Principal{}, limits.Decision{}, err
	}
	p := auth.Principal{
		Kind: auth.KindAPIKey, ConfigID: row.ID, Username: row.Name, SourceSystem: row.SourceSystem, Hospital: row.Hospital, Hospitals: row.Hospitals,
	}
	return p, a.server.rates.Decide(ask, charged(p), row.Limits), nil
}
