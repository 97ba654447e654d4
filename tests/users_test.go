package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func userPath(id any) string { return fmt.Sprintf("/api/auth/users/%v/", id) }

func TestLastPXAdminIsKept(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.token(adminName, adminPassword)
	me := s.expect(t, 200, "GET", "/api/auth/users/me/", token, nil).json()["id"]
	// An inactive PX Admin and a Hospital Admin do not count.
	s.exec("UPDATE users SET is_active = false WHERE id = $1", s.person(uuid.Nil, "PX Admin").id)
	s.person(uuid.Nil, "Hospital Admin")
	refused := func() {
		t.Helper()
		s.expect(t, 409, "DELETE", userPath(me), token, nil)
		s.expect(t, 409, "PATCH", userPath(me), token, fields{"is_active": false})
		s.expect(t, 409, "PUT", userPath(me), token, fields{"username": adminName, "email": "a@example.org", "is_active": false})
		s.expect(t, 409, "POST", userPath(me)+"remove_role/", token, fields{"role_id": s.role("PX Admin")})
	}
	refused()
	other := s.person(uuid.Nil, "PX Admin")
	s.expect(t, 200, "POST", userPath(other.id)+"remove_role/", token, fields{"role_id": s.role("PX Admin")})
	refused()
	s.expect(t, 200, "POST", userPath(other.id)+"assign_role/", token, fields{"role_id": s.role("PX Admin")})
	if a := s.expect(t, 409, "DELETE", userPath(me), token, nil); a.json()["detail"] != "This is your own account. Ask another administrator to delete it." {
		t.Errorf("deleting one's own account: %s", a.body)
	}
	s.expect(t, 204, "DELETE", userPath(me), other.access, nil)
	s.expect(t, 200, "GET", "/api/auth/users/me/", other.access, nil)
}

// Two PX Admins who remove themselves concurrently: one must stay.
func TestConcurrentRemovalOfPXAdmins(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec("UPDATE users SET is_active = false")
	one, other := s.person(uuid.Nil, "PX Admin"), s.person(uuid.Nil, "PX Admin")
	statuses := s.sendWhileLocked("SELECT FROM roles WHERE name = $1 FOR UPDATE", "PX Admin",
		func() int {
			return s.send("PATCH", userPath(one.id), one.access, fields{"is_active": false}).status
		},
		func() int {
			return s.send("PATCH", userPath(other.id), other.access, fields{"is_active": false}).status
		},
	)
	slices.Sort(statuses)
	if statuses[0] >= 300 || statuses[1] != 409 {
		t.Errorf("the requests were answered with %v, want one success and one 409", statuses)
	}
	if left := value[int](s, "SELECT count(*) FROM users u JOIN user_roles r ON r.user_id = u.id WHERE u.is_active"); left != 1 {
		t.Errorf("%d active PX Admins are left, want 1", left)
	}
}

func TestHospitalAdminAssignsEveryRoleButPXAdmin(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	nurse := c.person(c.hospital)
	for _, name := range roleNames {
		want, role := 200, c.role(name)
		if name == "PX Admin" {
			want = 403
		}
		c.expect(t, want, "POST", userPath(nurse.id)+"assign_role/", c.admin.access, fields{"role_id": role})
		c.expect(t, want, "POST", userPath(nurse.id)+"assign_role/", c.admin.access, fields{"role_id": role}) // a repetition changes nothing
		list := c.expect(t, 200, "GET", "/api/auth/users/?groups="+role.String(), c.admin.access, nil)
		if holds := strings.Contains(list.body, nurse.id.String()); holds != (want == 200) {
			t.Errorf("assigned %s: %v, want status %d", name, holds, want)
		}
		if name == "Viewer" {
			c.expect(t, want, "POST", userPath(nurse.id)+"remove_role/", c.admin.access, fields{"role_id": role})
		}
	}
	me := c.expect(t, 200, "GET", "/api/auth/users/me/", nurse.access, nil).json()
	if got := fmt.Sprint(me["roles"]); got != "[Hospital Admin Department Manager PX Coordinator Physician Nurse Staff]" {
		t.Errorf("the user's roles are %s", got)
	}
	c.expect(t, 400, "POST", userPath(nurse.id)+"assign_role/", c.admin.access, fields{"role_id": uuid.New()})
	c.expect(t, 400, "POST", userPath(nurse.id)+"assign_role/", c.admin.access, fields{})
}

