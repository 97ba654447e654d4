package auth

import (
	"testing"

	"github.com/google/uuid"
)

var (
	hospitalA = uuid.MustParse("018f4e5c-0000-7000-8000-00000000000a")
	configA   = uuid.MustParse("018f4e5c-0000-7000-8000-0000000000ca")
)

func userWith(hospital *uuid.UUID, roles ...string) Principal {
	return Principal{Kind: KindUser, UserID: someUserID, Username: "nora", Hospital: hospital, Roles: roles}
}

func apiKeyOf(hospital *uuid.UUID) Principal {
	return Principal{Kind: KindAPIKey, ConfigID: configA, SourceSystem: "his", Hospital: hospital}
}

func TestScope(t *testing.T) {
	t.Parallel()
	nothing := uuid.Nil
	for _, test := range []struct {
		name      string
		principal Principal
		want      *uuid.UUID
	}{
		{"PX Admin", userWith(nil, RolePXAdmin), nil},
		{"PX Admin of a hospital", userWith(&hospitalA, RoleViewer, RolePXAdmin), nil},
		{"Hospital Admin", userWith(&hospitalA, RoleHospitalAdmin), &hospitalA},
		{"no role", userWith(&hospitalA), &hospitalA},
		{"no hospital", userWith(nil, RoleHospitalAdmin), &nothing},
		{"neither", userWith(nil), &nothing},
		{"anonymous", Principal{}, &nothing},
		{"anonymous with a hospital and a role", Principal{Hospital: &hospitalA, Roles: []string{RolePXAdmin}}, &nothing},
		{"API key of a hospital", apiKeyOf(&hospitalA), &hospitalA},
		{"API key for all", apiKeyOf(nil), nil},
		{"API key of no config", Principal{Kind: KindAPIKey}, &nothing},
		{"API key that claims a role", Principal{Kind: KindAPIKey, Hospital: &hospitalA, Roles: []string{RolePXAdmin}}, &hospitalA},
	} {
		got := test.principal.Scope()
		if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: %v, not %v", test.name, got, test.want)
		}
	}
	// Scope returns a copy: writing to it changes no principal.
	*userWith(&hospitalA).Scope() = uuid.Max
	*userWith(nil).Scope() = uuid.Max
	if hospitalA == uuid.Max || *userWith(nil).Scope() != uuid.Nil {
		t.Error("Scope returned the principal's own pointer")
	}
}

func TestMayAssign(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		principal Principal
		roles     []string
		want      bool
	}{
		{"PX Admin gives PX Admin", userWith(nil, RolePXAdmin), []string{RolePXAdmin}, true},
		{"PX Admin gives all", userWith(nil, RolePXAdmin), RoleNames(), true},
		{"Hospital Admin gives its own", userWith(&hospitalA, RoleHospitalAdmin), []string{RoleHospitalAdmin, RoleNurse}, true},
		{"Hospital Admin gives all but PX Admin", userWith(&hospitalA, RoleHospitalAdmin), RoleNames()[1:], true},
		{"Hospital Admin gives PX Admin", userWith(&hospitalA, RoleHospitalAdmin), []string{RoleNurse, RolePXAdmin}, false},
		{"Hospital Admin and no roles", userWith(&hospitalA, RoleHospitalAdmin), nil, true},
		{"Hospital Admin of none", userWith(nil, RoleHospitalAdmin), []string{RoleNurse}, false},
		{"unknown role", userWith(nil, RolePXAdmin), []string{"Emperor"}, false},
		{"Coordinator", userWith(&hospitalA, RolePXCoordinator), []string{RoleViewer}, false},
		{"no role", userWith(&hospitalA), nil, false},
		{"API key", apiKeyOf(&hospitalA), []string{RoleViewer}, false},
		{"anonymous", Principal{}, nil, false},
	} {
		if got := test.principal.MayAssign(test.roles...); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// Whoever is not told to be a user sees no events but those of a config.
func TestSenderKey(t *testing.T) {
	t.Parallel()
	config := uuid.New()
	for name, c := range map[string]struct {
		principal Principal
		want      *uuid.UUID
	}{
		"user":      {Principal{Kind: KindUser, UserID: uuid.New()}, nil},
		"key":       {Principal{Kind: KindAPIKey, ConfigID: config}, &config},
		"no config": {Principal{Kind: KindAPIKey}, &uuid.Nil},
		"anonymous": {Principal{}, &uuid.Nil},
	} {
		got := c.principal.SenderKey()
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
