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

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server"
)

const tokenPath = "/api/auth/token/"

func TestTokenLifecycle(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital, "Nurse")
	if last := c.expect(t, 200, "GET", userPath(p.id), c.px, nil).json()["last_login"]; last != nil {
		t.Errorf("before the first login the last one was at %v", last)
	}
	pair := c.expect(t, 200, "POST", tokenPath, "", fields{"username": p.username, "password": password}).json()
	access, refresh := pair["access"].(string), pair["refresh"].(string)
	if me := c.expect(t, 200, "GET", "/api/auth/users/me/", access, nil).json(); me["id"] != p.id.String() || me["last_login"] == nil {
		t.Errorf("the token is that of %v", me)
	}
	renewed := c.expect(t, 200, "POST", tokenPath+"refresh/", "", fields{"refresh": refresh}).json()["access"].(string)
	c.expect(t, 200, "GET", "/api/auth/users/me/", renewed, nil)
	for _, token := range []string{access, refresh, renewed} {
		if a := c.expect(t, 200, "POST", tokenPath+"verify/", "", fields{"token": token}); a.body != "{}" {
			t.Errorf("a valid token is answered with %s", a.body)
		}
	}
	if a := c.expect(t, 200, "POST", tokenPath+"blacklist/", "", fields{"refresh": refresh}); a.body != "{}" {
		t.Errorf("the logout is answered with %s", a.body)
	}
	// A logout revokes all tokens that were issued before.
	for _, token := range []string{access, renewed} {
		c.expect(t, 401, "GET", "/api/auth/users/me/", token, nil)
		c.expect(t, 401, "POST", tokenPath+"verify/", "", fields{"token": token})
	}
	c.expect(t, 401, "POST", tokenPath+"refresh/", "", fields{"refresh": refresh})
	c.expect(t, 401, "POST", tokenPath+"blacklist/", "", fields{"refresh": refresh})
	c.expect(t, 200, "GET", "/api/auth/users/me/", c.token(p.username, password), nil)
}

func TestTokenTypes(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, deleted := c.person(c.hospital), c.tokensOf(person{id: uuid.New()}, 0)
	altered := p.access[:len(p.access)-1] + map[bool]string{true: "B", false: "A"}[p.access[len(p.access)-1] == 'A']
	for _, test := range []struct {
		path string
		body fields
	}{
		{"refresh/", fields{"refresh": p.access}},
		{"refresh/", fields{"refresh": "no token"}},
		{"refresh/", fields{"refresh": deleted.refresh}},
		{"blacklist/", fields{"refresh": p.access}},
		{"verify/", fields{"token": "no.such.token"}},
		{"verify/", fields{"token": altered}},
		{"verify/", fields{"token": deleted.access}},
	} {
		a := c.expect(t, 401, "POST", tokenPath+test.path, "", test.body)
		if a.json()["detail"] == nil || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s %v: %s", test.path, test.body, a.body)
		}
	}
	for _, token := range []string{p.refresh, altered, deleted.access, "no.such.token"} {
		c.expect(t, 401, "GET", "/api/auth/users/me/", token, nil)
	}
	for header, want := range map[string]int{"Bearer " + p.access: 200, "bearer " + p.access: 200, "Basic " + p.access: 401, "Bearer": 401, "Bearer a b": 401} {
		c.expect(t, want, "GET", "/api/auth/users/me/", "", nil, "Authorization", header)
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
	use := func(want int, refresh string) (string, string) {
		t.Helper()
		pair := c.expect(t, want, "POST", tokenPath+"refresh/", "", fields{"refresh": refresh}).json()
		access, _ := pair["access"].(string)
		next, _ := pair["refresh"].(string)
		return access, next
	}
	verify := func(want int, token string) answer {
		t.Helper()
		return c.expect(t, want, "POST", tokenPath+"verify/", "", fields{"token": token})
	}
	verify(200, p.refresh)
	_, second := use(200, p.refresh)
	access, third := use(200, second)
	for _, used := range []string{p.refresh, second} {
		if a := verify(401, used); a.json()["detail"] != "Token is blacklisted" || a.json()["code"] != "token_not_valid" {
			t.Errorf("a used refresh token is answered with %s", a.body)
		}
	}
	verify(200, third)
	c.expect(t, 200, "GET", ownPath, access, nil)

	// All tokens of this user are revoked, those of others are not.
	a := c.expect(t, 401, "POST", tokenPath+"refresh/", "", fields{"refresh": second})
	if a.json()["detail"] != "Token is blacklisted" || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("the second use is answered with %s", a.body)
	}
	for _, token := range []string{access, p.access} {
		c.expect(t, 401, "GET", ownPath, token, nil)
	}
	use(401, third)
	use(401, second) // a third use revokes nothing more
	c.expect(t, 200, "GET", ownPath, c.token(p.username, password), nil)
	c.expect(t, 200, "GET", ownPath, c.admin.access, nil)
	list := c.entries(c.admin.access, "?operation=refreshToken")
	if len(list) != 1 || list[0]["object_id"] != p.id.String() || list[0]["actor"] != p.id.String() || fmt.Sprint(list[0]["changed_fields"]) != "[token_version]" {
		t.Errorf("the audit log has %v", list)
	}
}

