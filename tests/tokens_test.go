package tests

import (
	"testing"

	"github.com/google/uuid"
)

const tokenPath = "/api/auth/token/"

func TestTokensFromLoginToLogout(t *testing.T) {
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
			t.Errorf("a good token is answered with %s", a.body)
		}
	}
	if a := c.expect(t, 200, "POST", tokenPath+"blacklist/", "", fields{"refresh": refresh}); a.body != "{}" {
		t.Errorf("the logout is answered with %s", a.body)
	}
	// A logout ends everything that was issued before it.
	for _, token := range []string{access, renewed} {
		c.expect(t, 401, "GET", "/api/auth/users/me/", token, nil)
		c.expect(t, 401, "POST", tokenPath+"verify/", "", fields{"token": token})
	}
	c.expect(t, 401, "POST", tokenPath+"refresh/", "", fields{"refresh": refresh})
	c.expect(t, 401, "POST", tokenPath+"blacklist/", "", fields{"refresh": refresh})
	c.expect(t, 200, "GET", "/api/auth/users/me/", c.token(p.username, password), nil)
}

func TestTokensAreGoodForTheirPurposeOnly(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, gone := c.person(c.hospital), c.tokensOf(person{id: uuid.New()}, 0)
	altered := p.access[:len(p.access)-1] + map[bool]string{true: "B", false: "A"}[p.access[len(p.access)-1] == 'A']
	for _, test := range []struct {
		path string
		body fields
	}{
		{"refresh/", fields{"refresh": p.access}},
		{"refresh/", fields{"refresh": "no token"}},
		{"refresh/", fields{"refresh": gone.refresh}},
		{"blacklist/", fields{"refresh": p.access}},
		{"verify/", fields{"token": "no.such.token"}},
		{"verify/", fields{"token": altered}},
		{"verify/", fields{"token": gone.access}},
	} {
		a := c.expect(t, 401, "POST", tokenPath+test.path, "", test.body)
		if a.json()["detail"] == nil || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s %v: %s", test.path, test.body, a.body)
		}
	}
	for _, token := range []string{p.refresh, altered, gone.access, "no.such.token"} {
		c.expect(t, 401, "GET", "/api/auth/users/me/", token, nil)
	}
	for header, want := range map[string]int{"Bearer " + p.access: 200, "bearer " + p.access: 200, "Basic " + p.access: 401, "Bearer": 401, "Bearer a b": 401} {
		c.expect(t, want, "GET", "/api/auth/users/me/", "", nil, "Authorization", header)
	}
	for _, path := range []string{"", "refresh/", "verify/", "blacklist/"} {
		c.expect(t, 400, "POST", tokenPath+path, "", fields{})
	}
}

// Who guesses learns nothing: neither whether there is such a user, nor whether they are active.
func TestWrongCredentialsAreAnsweredAlike(t *testing.T) {
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

// What a user may do is asked each time: it is not in the token.
func TestRolesCountFromTheNextRequest(t *testing.T) {
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