// A PX Admin of a hospital is visible to its Hospital Admin, who cannot change them.
func TestUserWithUnassignableRoleIsNotChanged(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	boss := c.person(c.hospital, "Viewer", "PX Admin")
	c.expect(t, 200, "GET", userPath(boss.id), c.admin.access, nil)
	for _, change := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", "", fields{"first_name": "Other"}},
		{"PATCH", "", fields{"is_active": false}},
		{"PUT", "", fields{"username": "other", "email": "o@example.org"}},
		{"DELETE", "", nil},
		{"POST", "assign_role/", fields{"role_id": c.role("Nurse")}},
		{"POST", "remove_role/", fields{"role_id": c.role("Viewer")}},
		{"POST", "remove_role/", fields{"role_id": c.role("PX Admin")}},
	} {
		c.expect(t, 403, change.method, userPath(boss.id)+change.path, c.admin.access, change.body)
	}
	after := c.expect(t, 200, "GET", "/api/auth/users/me/", boss.access, nil).json()
	if fmt.Sprint(after["roles"], after["first_name"], after["is_active"]) != fmt.Sprint([]string{"PX Admin", "Viewer"}, boss.username, true) {
		t.Errorf("the user was changed: %v", after)
	}
	// A Hospital Admin can change other Hospital Admins, and themselves.
	c.expect(t, 200, "PATCH", userPath(c.person(c.hospital, "Hospital Admin").id), c.admin.access, fields{"first_name": "Other"})
	c.expect(t, 200, "POST", userPath(c.admin.id)+"remove_role/", c.admin.access, fields{"role_id": c.role("Hospital Admin")})
	c.expect(t, 403, "PATCH", userPath(c.admin.id), c.admin.access, fields{"first_name": "Other"})
}

func TestPasswordChangeRevokesTokens(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital, "Nurse")
	const next = "Another-horse-361!"
	change := func(want int, old, password, confirm, field string) {
		t.Helper()
		a := c.expect(t, want, "POST", "/api/auth/users/change_password/", p.access,
			fields{"old_password": old, "new_password": password, "new_password_confirm": confirm})
		if _, named := a.json()[field]; !named {
			t.Errorf("the answer does not name %s: %s", field, a.body)
		}
	}
	change(400, "wrong", next, next, "old_password")
	change(400, password, next, next+"x", "new_password_confirm")
	change(400, password, "password", "password", "new_password")
	change(400, password, p.username, p.username, "new_password")
	c.expect(t, 200, "GET", "/api/auth/users/me/", p.access, nil)
	change(200, password, next, next, "detail")

	if a := c.expect(t, 401, "GET", "/api/auth/users/me/", p.access, nil); a.json()["code"] != "token_not_valid" {
		t.Errorf("a revoked token is answered with %s", a.body)
	}
	c.expect(t, 401, "POST", "/api/auth/token/refresh/", "", fields{"refresh": p.refresh})
	c.expect(t, 401, "POST", "/api/auth/token/verify/", "", fields{"token": p.access})
	c.expect(t, 401, "POST", "/api/auth/token/", "", fields{"username": p.username, "password": password})
	c.expect(t, 200, "GET", "/api/auth/users/me/", c.token(p.username, next), nil)
}

