package tests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server"
)

const tokenPath = "/api/auth/token/"

// refresh, verify and logOut call the token operations, as nobody.

func (s *system) refresh(refresh string) reply[client.AccessToken] {
	s.t.Helper()
	return try(s.client().RefreshToken(context.Background(), client.TokenRefreshRequest{Refresh: refresh}))
}

func (s *system) verify(token string) error {
	s.t.Helper()
	return s.client().VerifyToken(context.Background(), client.TokenVerifyRequest{Token: token})
}

func (s *system) logOut(refresh string) error {
	s.t.Helper()
	return s.client().BlacklistToken(context.Background(), client.TokenRefreshRequest{Refresh: refresh})
}

// whoami tells whose a token is.
func (s *system) whoami(token string) reply[client.User] {
	s.t.Helper()
	return try(s.as(token).RetrieveMe(context.Background()))
}

func TestTokenLifecycle(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital, "Nurse"), t.Context()
	if last := try(c.px.RetrieveUser(ctx, p.id)).ok(t).LastLogin; last != nil {
		t.Errorf("before the first login the last one was at %v", last)
	}
	pair := try(c.client().CreateToken(ctx, client.TokenRequest{Username: p.username, Password: password})).ok(t)
	if me := c.whoami(pair.Access).ok(t); me.ID != p.id || me.LastLogin == nil {
		t.Errorf("the token is that of %s", jsonText(me))
	}
	renewed := c.refresh(pair.Refresh).ok(t).Access
	c.whoami(renewed).ok(t)
	for _, token := range []string{pair.Access, pair.Refresh, renewed} {
		if a := c.expect(t, 200, "POST", tokenPath+"verify/", "", fields{"token": token}); a.body != "{}" {
			t.Errorf("a valid token is answered with %s", a.body)
		}
	}
	if a := c.expect(t, 200, "POST", tokenPath+"blacklist/", "", fields{"refresh": pair.Refresh}); a.body != "{}" {
		t.Errorf("the logout is answered with %s", a.body)
	}
	// A logout revokes all tokens that were issued before.
	for _, token := range []string{pair.Access, renewed} {
		c.whoami(token).refused(t, 401)
		refused(t, c.verify(token), 401)
	}
	c.refresh(pair.Refresh).refused(t, 401)
	refused(t, c.logOut(pair.Refresh), 401)
	c.whoami(c.token(p.username, password)).ok(t)
}

func TestTokenTypes(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, deleted := c.person(c.hospital), c.tokensOf(person{id: uuid.New()}, 0)
	altered := p.access[:len(p.access)-1] + map[bool]string{true: "B", false: "A"}[p.access[len(p.access)-1] == 'A']
	for what, err := range map[string]error{
		"refresh by an access token":    c.refresh(p.access).err,
		"refresh by no token":           c.refresh("no token").err,
		"refresh of a deleted user":     c.refresh(deleted.refresh).err,
		"logout by an access token":     c.logOut(p.access),
		"verify no token":               c.verify("no.such.token"),
		"verify an altered token":       c.verify(altered),
		"verify that of a deleted user": c.verify(deleted.access),
	} {
		if e := refused(t, err, 401); e.Detail == "" || e.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %v", what, e)
		}
	}
	for _, token := range []string{p.refresh, altered, deleted.access, "no.such.token"} {
		c.whoami(token).refused(t, 401)
	}
	for header, want := range map[string]int{"Bearer " + p.access: 200, "bearer " + p.access: 200, "Basic " + p.access: 401, "Bearer": 401, "Bearer a b": 401} {
		c.expect(t, want, "GET", ownPath, "", nil, "Authorization", header)
	}
	for _, path := range []string{"", "refresh/", "verify/", "blacklist/"} {
		c.expect(t, 400, "POST", tokenPath+path, "", fields{})
	}
}

// With rotation, a refresh token can be used once: a second use means that it was stolen, and
// revokes all tokens of the user.
func TestRotatedRefreshTokens(t *testing.T) {
	t.Parallel()
	c := startServer(t, func(o *server.Options) { o.RotateRefresh = true }).clinic()
	p := c.person(c.hospital)
	must(t, c.verify(p.refresh))
	second := *c.refresh(p.refresh).ok(t).Refresh
	last := c.refresh(second).ok(t)
	access, third := last.Access, *last.Refresh
	for _, used := range []string{p.refresh, second} {
		if e := refused(t, c.verify(used), 401); e.Detail != "Token is blacklisted" || e.Code != "token_not_valid" {
			t.Errorf("a used refresh token is answered with %v", e)
		}
	}
	must(t, c.verify(third))
	c.whoami(access).ok(t)

	// All tokens of this user are revoked, those of others are not.
	if e := c.refresh(second).refused(t, 401); e.Detail != "Token is blacklisted" || e.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("the second use is answered with %v", e)
	}
	for _, token := range []string{access, p.access} {
		c.whoami(token).refused(t, 401)
	}
	c.refresh(third).refused(t, 401)
	c.refresh(second).refused(t, 401) // a third use revokes nothing more
	c.whoami(c.token(p.username, password)).ok(t)
	c.whoami(c.admin.access).ok(t)
	list := auditEntries(t, c.admin, client.ListAuditEntriesParams{Operation: client.Ptr("refreshToken")})
	if len(list) != 1 || list[0].ObjectID != p.id || !is(list[0].Actor, p.id) || fmt.Sprint(list[0].ChangedFields) != "[token_version]" {
		t.Errorf("the audit log has %s", jsonText(list))
	}
}

