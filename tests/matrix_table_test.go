package tests

import (
	"maps"

	"github.com/google/uuid"
)

// The permission matrix, duplicated by hand: TestMatrix checks the server against this table and not
// against the server's own.

// An audience is the set of principals who may call an operation.
type audience struct {
	everyUser bool     // also without a hospital
	members   bool     // every user of a hospital, and API keys
	keys      bool     // API keys
	roles     []string // users of a hospital with one of these roles
}

// allows reports whether the principal may call the operation. PX Admins always may.
func (a audience) allows(p *principal) bool {
	switch {
	case p.apiKey != "":
		return a.members || a.keys
	case p.access == "":
		return false
	case p.isPXAdmin(), a.everyUser:
		return true
	case p.hospital == nil: // roles work within a hospital
		return false
	}
	for _, role := range a.roles {
		if p.role == role {
			return true
		}
	}
	return a.members
}

var (
	everyUser       = audience{everyUser: true}
	members         = audience{members: true}
	pxAdmins        = audience{}
	eventReaders    = audience{keys: true} // and PX Admins; an API key sees the events that it sent
	hospitalAdmins  = audience{roles: []string{"Hospital Admin"}}
	coordinators    = audience{roles: []string{"Hospital Admin", "PX Coordinator"}}
	journeyManagers = audience{roles: []string{"Hospital Admin", "PX Coordinator", "Department Manager"}}
)

// A rule is what the matrix expects of an operation.
type rule struct {
	who  audience
	noun string                                        // of the object in the path, or of the rows of the list
	ok   int                                           // the status of success
	body func(w *matrixWorld, at *side) map[string]any // for a row of the hospital; nil: no body
	// mixed is the status, by field, when a PX Admin makes a row of one hospital refer to a row of
	// another. The default is 400.
	mixed map[string]int
	// alone: a success changes the principal, so each cell gets its own.
	alone bool
	// assignees: users who are not among them may do it with what is assigned to them, which these rows are not.
	assignees bool
}