func TestDeactivatedUser(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital, "Nurse")
	c.expect(t, 200, "PATCH", userPath(p.id), c.admin.access, fields{"is_active": false})
	if a := c.expect(t, 401, "GET", "/api/auth/users/me/", p.access, nil); a.json()["code"] != "user_inactive" {
		t.Errorf("an inactive user is answered with %s", a.body)
	}
	c.expect(t, 401, "POST", "/api/auth/token/refresh/", "", fields{"refresh": p.refresh})
	c.expect(t, 401, "POST", "/api/auth/token/verify/", "", fields{"token": p.refresh})
	c.expect(t, 401, "POST", "/api/auth/token/", "", fields{"username": p.username, "password": password})
	// A reactivated user has to log in again: the old tokens stay revoked.
	c.expect(t, 200, "PATCH", userPath(p.id), c.admin.access, fields{"is_active": true})
	c.expect(t, 401, "GET", "/api/auth/users/me/", p.access, nil)
	c.expect(t, 200, "GET", "/api/auth/users/me/", c.token(p.username, password), nil)
	c.expect(t, 204, "DELETE", userPath(p.id), c.admin.access, nil)
	if a := c.expect(t, 401, "GET", "/api/auth/users/me/", c.tokensOf(p, 1).access, nil); a.json()["code"] != "user_not_found" {
		t.Errorf("a deleted user is answered with %s", a.body)
	}
}

func TestUpdateProfile(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital, "Viewer")
	sent := fields{
		"first_name": "Sara", "last_name": "Ali", "phone": "+966500000000", "language": "ar",
		"username": "boss", "email": "boss@example.org", "is_active": false, "hospital": nil, "groups": []any{c.role("PX Admin")},
	}
	for _, method := range []string{"PATCH", "PUT"} {
		me := c.expect(t, 200, method, "/api/auth/users/update_profile/", p.access, sent).json()
		if me["full_name"] != "Sara Ali" || me["phone"] != "+966500000000" || me["language"] != "ar" {
			t.Errorf("the profile was not changed: %v", me)
		}
		if me["username"] != p.username || me["email"] == "boss@example.org" || me["is_active"] != true ||
			me["hospital"] != c.hospital.String() || fmt.Sprint(me["roles"]) != "[Viewer]" {
			t.Errorf("the profile changed what is not the user's to change: %v", me)
		}
	}
	c.expect(t, 400, "PATCH", "/api/auth/users/update_profile/", p.access, fields{"language": "fr"})
	if me := c.expect(t, 200, "GET", "/api/auth/users/me/", p.access, nil).json(); me["first_name"] != "Sara" || me["language"] != "ar" {
		t.Errorf("users/me/ returns %v", me)
	}
}

func TestNewUserAndTheirHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	other := c.clinic()
	department := c.Department("D1")
	create := func(token string, want int, more fields) fields {
		t.Helper()
		body := fields{"username": unique("new"), "email": "new@example.org", "password": password, "password_confirm": password}
		for field, v := range more {
			body[field] = v
		}
		return c.expect(t, want, "POST", "/api/auth/users/", token, body).json()
	}
	named := func(answer fields, field string) {
		t.Helper()
		if len(answer) != 1 || answer[field] == nil {
			t.Errorf("the answer names %v, want %s alone", answer, field)
		}
	}
	made := create(c.admin.access, 201, fields{"department": department})
	if made["hospital"] != c.hospital.String() || made["password"] != nil {
		t.Errorf("made %v", made)
	}
	c.expect(t, 200, "GET", "/api/auth/users/me/", c.token(made["username"].(string), password), nil)
	named(create(c.admin.access, 400, fields{"hospital": nil}), "hospital")
	named(create(c.admin.access, 400, fields{"hospital": other.hospital}), "hospital")
	named(create(c.px, 400, fields{"department": department}), "department")
	named(create(c.px, 400, fields{"hospital": other.hospital, "department": department}), "department")
	named(create(c.px, 400, fields{"username": made["username"]}), "username")
	named(create(c.px, 400, fields{"password_confirm": "other"}), "password_confirm")
	named(create(c.px, 400, fields{"username": "not a name"}), "username")
	if unassigned := create(c.px, 201, nil); unassigned["hospital"] != nil {
		t.Errorf("a PX Admin's user without hospital got %v", unassigned["hospital"])
	}
	c.expect(t, 400, "PATCH", userPath(made["id"]), c.admin.access, fields{"hospital": nil})
	c.expect(t, 400, "PATCH", userPath(made["id"]), c.px, fields{"hospital": other.hospital}) // with the old department
	c.expect(t, 200, "PATCH", userPath(made["id"]), c.px, fields{"hospital": other.hospital, "department": nil})
}

