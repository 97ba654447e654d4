package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Audience is who has a permission. PX Admins always have it.
type Audience int

const (
	// RoleHolders are users of a hospital with one of the rule's roles. It is the
	// zero value (deny by default): a rule without roles is for PX Admins alone.
	RoleHolders Audience = iota
	Everyone             // also anonymous clients and API keys
	Users                // every user, with or without a hospital
	Members              // every user of a hospital
)

// Rule is a row of the table of permissions.
type Rule struct {
	Permission string
	Audience   Audience
	Roles      []string // with RoleHolders: who besides PX Admins
	APIKeys    bool     // whether API keys have it too
	Meaning    string
}

// A Policy is the whole table of permissions. It says which operations a principal may
// call; Principal.Scope says on which rows.
type Policy []Rule

// EventSenders is who may send events, beside API keys.
type EventSenders string

const (
	EventSendersAny   EventSenders = "any"   // every user of a hospital, as the document says
	EventSendersStaff EventSenders = "staff" // PX Admins, Hospital Admins and PX Coordinators
)

// UnmarshalText reads one of the two words, for packages that read configuration.
func (e *EventSenders) UnmarshalText(text []byte) error {
	*e = EventSenders(text)
	_, err := NewPolicy(*e)
	return err
}

const sendEvents = "events.send"

// ActionsWrite and ActionsApprove are asked beside the permission of the operation: see those who work on actions.
const (
	ActionsWrite   = "actions.write"
	ActionsApprove = "actions.approve"
)

// ResponsesRead is the permission to see what single patients answered. It is asked beside that of the operation.
const ResponsesRead = "responses.read"

// NewPolicy is the policy with these senders of events. The error is that they are not one of the constants.
func NewPolicy(eventSenders EventSenders) (Policy, error) {
	policy := slices.Clone(permissions)
	for i := range policy {
		policy[i].Roles = slices.Clone(policy[i].Roles)
		if policy[i].Permission == sendEvents && eventSenders == EventSendersStaff {
			policy[i].Audience, policy[i].Roles = RoleHolders, slices.Clone(coordinators)
		}
	}
	if eventSenders != EventSendersAny && eventSenders != EventSendersStaff {
		return nil, fmt.Errorf("the senders of events can be %s or %s, not %q", EventSendersAny, EventSendersStaff, eventSenders)
	}
	return policy, nil
}

// Rule is the rule of a permission; it is false if there is none.
func (p Policy) Rule(permission string) (Rule, bool) {
	for _, rule := range p {
		if rule.Permission == permission {
			return rule, true
		}
	}
	return Rule{}, false
}