var matrix = collect(
	crud("User", "Users", "user", everyUser, hospitalAdmins, userBody, nil),
	crud("Hospital", "Hospitals", "hospital", everyUser, hospitalAdmins, hospitalBody, nil),
	crud("Department", "Departments", "department", everyUser, hospitalAdmins, departmentBody, []string{"manager"}),
	crud("Physician", "Physicians", "physician", everyUser, coordinators, physicianBody, nil),
	crud("Patient", "Patients", "patient", everyUser, coordinators, patientBody, nil),
	crud("SurveyTemplate", "SurveyTemplates", "survey_template", everyUser, coordinators, surveyTemplateBody, nil),
	crud("JourneyTemplate", "JourneyTemplates", "journey_template", everyUser, coordinators, journeyTemplateBody, nil),
	crud("StageTemplate", "StageTemplates", "stage_template", everyUser, coordinators, stageTemplateBody, nil),
	crud("JourneyInstance", "JourneyInstances", "journey_instance", everyUser, journeyManagers, journeyBody, nil),
	crud("StageInstance", "StageInstances", "stage_instance", everyUser, journeyManagers, stageBody, nil),
	crud("IntegrationConfig", "IntegrationConfigs", "config", pxAdmins, pxAdmins, configBody, nil),
	crud("Action", "Actions", "action", everyUser, journeyManagers, actionBody, nil),
	crud("WebhookEndpoint", "WebhookEndpoints", "webhook_endpoint", hospitalAdmins, hospitalAdmins, endpointBody, nil),
	map[string]rule{
		"createUser":                 {who: hospitalAdmins, noun: "user", ok: 201, body: newUserBody, mixed: all201("hospital")},
		"createHospital":             {who: pxAdmins, noun: "hospital", ok: 201, body: hospitalBody},
		"deleteHospital":             {who: pxAdmins, noun: "hospital", ok: 204},
		"createJourneyInstance":      {who: journeyManagers, noun: "journey_instance", ok: 201, body: journeyBody, mixed: all201("patient")},
		"replaceStageInstance":       {who: journeyManagers, noun: "stage_instance", ok: 200, body: sameStageBody},
		"createStageTemplate":        {who: coordinators, noun: "stage_template", ok: 201, body: stageTemplateBody, mixed: all201("journey_template")},
		"retrieveHospitalSettings":   {who: everyUser, noun: "hospital", ok: 200},
		"replaceHospitalSettings":    {who: hospitalAdmins, noun: "hospital", ok: 200, body: settingsBody},
		"updateHospitalSettings":     {who: hospitalAdmins, noun: "hospital", ok: 200, body: settingsBody},
		"retrieveMe":                 {who: everyUser, noun: "user", ok: 200},
		"replaceProfile":             {who: everyUser, ok: 200, body: nameBody("first_name")},
		"updateProfile":              {who: everyUser, ok: 200, body: nameBody("first_name")},
		"changePassword":             {who: everyUser, ok: 200, body: newPasswordBody, alone: true},
		"assignRole":                 {who: hospitalAdmins, noun: "user", ok: 200, body: roleBody},
		"removeRole":                 {who: hospitalAdmins, noun: "user", ok: 200, body: roleBody},
		"listRoles":                  {who: everyUser, noun: "role", ok: 200},
		"retrieveRole":               {who: everyUser, noun: "role", ok: 200},
		"retrieveJourneyProgress":    {who: everyUser, noun: "journey_instance", ok: 200},
		"rotateIntegrationConfigKey": {who: pxAdmins, noun: "config", ok: 200},
		"listSurveyInstances":        {who: everyUser, noun: "survey_instance", ok: 200},
		"retrieveSurveyInstance":     {who: everyUser, noun: "survey_instance", ok: 200},
		"sendSurveyInstance":         {who: coordinators, noun: "survey_instance", ok: 200},
		"resendSurveyInstance":       {who: coordinators, noun: "sent_survey", ok: 200},
		"cancelSurveyInstance":       {who: coordinators, noun: "survey_instance", ok: 200},
		"assignAction":               {who: journeyManagers, noun: "action", ok: 200, body: assignmentBody},
		"changeActionStatus":         {who: journeyManagers, noun: "action", ok: 200, body: statusBody("in_progress"), assignees: true},
		"addActionNote":              {who: journeyManagers, noun: "action", ok: 200, body: nameBody("note"), assignees: true},
		"escalateAction":             {who: journeyManagers, noun: "action", ok: 200, body: nameBody("note")},
		"approveAction":              {who: coordinators, noun: "pending_action", ok: 200},
		"listActionLog":              {who: everyUser, noun: "action", ok: 200},
		"rotateWebhookSecret":        {who: hospitalAdmins, noun: "webhook_endpoint", ok: 200, body: rotationBody},
		"testWebhookEndpoint":        {who: hospitalAdmins, noun: "webhook_endpoint", ok: 200},
		"replayWebhookEvents":        {who: hospitalAdmins, noun: "webhook_endpoint", ok: 200, body: replayBody},
		"listWebhookMessages":        {who: hospitalAdmins, noun: "webhook_message", ok: 200},
		"retrieveWebhookMessage":     {who: hospitalAdmins, noun: "webhook_message", ok: 200},
		"redeliverWebhookMessage":    {who: hospitalAdmins, noun: "webhook_message", ok: 200},
		"retrieveSurveyScores":       {who: everyUser, ok: 200},
		"createEvent":                {who: members, ok: 201, body: eventBody},
		"bulkCreateEvents":           {who: members, ok: 201, body: bulkBody},
		"listEvents":                 {who: eventReaders, noun: "event", ok: 200},
		"retrieveEvent":              {who: eventReaders, noun: "event", ok: 200},
		"explainEvent":               {who: pxAdmins, noun: "event", ok: 200},
		"bulkReprocessEvents":        {who: pxAdmins, ok: 200, body: reprocessBody},
		"reprocessEvent":             {who: pxAdmins, noun: "event", ok: 200},
		"listAuditEntries":           {who: hospitalAdmins, noun: "audit_entry", ok: 200},
	},
)

