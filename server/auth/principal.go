// Package auth does authentication and authorization: tokens, passwords, API
// keys, principals and the table of permissions. It depends on neither the
// database nor HTTP.
package auth

import (
	"slices"

	"github.com/google/uuid"
)

// The names of the seeded roles.
const (
	RolePXAdmin           = "PX Admin"
	RoleHospitalAdmin     = "Hospital Admin"
	RoleDepartmentManager = "Department Manager"
	RolePXCoordinator     = "PX Coordinator"
	RolePhysician         = "Physician"
	RoleNurse             = "Nurse"
	RoleStaff             = "Staff"
	RoleViewer            = "Viewer"
)

// RoleNames returns the names of the seeded roles, PX Admin first.
func RoleNames() []string {
	return []string{
		RolePXAdmin, RoleHospitalAdmin, RoleDepartmentManager, RolePXCoordinator,
		RolePhysician, RoleNurse, RoleStaff, RoleViewer,
	}
}

// Kind says how a principal authenticated.
type Kind int

const (
	KindAnonymous Kind = iota // no credentials
	KindUser                  // an access token
	KindAPIKey                // the key of an active config
)

// Principal is who makes a request, as read from the database for this request:
// only the user's id comes from a token's claims. The zero value is anonymous.
type Principal struct {
	Kind       Kind
	Hospital   *uuid.UUID // nil: none, or for an API key all hospitals
	Department *uuid.UUID

	// Of a user.
	UserID       uuid.UUID
	Username     string
	Roles        []string
	TokenVersion int

	// Of an API key: the config that it belongs to.
	ConfigID     uuid.UUID
	SourceSystem string
	Hospitals    []uuid.UUID // where Hospital is nil: those that its events may concern; none: all
}

// HasRole reports whether the principal is a user with this role.
func (p Principal) HasRole(role string) bool {
	return p.Kind == KindUser && slices.Contains(p.Roles, role)
}

// IsPXAdmin reports whether the principal sees and does everything.
func (p Principal) IsPXAdmin() bool { return p.HasRole(RolePXAdmin) }

// Scope is the hospital whose rows the principal sees: nil means all hospitals,
// for PX Admins and for API keys of a config without a hospital. A user with
// neither hospital nor PX Admin role and an anonymous principal get uuid.Nil,
// which matches no row: a query that does not tell them apart fails closed.
func (p Principal) Scope() *uuid.UUID {
	if p.IsPXAdmin() {
		return nil
	}
	if p.Kind == KindAPIKey && p.ConfigID != uuid.Nil && p.Hospital == nil {
		return nil
	}
	scope := uuid.Nil
	if p.Kind != KindAnonymous && p.Hospital != nil {
		scope = *p.Hospital
	}
	return &scope
}

// SenderKey is the config whose events are the only ones that the principal sees: nil for users, who see the events
// of every sender. An anonymous principal gets uuid.Nil, which sent nothing.
func (p Principal) SenderKey() *uuid.UUID {
	if p.Kind == KindUser {
		return nil
	}
	config := p.ConfigID
	return &config
}

// MayAssign reports whether the principal may give all of these roles to users
// in its scope or revoke them. Ask it also before changing a user: a principal
// may not change, deactivate, delete or set the password of a user holding a role
// that it could not assign (privilege escalation).
func (p Principal) MayAssign(roles ...string) bool {
	if rule, _ := permissions.Rule("roles.assign"); !p.May(rule) {
		return false
	}
	for _, role := range roles {
		if role == RolePXAdmin && !p.IsPXAdmin() || !slices.Contains(RoleNames(), role) {
			return false
		}
	}
	return true
}
