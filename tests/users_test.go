package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

func userPath(id any) string { return fmt.Sprintf("/api/auth/users/%v/", id) }

// roleCalled is the body of assigning and removing a role.
func (s *system) roleCalled(name string) client.RoleAssignment {
	s.t.Helper()
	return client.RoleAssignment{RoleID: s.role(name)}
}

func TestLastPXAdminIsKept(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx := t.Context()
	me, pxAdmin := try(s.admin.RetrieveMe(ctx)).ok(t).ID, s.roleCalled("PX Admin")
	inactive := client.UserUpdate{IsActive: client.Ptr(false)}
	// An inactive PX Admin and a Hospital Admin do not count.
	s.exec("UPDATE users SET is_active = false WHERE id = $1", s.person(uuid.Nil, "PX Admin").id)
	s.person(uuid.Nil, "Hospital Admin")
	expectRefused := func() {
		t.Helper()
		refused(t, s.admin.DeleteUser(ctx, me), 409)
		try(s.admin.UpdateUser(ctx, me, inactive)).refused(t, 409)
		try(s.admin.ReplaceUser(ctx, me, client.UserReplace{Username: adminName, Email: "a@example.org", IsActive: client.Ptr(false)})).refused(t, 409)
		try(s.admin.RemoveRole(ctx, me, pxAdmin)).refused(t, 409)
	}
	expectRefused()
	other := s.person(uuid.Nil, "PX Admin")
	try(s.admin.RemoveRole(ctx, other.id, pxAdmin)).ok(t)
	expectRefused()
	try(s.admin.AssignRole(ctx, other.id, pxAdmin)).ok(t)
	if e := refused(t, s.admin.DeleteUser(ctx, me), 409); e.Detail != "This is your own account. Ask another administrator to delete it." {
		t.Errorf("deleting one's own account: %v", e)
	}
	must(t, other.DeleteUser(ctx, me))
	try(other.RetrieveMe(ctx)).ok(t)
}

// Two PX Admins who remove themselves concurrently: one must stay.
func TestConcurrentRemovalOfPXAdmins(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec("UPDATE users SET is_active = false")
	inactive := client.UserUpdate{IsActive: client.Ptr(false)}
	deactivate := func(p person) func() error {
		return func() error { _, err := p.UpdateUser(t.Context(), p.id, inactive); return err }
	}
	errs := s.sendWhileLocked("SELECT FROM roles WHERE name = $1 FOR UPDATE", "PX Admin",
		deactivate(s.person(uuid.Nil, "PX Admin")), deactivate(s.person(uuid.Nil, "PX Admin")))
	refused(t, oneError(t, errs), 409)
	if left := value[int](s, "SELECT count(*) FROM users u JOIN user_roles r ON r.user_id = u.id WHERE u.is_active"); left != 1 {
		t.Errorf("%d active PX Admins are left, want 1", left)
	}
}

func TestHospitalAdminAssignsEveryRoleButPXAdmin(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	nurse, ctx := c.person(c.hospital), t.Context()
	for _, name := range roleNames {
		role := c.roleCalled(name)
		for range 2 { // a repetition changes nothing
			if assigned := try(c.admin.AssignRole(ctx, nurse.id, role)); name == "PX Admin" {
				assigned.refused(t, 403)
			} else {
				assigned.ok(t)
			}
		}
		list := try(c.admin.ListUsers(ctx, &client.ListUsersParams{Groups: &role.RoleID})).ok(t)
		holds := slices.ContainsFunc(list.Results, func(u client.User) bool { return u.ID == nurse.id })
		if holds != (name != "PX Admin") {
			t.Errorf("assigned %s: %v", name, holds)
		}
		if name == "Viewer" {
			try(c.admin.RemoveRole(ctx, nurse.id, role)).ok(t)
		}
	}
	me := try(nurse.RetrieveMe(ctx)).ok(t)
	if got := fmt.Sprint(me.Roles); got != "[Hospital Admin Department Manager PX Coordinator Physician Nurse Staff]" {
		t.Errorf("the user's roles are %s", got)
	}
	try(c.admin.AssignRole(ctx, nurse.id, client.RoleAssignment{RoleID: uuid.New()})).refused(t, 400)
	c.expect(t, 400, "POST", userPath(nurse.id)+"assign_role/", c.admin.access, fields{})
}