// Of concurrent uses of a refresh token one succeeds, and the others revoke all tokens.
func TestConcurrentRotation(t *testing.T) {
	t.Parallel()
	c := startServer(t, func(o *server.Options) { o.RotateRefresh = true }).clinic()
	p := c.person(c.hospital)
	var group sync.WaitGroup
	answers := make([]answer, 8)
	for i := range answers {
		group.Go(func() { answers[i] = c.send("POST", tokenPath+"refresh/", "", fields{"refresh": p.refresh}) })
	}
	group.Wait()
	good := 0
	for _, a := range answers {
		if a.status == 200 {
			good++
			c.expect(t, 401, "GET", ownPath, a.json()["access"].(string), nil)
		} else if a.status != 401 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if good != 1 {
		t.Errorf("%d of 8 uses of one refresh token succeeded, want 1", good)
	}
	if version := value[int](c.system, "SELECT token_version FROM users WHERE id = $1", p.id); version != 1 {
		t.Errorf("the tokens were revoked %d times, want once", version)
	}
	if list := c.entries(c.admin.access, "?operation=refreshToken"); len(list) != 1 {
		t.Errorf("the audit log has %v", list)
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
	next := behind.expect(t, 200, "POST", tokenPath+"refresh/", "", fields{"refresh": p.refresh}).json()
	if proxy.dropCount() != 1 {
		t.Fatal("no connection was dropped")
	}
	for _, access := range []string{p.access, next["access"].(string)} {
		s.expect(t, 200, "GET", ownPath, access, nil)
	}
	s.expect(t, 200, "POST", tokenPath+"refresh/", "", fields{"refresh": next["refresh"]})
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
	c.expect(t, 200, "POST", tokenPath+"blacklist/", "", fields{"refresh": p.refresh})
	list := c.entries(c.admin.access, "?operation=blacklistToken")
	if len(list) != 1 || list[0]["object_id"] != p.id.String() || list[0]["actor_name"] != p.username || list[0]["hospital"] != c.hospital.String() {
		t.Errorf("the audit log has %v", list)
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
	p := c.person(c.hospital)
	body := fields{"name": "Lab", "code": "LAB", "hospital": c.hospital}
	c.expect(t, 403, "POST", organizations+"departments/", p.access, body)
	c.expect(t, 200, "POST", userPath(p.id)+"assign_role/", c.px, fields{"role_id": c.role("Hospital Admin")})
	c.expect(t, 201, "POST", organizations+"departments/", p.access, body)
	c.expect(t, 200, "PATCH", userPath(p.id), c.px, fields{"hospital": c.clinic().hospital})
	if list := c.expect(t, 200, "GET", organizations+"departments/", p.access, nil).json(); list["count"] != 0.0 {
		t.Errorf("after moving to another hospital the user sees %v", list)
	}
}

// The log names the user of a token in the body, though the request itself is anonymous.
func TestTokenOperationsAreLoggedWithTheirUser(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	pair := s.expect(t, 200, "POST", loginPath, "", fields{"username": adminName, "password": adminPassword}).json()
	s.expect(t, 200, "POST", "/api/auth/token/refresh/", "", fields{"refresh": pair["refresh"]})
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"path":"/api/auth/token/refresh/"`) && strings.Contains(line, `"caller":"`+adminName+`"`) {
			return
		}
	}
	t.Errorf("no line of the log has the path and the caller:\n%s", s.log)
}
