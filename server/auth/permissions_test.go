package auth

import (
	"slices"
	"strings"
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
		"surveys.read":      users,
		"responses.read":    {"px", "admin", "coord", "manager"},
		"surveys.manage":    {"px", "admin", "coord"},
		"scores.read":       users,
		"actions.read":      users,
		"actions.write":     {"px", "admin", "coord", "manager"},
		"actions.work":      users,
		"actions.approve":   {"px", "admin", "coord"},
		"webhooks.manage":   {"px", "admin"},
		"events.send":       append(slices.Clone(members), "key", "keyall", "keyrole"),
		"events.read":       {"px", "key", "keyall", "keyrole"},
		"events.manage":     {"px"},
		"configs.manage":    {"px"},
		"audit.read":        {"px", "admin"},
		// Those that there are none of.
		"": nil, "Public": nil, "patients": nil, "patients.delete": nil,
	}
	policy := policyWith(t, EventSendersAny)
	for permission, allowed := range matrix {
		rule, found := policy.Rule(permission)
		if !found != (allowed == nil) {
			t.Errorf("%q: in the table %v", permission, found)
		}
		for name, principal := range principals {
			if got, want := principal.May(rule), slices.Contains(allowed, name); found && got != want {
				t.Errorf("%s, %s: %v", permission, name, got)
			}
		}
	}
	staff, _ := policyWith(t, EventSendersStaff).Rule("events.send")
	for name, principal := range principals {
		if got, want := principal.May(staff), slices.Contains([]string{"px", "admin", "coord", "key", "keyall", "keyrole"}, name); got != want {
			t.Errorf("events.send by staff alone, %s: %v", name, got)
		}
	}
	for _, rule := range policy {
		if _, tested := matrix[rule.Permission]; !tested {
			t.Errorf("%s is in the table and not in this test", rule.Permission)
		}
	}
}

func policyWith(t *testing.T, senders EventSenders) Policy {
	t.Helper()
	policy, err := NewPolicy(senders)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func TestRolesAddUp(t *testing.T) {
	t.Parallel()
	both, policy := userWith(&hospitalA, RoleViewer, RoleDepartmentManager), policyWith(t, EventSendersAny)
	journeys, _ := policy.Rule("journeys.write")
	patients, _ := policy.Rule("patients.write")
	if !both.May(journeys) || both.May(patients) {
		t.Error("two roles are not the sum of both")
	}
}

func TestPermissionsTable(t *testing.T) {
	t.Parallel()
	table := policyWith(t, EventSendersAny)
	seen := map[string]bool{}
	for _, rule := range table {
		if seen[rule.Permission] || rule.Permission == "" || rule.Meaning == "" || rule.Who() == "" {
			t.Errorf("rule %+v", rule)
		}
		seen[rule.Permission] = true
		for _, role := range rule.Roles {
			if rule.Audience != RoleHolders || !slices.Contains(RoleNames(), role) {
				t.Errorf("%s: role %q", rule.Permission, role)
			}
		}
	}
	if want := 33; len(table) != want {
		t.Errorf("%d permissions in the table, this test expects %d: count what was added", len(table), want)
	}
	// Each policy is a copy.
	for i := range table {
		table[i].Audience = Everyone
		for j := range table[i].Roles {
			table[i].Roles[j] = RoleViewer
		}
	}
	fresh, _ := policyWith(t, EventSendersAny).Rule("users.write")
	if userWith(&hospitalA, RoleViewer).May(fresh) || (Principal{}).May(fresh) {
		t.Error("writing to the copy changed the policy")
	}
	for _, wrong := range []EventSenders{"", "Any", "everyone"} {
		if _, err := NewPolicy(wrong); err == nil || !strings.Contains(err.Error(), "any or staff") {
			t.Errorf("senders %q: %v", wrong, err)
		}
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
	for _, rule := range policyWith(t, EventSendersAny) {
		if text, listed := want[rule.Permission]; listed && rule.Who() != text {
			t.Errorf("%s: %q", rule.Permission, rule.Who())
		}
	}
}