// A PX Admin of a hospital is visible to its Hospital Admin, who cannot change them.
func TestUserWithUnassignableRoleIsNotChanged(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	boss, ctx := c.person(c.hospital, "Viewer", "PX Admin"), t.Context()
	renamed := client.UserUpdate{FirstName: client.Ptr("Other")}
	try(c.admin.RetrieveUser(ctx, boss.id)).ok(t)
	try(c.admin.UpdateUser(ctx, boss.id, renamed)).refused(t, 403)
	try(c.admin.UpdateUser(ctx, boss.id, client.UserUpdate{IsActive: client.Ptr(false)})).refused(t, 403)
	try(c.admin.ReplaceUser(ctx, boss.id, client.UserReplace{Username: "other", Email: "o@example.org"})).refused(t, 403)
	refused(t, c.admin.DeleteUser(ctx, boss.id), 403)
	try(c.admin.AssignRole(ctx, boss.id, c.roleCalled("Nurse"))).refused(t, 403)
	try(c.admin.RemoveRole(ctx, boss.id, c.roleCalled("Viewer"))).refused(t, 403)
	try(c.admin.RemoveRole(ctx, boss.id, c.roleCalled("PX Admin"))).refused(t, 403)
	after := try(boss.RetrieveMe(ctx)).ok(t)
	if fmt.Sprint(after.Roles, after.FirstName, after.IsActive) != fmt.Sprint([]string{"PX Admin", "Viewer"}, boss.username, true) {
		t.Errorf("the user was changed: %s", jsonText(after))
	}
	// A Hospital Admin can change other Hospital Admins, and themselves.
	try(c.admin.UpdateUser(ctx, c.person(c.hospital, "Hospital Admin").id, renamed)).ok(t)
	try(c.admin.RemoveRole(ctx, c.admin.id, c.roleCalled("Hospital Admin"))).ok(t)
	try(c.admin.UpdateUser(ctx, c.admin.id, renamed)).refused(t, 403)
}

func TestPasswordChangeRevokesTokens(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital, "Nurse"), t.Context()
	const next = "Another-horse-361!"
	change := func(old, password, confirm string) reply[client.Message] {
		return try(p.ChangePassword(ctx, client.PasswordChange{OldPassword: old, NewPassword: password, NewPasswordConfirm: confirm}))
	}
	change("wrong", next, next).refused(t, 400, "old_password")
	change(password, next, next+"x").refused(t, 400, "new_password_confirm")
	change(password, "password", "password").refused(t, 400, "new_password")
	change(password, p.username, p.username).refused(t, 400, "new_password")
	try(p.RetrieveMe(ctx)).ok(t)
	if message := change(password, next, next).ok(t); message.Detail == "" {
		t.Error("the change is not confirmed")
	}

	if e := try(p.RetrieveMe(ctx)).refused(t, 401); e.Code != "token_not_valid" {
		t.Errorf("a revoked token is answered with %s", e.Body)
	}
	c.expectLoggedOut(p, p.access)
	try(c.login(p.username, next).RetrieveMe(ctx)).ok(t)
}

// expectLoggedOut expects that neither the person's refresh token nor the password gives them a token, and that this
// token of theirs is not valid.
func (s *system) expectLoggedOut(p person, token string) {
	s.t.Helper()
	s.refresh(p.refresh).refused(s.t, 401)
	refused(s.t, s.verify(token), 401)
	try(s.client().CreateToken(context.Background(), client.TokenRequest{Username: p.username, Password: password})).refused(s.t, 401)
}