func TestUserWithoutHospitalSeesOnlyThemselves(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for _, p := range []person{c.person(uuid.Nil), c.person(uuid.Nil, "Hospital Admin")} {
		list := c.expect(t, 200, "GET", "/api/auth/users/", p.access, nil).json()
		if list["count"] != 1.0 || list["results"].([]any)[0].(fields)["id"] != p.id.String() {
			t.Errorf("the list of users is %v", list)
		}
		c.expect(t, 200, "GET", userPath(p.id), p.access, nil)
		c.expect(t, 404, "GET", userPath(c.admin.id), p.access, nil)
		c.expect(t, 403, "PATCH", userPath(p.id), p.access, fields{"first_name": "Other"})
		c.expect(t, 403, "POST", "/api/integrations/events/", p.access, fields{"source_system": "his", "event_code": "E1", "encounter_id": "1"})
	}
}

func TestUserSearch(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital)
	c.exec("UPDATE users SET first_name = 'أحمد', last_name = 'Al-Harbi', employee_id = 'EMP-77', email = 'Ahmed@Example.org' WHERE id = $1", p.id)
	for query, count := range map[string]float64{p.username: 1, "احمد": 1, "AL-HARBI": 1, "emp-77": 1, "ahmed@example": 1, "emp_77": 0} {
		list := c.expect(t, 200, "GET", "/api/auth/users/?search="+query, c.admin.access, nil).json()
		if list["count"] != count {
			t.Errorf("search %q finds %v users, want %v", query, list["count"], count)
		}
	}
}

func TestUsernameIsUniqueEverywhere(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	other := c.clinic()
	a := c.expect(t, 400, "PATCH", userPath(other.admin.id), other.admin.access, fields{"username": c.admin.username})
	if a.body != `{"username":["A user with that username already exists."]}` {
		t.Errorf("a second user of the name: %s", a.body)
	}
}

// A password is also limited in bytes, above which hashing would take too long.
func TestPasswordOfTooManyBytes(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital)
	long, longest := strings.Repeat("ض", 2049), strings.Repeat("ض1", 1365)+"!"
	user := func(password string) fields {
		return fields{"username": unique("new"), "email": "new@example.org", "password": password, "password_confirm": password}
	}
	change := func(old, password string) fields {
		return fields{"old_password": old, "new_password": password, "new_password_confirm": password}
	}
	const users, own = "/api/auth/users/", "/api/auth/users/change_password/"
	for field, a := range map[string]answer{
		"password":     c.send("POST", users, c.admin.access, user(long)),
		"new_password": c.send("POST", own, p.access, change(password, long)),
		"old_password": c.send("POST", own, p.access, change(long, password)),
	} {
		if a.status != 400 || len(a.json()) != 1 || a.json()[field] == nil {
			t.Errorf("%s: %d %s", field, a.status, a.body)
		}
	}
	made := user(longest) // 4096 bytes
	c.expect(t, 201, "POST", users, c.admin.access, made)
	c.expect(t, 200, "POST", own, c.token(made["username"].(string), longest), change(longest, password))
	c.expect(t, 413, "POST", own, p.access, change(password, strings.Repeat("x", 16<<10)))
	c.expect(t, 413, "POST", users, c.admin.access, user(strings.Repeat("x", 16<<10)))
}

// A user who is deleted during a change of their own account gets the 401 of a deleted user.
func TestAccountDeletedDuringItsOwnChange(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for name, send := range map[string]func(person) answer{
		"profile": func(p person) answer {
			return c.send("PATCH", "/api/auth/users/update_profile/", p.access, fields{"first_name": "Sara"})
		},
		"password": func(p person) answer {
			const next = "Another-horse-361!"
			return c.send("POST", "/api/auth/users/change_password/", p.access, fields{"old_password": password, "new_password": next, "new_password_confirm": next})
		},
	} {
		p, a := c.person(c.hospital), answer{}
		c.sendBeforeCommit("DELETE FROM users WHERE id = $1", p.id, func() int { a = send(p); return a.status })
		if a.status != 401 || a.json()["code"] != "user_not_found" || a.json()["detail"] != "User not found" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}
