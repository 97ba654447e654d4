package auth

import (
	"slices"
	"testing"
)

// The permission matrix, duplicated here, so that a change of the policy is made in two places.
func TestMay(t *testing.T) {
	t.Parallel()
	principals := map[string]Principal{
		"px":         userWith(nil, RolePXAdmin),
		"admin":      userWith(&hospitalA, RoleHospitalAdmin),
		"coord":      userWith(&hospitalA, RolePXCoordinator),
		"manager":    userWith(&hospitalA, RoleDepartmentManager),
		"doctor":     userWith(&hospitalA, RolePhysician),
		"nurse":      userWith(&hospitalA, RoleNurse),
		"staff":      userWith(&hospitalA, RoleStaff),
		"viewer":     userWith(&hospitalA, RoleViewer),
		"none":       userWith(&hospitalA),
		"nohospital": userWith(nil, RoleHospitalAdmin),
		"neither":    userWith(nil),
		"key":        apiKeyOf(&hospitalA),
		"keyall":     apiKeyOf(nil),
		"anonymous":  {},
		"nokind":     {Roles: []string{RolePXAdmin}, Hospital: &hospitalA}, // of no kind
		"keyrole":    {Kind: KindAPIKey, Roles: []string{RolePXAdmin}, Hospital: &hospitalA},
	}
	members := []string{"px", "admin", "coord", "manager", "doctor", "nurse", "staff", "viewer", "none"}
	users := append(slices.Clone(members), "nohospital", "neither")
	everyone := append(slices.Clone(users), "key", "keyall", "anonymous", "nokind", "keyrole")
	matrix := map[string][]string{
		"public":            everyone,
		"authenticated":     users,
		"users.read":        users,
		"users.write":       {"px", "admin"},
		"roles.read":        users,
		"roles.assign":      {"px", "admin"},
		"hospitals.read":    users,
		"hospitals.create":  {"px"},
		"hospitals.update":  {"px", "admin"},
		"departments.read":  users,
		"departments.write": {"px", "admin"},
		"physicians.read":   users,
		"physicians.write":  {"px", "admin", "coord"},
		"patients.read":     users,
		"patients.write":    {"px", "admin", "coord"},
		"templates.read":    users,
		"templates.write":   {"px", "admin", "coord"},
		"journeys.read":     users,
		"journeys.write":    {"px", "admin", "coord", "manager"},
		"events.send":       append(slices.Clone(members), "key", "keyall", "keyrole"),
		"events.read":       {"px", "key", "keyall", "keyrole"},
		"events.manage":     {"px"},
		"configs.manage":    {"px"},
		"audit.read":        {"px", "admin"},
		// Unknown permissions are denied.
		"": nil, "Public": nil, "patients": nil, "patients.delete": nil,
	}
	for permission, allowed := range matrix {
		for name, principal := range principals {
			if got, want := principal.May(permission), slices.Contains(allowed, name); got != want {
				t.Errorf("%s, %s: %v", permission, name, got)
			}
		}
	}
	for _, rule := range Permissions() {
		if _, tested := matrix[rule.Permission]; !tested {
			t.Errorf("%s is in the table and not in this test", rule.Permission)
		}
	}
}

func TestRolesAddUp(t *testing.T) {
	t.Parallel()
	both := userWith(&hospitalA, RoleViewer, RoleDepartmentManager)
	if !both.May("journeys.write") || both.May("patients.write") {
		t.Error("two roles are not the sum of both")
	}
}

func TestPermissionsTable(t *testing.T) {
	t.Parallel()
	table := Permissions()
	seen := map[string]bool{}
	for _, rule := range table {
		if seen[rule.Permission] || rule.Permission == "" || rule.Meaning == "" || rule.Who() == "" {
			t.Errorf("rule %+v", rule)
		}
		seen[rule.Permission] = true
		if !Known(rule.Permission) {
			t.Errorf("%s is not known", rule.Permission)
		}
		for _, role := range rule.Roles {
			if rule.Audience != RoleHolders || !slices.Contains(RoleNames(), role) {
				t.Errorf("%s: role %q", rule.Permission, role)
			}
		}
	}
	if want := 24; len(table) != want {
		t.Errorf("%d permissions in the table, this test expects %d: count what was added", len(table), want)
	}
	for _, unknown := range []string{"", "public ", "users.delete"} {
		if Known(unknown) {
			t.Errorf("%q is known", unknown)
		}
	}
	// Permissions returns a copy.
	for i := range table {
		table[i].Audience = Everyone
		for j := range table[i].Roles {
			table[i].Roles[j] = RoleViewer
		}
	}
	if userWith(&hospitalA, RoleViewer).May("users.write") || (Principal{}).May("users.write") {
		t.Error("writing to the copy changed the policy")
	}
}

func TestWho(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"public":           "everyone, without authentication",
		"patients.read":    "every user",
		"patients.write":   "PX Admin, Hospital Admin, PX Coordinator",
		"hospitals.create": "PX Admin",
		"events.send":      "PX Admin, every user of a hospital, API keys",
	}
	for _, rule := range Permissions() {
		if text, listed := want[rule.Permission]; listed && rule.Who() != text {
			t.Errorf("%s: %q", rule.Permission, rule.Who())
		}
	}
}