func TestDeactivatedUser(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital, "Nurse"), t.Context()
	try(c.admin.UpdateUser(ctx, p.id, client.UserUpdate{IsActive: client.Ptr(false)})).ok(t)
	if e := try(p.RetrieveMe(ctx)).refused(t, 401); e.Code != "user_inactive" {
		t.Errorf("an inactive user is answered with %s", e.Body)
	}
	c.expectLoggedOut(p, p.refresh)
	// A reactivated user has to log in again: the old tokens stay revoked.
	try(c.admin.UpdateUser(ctx, p.id, client.UserUpdate{IsActive: client.Ptr(true)})).ok(t)
	try(p.RetrieveMe(ctx)).refused(t, 401)
	try(c.login(p.username, password).RetrieveMe(ctx)).ok(t)
	must(t, c.admin.DeleteUser(ctx, p.id))
	if e := try(c.tokensOf(p, 1).RetrieveMe(ctx)).refused(t, 401); e.Code != "user_not_found" {
		t.Errorf("a deleted user is answered with %s", e.Body)
	}
}

func TestUpdateProfile(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital, "Viewer"), t.Context()
	sent := fields{
		"first_name": "Sara", "last_name": "Ali", "phone": "+966500000000", "language": "ar",
		"username": "boss", "email": "boss@example.org", "is_active": false, "hospital": nil, "groups": []any{c.role("PX Admin")},
	}
	for _, method := range []string{"PATCH", "PUT"} { // by hand: a ProfileUpdate has no more than the profile
		me := c.expect(t, 200, method, "/api/auth/users/update_profile/", p.access, sent).json()
		if me["full_name"] != "Sara Ali" || me["phone"] != "+966500000000" || me["language"] != "ar" {
			t.Errorf("the profile was not changed: %v", me)
		}
		if me["username"] != p.username || me["email"] == "boss@example.org" || me["is_active"] != true ||
			me["hospital"] != c.hospital.String() || fmt.Sprint(me["roles"]) != "[Viewer]" {
			t.Errorf("the profile changed what is not the user's to change: %v", me)
		}
	}
	try(p.UpdateProfile(ctx, client.ProfileUpdate{Language: client.Ptr(client.Language("fr"))})).refused(t, 400)
	if me := try(p.RetrieveMe(ctx)).ok(t); me.FirstName != "Sara" || me.Language != client.LanguageAr {
		t.Errorf("users/me/ returns %s", jsonText(me))
	}
}

func TestNewUserAndTheirHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx, other, department := t.Context(), c.clinic(), c.Department("D1")
	create := func(who person, more ...func(*client.UserCreate)) reply[client.User] {
		body := newUser(password)
		for _, change := range more {
			change(&body)
		}
		return try(who.CreateUser(ctx, body))
	}
	inOther := func(u *client.UserCreate) { u.Hospital = client.Value(other.hospital) }
	inDepartment := func(u *client.UserCreate) { u.Department = client.Value(department) }
	named := func(name string) func(u *client.UserCreate) {
		return func(u *client.UserCreate) { u.Username = name }
	}
	first := newUser(password)
	inDepartment(&first)
	if a := c.expect(t, 201, "POST", "/api/auth/users/", c.admin.access, first); a.json()["password"] != nil {
		t.Errorf("the answer has the password: %s", a.body)
	}
	made := try(c.login(first.Username, password).RetrieveMe(ctx)).ok(t)
	if !is(made.Hospital, c.hospital) {
		t.Errorf("made %s", jsonText(made))
	}
	create(c.admin, func(u *client.UserCreate) { u.Hospital = client.Null[uuid.UUID]() }).refused(t, 400, "hospital")
	create(c.admin, inOther).refused(t, 400, "hospital")
	create(c.px, inDepartment).refused(t, 400, "department")
	create(c.px, inOther, inDepartment).refused(t, 400, "department")
	create(c.px, named(made.Username)).refused(t, 400, "username")
	create(c.px, func(u *client.UserCreate) { u.PasswordConfirm = "other" }).refused(t, 400, "password_confirm")
	create(c.px, named("not a name")).refused(t, 400, "username")
	if unassigned := create(c.px).ok(t); unassigned.Hospital != nil {
		t.Errorf("a PX Admin's user without hospital got %v", unassigned.Hospital)
	}
	move := client.UserUpdate{Hospital: client.Value(other.hospital)}
	try(c.admin.UpdateUser(ctx, made.ID, client.UserUpdate{Hospital: client.Null[uuid.UUID]()})).refused(t, 400)
	try(c.px.UpdateUser(ctx, made.ID, move)).refused(t, 400) // with the old department
	move.Department = client.Null[uuid.UUID]()
	try(c.px.UpdateUser(ctx, made.ID, move)).ok(t)
}