// Of concurrent uses of a refresh token one succeeds, and the others revoke all tokens.
func TestConcurrentRotation(t *testing.T) {
	t.Parallel()
	c := startServer(t, func(o *server.Options) { o.RotateRefresh = true }).clinic()
	p := c.person(c.hospital)
	var group sync.WaitGroup
	replies := make([]reply[client.AccessToken], 8)
	for i := range replies {
		group.Go(func() { replies[i] = c.refresh(p.refresh) })
	}
	group.Wait()
	good := 0
	for _, r := range replies {
		if r.err == nil {
			good++
			c.whoami(r.value.Access).refused(t, 401)
		} else {
			r.refused(t, 401)
		}
	}
	if good != 1 {
		t.Errorf("%d of 8 uses of one refresh token succeeded, want 1", good)
	}
	if version := value[int](c.system, "SELECT token_version FROM users WHERE id = $1", p.id); version != 1 {
		t.Errorf("the tokens were revoked %d times, want once", version)
	}
	if list := auditEntries(t, c.admin, client.ListAuditEntriesParams{Operation: client.Ptr("refreshToken")}); len(list) != 1 {
		t.Errorf("the audit log has %s", jsonText(list))
	}
}

// A use whose COMMIT answer was lost is retried, and does not count as a second use.
func TestRotationWhenTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	rotating := func(o *server.Options) { o.RotateRefresh = true }
	s := startServer(t, rotating)
	p := s.person(uuid.Nil)
	behind, proxy := s.behindDropProxy(rotating)
	proxy.dropCommits(tokenID(t, p.refresh), 1)
	next := behind.refresh(p.refresh).ok(t)
	if proxy.dropCount() != 1 {
		t.Fatal("no connection was dropped")
	}
	for _, access := range []string{p.access, next.Access} {
		s.whoami(access).ok(t)
	}
	s.refresh(*next.Refresh).ok(t)
}

// tokenID is the jti claim of a token.
func tokenID(t *testing.T, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	var claims struct{ JTI string }
	must(t, json.Unmarshal(payload, &claims))
	return claims.JTI
}

// Used refresh tokens are deleted once they have expired on every server, allowing for clock skew.
func TestUsedRefreshTokensExpire(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec("INSERT INTO used_refresh_tokens SELECT 'old-' || i, uuid7(), now() - interval '61 minutes' FROM generate_series(1, 10) i")
	s.exec("INSERT INTO used_refresh_tokens VALUES ('new', uuid7(), now() - interval '59 minutes')")
	q := db.New(s.db)
	for _, want := range []int64{7, 3, 0} {
		if got, err := q.RefreshTokenExpire(context.Background(), 7); err != nil || got != want {
			t.Errorf("%d deleted, %v, want %d", got, err, want)
		}
	}
	if used, err := q.RefreshTokenUsed(context.Background(), "new"); err != nil || !used {
		t.Errorf("a token that has not expired was deleted: %v", err)
	}
}

// A logout is audited.
func TestLogoutIsAudited(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital)
	must(t, c.logOut(p.refresh))
	list := auditEntries(t, c.admin, client.ListAuditEntriesParams{Operation: client.Ptr("blacklistToken")})
	if len(list) != 1 || list[0].ObjectID != p.id || list[0].ActorName != p.username || !is(list[0].Hospital, c.hospital) {
		t.Errorf("the audit log has %s", jsonText(list))
	}
}

// The answer to wrong credentials reveals neither whether the user exists nor whether they are
// active.
func TestWrongCredentialsAreIndistinguishable(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, inactive := c.person(c.hospital), c.person(c.hospital)
	c.exec("UPDATE users SET is_active = false WHERE id = $1", inactive.id)
	var first answer
	for i, credentials := range []fields{
		{"username": p.username, "password": "wrong"},
		{"username": "nobody", "password": password},
		{"username": inactive.username, "password": password},
		{"username": inactive.username, "password": "wrong"},
	} {
		a := c.expect(t, 401, "POST", tokenPath, "", credentials)
		if i == 0 {
			first = a
		}
		if withoutIDs(a) != withoutIDs(first) {
			t.Errorf("%v is answered with %s, a wrong password with %s", credentials, withoutIDs(a), withoutIDs(first))
		}
	}
	if first.json()["detail"] != "No active account found with the given credentials" {
		t.Errorf("the answer is %s", first.body)
	}
}

// Roles are read at each request; they are not in the token.
func TestRoleChangesApplyAtOnce(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital), t.Context()
	body := client.DepartmentCreate{Name: "Lab", Code: "LAB", Hospital: c.hospital}
	try(p.CreateDepartment(ctx, body)).refused(t, 403)
	try(c.px.AssignRole(ctx, p.id, c.roleCalled("Hospital Admin"))).ok(t)
	try(p.CreateDepartment(ctx, body)).ok(t)
	try(c.px.UpdateUser(ctx, p.id, client.UserUpdate{Hospital: client.Value(c.clinic().hospital)})).ok(t)
	if list := try(p.ListDepartments(ctx, nil)).ok(t); list.Count != 0 {
		t.Errorf("after moving to another hospital the user sees %s", jsonText(list))
	}
}

// The log names the user of a token in the body, though the request itself is anonymous.
func TestTokenOperationsAreLoggedWithTheirUser(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	pair := try(s.client().CreateToken(t.Context(), client.TokenRequest{Username: adminName, Password: adminPassword})).ok(t)
	s.refresh(pair.Refresh).ok(t)
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"path":"/api/auth/token/refresh/"`) && strings.Contains(line, `"caller":"`+adminName+`"`) {
			return
		}
	}
	t.Errorf("no line of the log has the path and the caller:\n%s", s.log)
}
