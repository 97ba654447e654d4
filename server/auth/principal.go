// Package auth knows who calls and what they may do: tokens, passwords, API
// keys, principals and the table of permissions. It knows neither the database
// nor HTTP.
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

// Kind says what a principal proved to be.
type Kind int

const (
	KindAnonymous Kind = iota // proved nothing
	KindUser                  // showed an access token
	KindAPIKey                // showed the key of an active config
)

// Principal is who makes a request, as read from the database for this request;
// nothing in it comes from a token's claims but the user's id. The zero value is
// a stranger.
type Principal struct {
	Kind       Kind
	Hospital   *uuid.UUID // nil: none, or for an API key every one
	Department *uuid.UUID

	// Of a user.
	UserID       uuid.UUID
	Username     string
	Roles        []string
	TokenVersion int

	// Of an API key: the config that it belongs to.
	ConfigID     uuid.UUID
	SourceSystem string
}

// HasRole reports whether the principal is a user with this role.
func (p Principal) HasRole(role string) bool {
	return p.Kind == KindUser && slices.Contains(p.Roles, role)
}

// IsPXAdmin reports whether the principal sees and does everything.
func (p Principal) IsPXAdmin() bool { return p.HasRole(RolePXAdmin) }

// Scope is the hospital whose rows the principal sees: nil for every hospital,
// which are PX Admins and API keys of a config for all. A user with neither
// hospital nor PX Admin role gets the nil UUID, which matches no row, and so does
// a stranger: a query that forgets the difference shows nothing, not everything.
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

// MayAssign reports whether the principal may give all of these roles to users
// in its scope or take them away. It also decides whom it may change: nobody
// changes, deactivates, deletes or sets the password of a user holding a role
// that they could not assign.
func (p Principal) MayAssign(roles ...string) bool {
	if !p.May("roles.assign") {
		return false
	}
	for _, role := range roles {
		if role == RolePXAdmin && !p.IsPXAdmin() || !slices.Contains(RoleNames(), role) {
			return false
		}
	}
	return true
}