// newUser is the body that creates a user with this password and an own name.
func newUser(password string) client.UserCreate {
	return client.UserCreate{Username: unique("new"), Email: "new@example.org", Password: password, PasswordConfirm: password}
}

func TestUserWithoutHospitalSeesOnlyThemselves(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	for _, p := range []person{c.person(uuid.Nil), c.person(uuid.Nil, "Hospital Admin")} {
		if list := try(p.ListUsers(ctx, nil)).ok(t); list.Count != 1 || list.Results[0].ID != p.id {
			t.Errorf("the list of users is %s", jsonText(list))
		}
		try(p.RetrieveUser(ctx, p.id)).ok(t)
		try(p.RetrieveUser(ctx, c.admin.id)).refused(t, 404)
		try(p.UpdateUser(ctx, p.id, client.UserUpdate{FirstName: client.Ptr("Other")})).refused(t, 403)
		try(p.CreateEvent(ctx, eventOf("1"))).refused(t, 403)
	}
}

func TestUserSearch(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital)
	c.exec("UPDATE users SET first_name = 'أحمد', last_name = 'Al-Harbi', employee_id = 'EMP-77', email = 'Ahmed@Example.org' WHERE id = $1", p.id)
	for query, count := range map[string]int64{p.username: 1, "احمد": 1, "AL-HARBI": 1, "emp-77": 1, "ahmed@example": 1, "emp_77": 0} {
		if list := try(c.admin.ListUsers(t.Context(), &client.ListUsersParams{Search: &query})).ok(t); list.Count != count {
			t.Errorf("search %q finds %v users, want %v", query, list.Count, count)
		}
	}
}

func TestUsernameIsUniqueEverywhere(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	other := c.clinic().admin
	try(other.UpdateUser(t.Context(), other.id, client.UserUpdate{Username: &c.admin.username})).
		refusedField(t, "username", "A user with that username already exists.")
}

// A password is also limited in bytes, above which hashing would take too long.
func TestPasswordOfTooManyBytes(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital), t.Context()
	long, longest, enormous := strings.Repeat("ض", 2049), strings.Repeat("ض1", 1365)+"!", strings.Repeat("x", 16<<10)
	change := func(who *client.Client, old, password string) reply[client.Message] {
		return try(who.ChangePassword(ctx, client.PasswordChange{OldPassword: old, NewPassword: password, NewPasswordConfirm: password}))
	}
	try(c.admin.CreateUser(ctx, newUser(long))).refused(t, 400, "password")
	change(p.Client, password, long).refused(t, 400, "new_password")
	change(p.Client, long, password).refused(t, 400, "old_password")
	made := try(c.admin.CreateUser(ctx, newUser(longest))).ok(t) // 4096 bytes
	change(c.login(made.Username, longest), longest, password).ok(t)
	change(p.Client, password, enormous).refused(t, 413)
	try(c.admin.CreateUser(ctx, newUser(enormous))).refused(t, 413)
}

// A user who is deleted during a change of their own account gets the 401 of a deleted user.
func TestAccountDeletedDuringItsOwnChange(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	for name, change := range map[string]func(person) error{
		"profile": func(p person) error {
			_, err := p.UpdateProfile(ctx, client.ProfileUpdate{FirstName: client.Ptr("Sara")})
			return err
		},
		"password": func(p person) error {
			const next = "Another-horse-361!"
			_, err := p.ChangePassword(ctx, client.PasswordChange{OldPassword: password, NewPassword: next, NewPasswordConfirm: next})
			return err
		},
	} {
		p := c.person(c.hospital)
		errs := c.sendBeforeCommit("DELETE FROM users WHERE id = $1", p.id, func() error { return change(p) })
		if e := refused(t, errs[0], 401); e.Code != "user_not_found" || e.Detail != "User not found" || e.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %v", name, e)
		}
	}
}