// crud are the rules of the six operations on a noun. In the fields of mixed a PX Admin may refer
// to rows of another hospital. They may always change the hospital itself, which moves the row.
func crud(name, plural, noun string, readers, writers audience, body func(*matrixWorld, *side) map[string]any, mixed []string) map[string]rule {
	creating, changing := map[string]int{"hospital": 201, "primary_hospital": 201}, map[string]int{"hospital": 200, "primary_hospital": 200}
	for _, field := range mixed {
		creating[field], changing[field] = 201, 200
	}
	if noun == "action" {
		changing = nil
	}
	if noun == "journey_instance" { // its hospital cannot change
		creating, changing = nil, nil
	}
	return map[string]rule{
		"list" + plural:   {who: readers, noun: noun, ok: 200},
		"retrieve" + name: {who: readers, noun: noun, ok: 200},
		"create" + name:   {who: writers, noun: noun, ok: 201, body: body, mixed: creating},
		"replace" + name:  {who: writers, noun: noun, ok: 200, body: body, mixed: changing},
		"update" + name:   {who: writers, noun: noun, ok: 200, body: patchBody(noun), mixed: changing},
		"delete" + name:   {who: writers, noun: noun, ok: 204},
	}
}

func collect(parts ...map[string]rule) map[string]rule {
	all := map[string]rule{}
	for _, part := range parts { // later parts override
		maps.Copy(all, part)
	}
	return all
}

func all201(field string) map[string]int { return map[string]int{field: 201} }

// patchBody is a minimal change of a row.
func patchBody(noun string) func(*matrixWorld, *side) map[string]any {
	switch noun {
	case "user", "physician", "patient":
		return nameBody("first_name")
	case "action":
		return nameBody("title")
	case "webhook_endpoint":
		return nameBody("description")
	case "journey_instance", "stage_instance":
		return func(w *matrixWorld, at *side) map[string]any {
			return map[string]any{"metadata": map[string]any{"note": w.text(at)}}
		}
	}
	return nameBody("name")
}

func nameBody(field string) func(*matrixWorld, *side) map[string]any {
	return func(w *matrixWorld, at *side) map[string]any { return map[string]any{field: w.text(at)} }
}

func userBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"username": w.text(at), "email": "someone@example.org", "hospital": at.id("hospital")}
}

func newUserBody(w *matrixWorld, at *side) map[string]any {
	body := userBody(w, at)
	body["password"], body["password_confirm"] = password, password
	return body
}

func newPasswordBody(*matrixWorld, *side) map[string]any {
	return map[string]any{"old_password": password, "new_password": "Another-horse-361!", "new_password_confirm": "Another-horse-361!"}
}

func roleBody(w *matrixWorld, _ *side) map[string]any {
	return map[string]any{"role_id": w.role("Viewer")}
}

func hospitalBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"name": at.mark, "code": w.text(at)}
}

func settingsBody(*matrixWorld, *side) map[string]any {
	return map[string]any{
		"timezone": "Asia/Riyadh", "language": "en", "channels": []string{"email"},
		"quiet_hours": map[string]any{"start": "22:00", "end": "08:00"}, "contact_cap": map[string]any{"surveys": 2, "days": 7},
		"business_hours": map[string]any{"sun": []any{[]string{"08:00", "12:00"}, []string{"13:00", "24:00"}}}, "holidays": []string{"2026-09-23"},
		"action_sla": map[string]any{
			"low": map[string]any{"hours": 40, "clock": "business"}, "medium": map[string]any{"hours": 20, "clock": "business"},
			"high": map[string]any{"hours": 12, "clock": "calendar"}, "urgent": map[string]any{"hours": 2, "clock": "calendar"},
		},
	}
}

func departmentBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"hospital": at.id("hospital"), "name": at.mark, "code": w.text(at)}
}

func physicianBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"first_name": at.mark, "last_name": "Physician", "license_number": w.text(at), "specialization": "Cardiology", "hospital": at.id("hospital")}
}

func patientBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"first_name": at.mark, "last_name": "Patient", "mrn": w.text(at), "primary_hospital": at.id("hospital")}
}

func actionBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"title": w.text(at), "hospital": at.id("hospital")}
}

func assignmentBody(_ *matrixWorld, at *side) map[string]any {
	return map[string]any{"assigned_to": at.id("user")}
}

func statusBody(status string) func(*matrixWorld, *side) map[string]any {
	return func(*matrixWorld, *side) map[string]any { return map[string]any{"status": status} }
}

func endpointBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"url": "https://partner.example/" + w.text(at), "hospital": at.id("hospital"), "events": []string{"action.created"}}
}

func rotationBody(*matrixWorld, *side) map[string]any { return map[string]any{"overlap_hours": 0} }

func replayBody(*matrixWorld, *side) map[string]any {
	return map[string]any{"since": "2026-01-01T00:00:00Z"}
}

func reprocessBody(*matrixWorld, *side) map[string]any {
	return map[string]any{"filter": map[string]any{"status": "failed", "reason": "no_such_reason", "received_after": "2026-01-01T00:00:00Z"}}
}

func surveyTemplateBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"name": w.text(at), "hospital": at.id("hospital")}
}

func journeyTemplateBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"name": w.text(at), "journey_type": "opd", "hospital": at.id("hospital")}
}

func stageTemplateBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"journey_template": at.id("journey_template"), "name": at.mark, "code": w.text(at), "order": 2, "trigger_event_code": "SEEN"}
}

func journeyBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"journey_template": at.id("journey_template"), "patient": at.id("patient"), "encounter_id": w.text(at), "hospital": at.id("hospital")}
}

// stageBody adds the stage to a new journey, since a journey has each stage once.
func stageBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"journey_instance": w.row("journey_instance", at), "stage_template": at.id("stage_template")}
}

func sameStageBody(_ *matrixWorld, at *side) map[string]any {
	return map[string]any{"journey_instance": at.id("journey_instance"), "stage_template": at.id("stage_template"), "status": "in_progress"}
}

func configBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"name": w.text(at), "source_system": "his", "hospital": at.id("hospital")}
}

func eventBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"source_system": "his", "event_code": "CHECKED_IN", "encounter_id": w.text(at)}
}

func bulkBody(w *matrixWorld, at *side) map[string]any {
	return map[string]any{"events": []any{eventBody(w, at), eventBody(w, at)}}
}

// public are the operations without authentication: a valid body is answered with 200, whoever
// sends it, and an invalid one with 401.
var public = map[string]func(w *matrixWorld, right bool) map[string]any{
	"createToken": func(w *matrixWorld, right bool) map[string]any {
		if !right {
			return map[string]any{"username": unique("nobody"), "password": password} // repeated failures of one name are throttled
		}
		return map[string]any{"username": w.person(w.a.id("hospital")).username, "password": password}
	},
	"refreshToken":   tokenBody("refresh"),
	"blacklistToken": tokenBody("refresh"),
	"verifyToken":    tokenBody("token"),
}

func tokenBody(field string) func(*matrixWorld, bool) map[string]any {
	return func(w *matrixWorld, right bool) map[string]any {
		if !right {
			return map[string]any{field: "no.such.token"}
		}
		return map[string]any{field: w.person(w.a.id("hospital")).refresh}
	}
}

// with is a copy of a body with one changed field.
func with(body map[string]any, field string, value uuid.UUID) map[string]any {
	body = maps.Clone(body)
	body[field] = value
	return body
}