// permissions is the policy but for what can be chosen.
var permissions = Policy{
	{Permission: "public", Audience: Everyone, Meaning: "needs no authentication"},
	{Permission: "authenticated", Audience: Users, Meaning: "what every user may do, such as their own profile"},

	{Permission: "users.read", Audience: Users, Meaning: "list and show users"},
	{Permission: "users.write", Roles: hospitalAdmins, Meaning: "create, change and delete users"},
	{Permission: "roles.read", Audience: Users, Meaning: "list and show roles"},
	{Permission: "roles.assign", Roles: hospitalAdmins, Meaning: "give roles to users and take them away; PX Admin only by PX Admins"},

	{Permission: "hospitals.read", Audience: Users, Meaning: "list and show hospitals"},
	{Permission: "hospitals.create", Meaning: "create and delete hospitals"},
	{Permission: "hospitals.update", Roles: hospitalAdmins, Meaning: "change a hospital"},
	{Permission: "departments.read", Audience: Users, Meaning: "list and show departments"},
	{Permission: "departments.write", Roles: hospitalAdmins, Meaning: "create, change and delete departments"},
	{Permission: "physicians.read", Audience: Users, Meaning: "list and show physicians"},
	{Permission: "physicians.write", Roles: coordinators, Meaning: "create, change and delete physicians"},
	{Permission: "patients.read", Audience: Users, Meaning: "list and show patients"},
	{Permission: "patients.write", Roles: coordinators, Meaning: "create, change and delete patients"},

	{Permission: "templates.read", Audience: Users, Meaning: "list and show journey, stage and survey templates"},
	{Permission: "templates.write", Roles: coordinators, Meaning: "create, change and delete journey, stage and survey templates"},
	{Permission: "journeys.read", Audience: Users, Meaning: "list and show journey and stage instances"},
	{Permission: "journeys.write", Roles: journeyEditors, Meaning: "create, change and delete journey and stage instances"},

	{Permission: "surveys.read", Audience: Users, Meaning: "list and show surveys, but for what was answered"},
	{Permission: ResponsesRead, Roles: journeyEditors, Meaning: "show what was answered in a survey, and its score"},
	{Permission: "surveys.manage", Roles: coordinators, Meaning: "send, resend and cancel surveys"},
	{Permission: "scores.read", Audience: Users, Meaning: "show scores, added up over surveys"},

	{Permission: "actions.read", Audience: Users, Meaning: "list and show actions, and their logs"},
	{Permission: ActionsWrite, Roles: journeyEditors, Meaning: "create, change, assign, escalate and delete actions"},
	{Permission: "actions.work", Audience: Users, Meaning: "add notes and change the status: of any action with actions.write, else of those assigned to the user"},
	{Permission: ActionsApprove, Roles: coordinators, Meaning: "approve, close and reopen actions"},

	{Permission: "webhooks.manage", Roles: hospitalAdmins, Meaning: "list, show, create, change, test and delete webhook endpoints, and deliver their messages again"},

	{Permission: sendEvents, Audience: Members, APIKeys: true, Meaning: "send events, one or many"},
	{Permission: "events.read", APIKeys: true, Meaning: "list and show events; an API key those that it sent"},
	{Permission: "events.manage", Meaning: "reprocess events"},
	{Permission: "configs.manage", Meaning: "list, show, create, change and delete integration configs"},
	{Permission: "audit.read", Roles: hospitalAdmins, Meaning: "list and show audit entries"},
}

var (
	hospitalAdmins = []string{RoleHospitalAdmin}
	coordinators   = []string{RoleHospitalAdmin, RolePXCoordinator}
	journeyEditors = []string{RoleHospitalAdmin, RolePXCoordinator, RoleDepartmentManager}
)

// MembersOnly reports whether the only users with the permission are those of a
// hospital, with one of the rule's roles if it has any, and PX Admins.
func (r Rule) MembersOnly() bool { return r.Audience == Members || len(r.Roles) > 0 }

// May reports whether the principal has a permission. The zero Rule is PX Admins' alone.
func (p Principal) May(rule Rule) bool {
	switch p.Kind {
	case KindUser:
		return p.IsPXAdmin() || p.userMay(rule)
	case KindAPIKey:
		return rule.APIKeys || rule.Audience == Everyone
	default:
		return rule.Audience == Everyone
	}
}

// userMay applies a rule to a user who is not a PX Admin.
func (p Principal) userMay(rule Rule) bool {
	switch rule.Audience {
	case Everyone, Users:
		return true
	case Members:
		return p.Hospital != nil
	default:
		// Roles are scoped to a hospital: a user without one has no rows to write.
		return p.Hospital != nil && slices.ContainsFunc(rule.Roles, p.HasRole)
	}
}

// Who describes who has the permission, for the documentation.
func (r Rule) Who() string {
	var who []string
	switch r.Audience {
	case Everyone:
		return "everyone, without authentication"
	case Users:
		who = []string{"every user"}
	case Members:
		who = []string{RolePXAdmin, "every user of a hospital"}
	default:
		who = append([]string{RolePXAdmin}, r.Roles...)
	}
	if r.APIKeys {
		who = append(who, "API keys")
	}
	return strings.Join(who, ", ")
}
