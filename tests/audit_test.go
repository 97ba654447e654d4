package tests

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
)

// auditEntries lists all audit entries that the person can read, newest first.
func auditEntries(t testing.TB, reader person, query client.ListAuditEntriesParams) []client.AuditEntry {
	t.Helper()
	var entries []client.AuditEntry
	for entry, err := range reader.AllAuditEntries(context.Background(), &query) {
		must(t, err)
		entries = append(entries, entry)
	}
	return entries
}

func TestEveryChangeLeavesOneEntry(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	department := try(c.px.CreateDepartment(ctx, client.DepartmentCreate{Hospital: c.hospital, Name: "Department LAB", Code: "LAB"})).ok(t).ID
	began := value[time.Time](c.system, "SELECT now()")
	var changed client.Answer
	_, err := c.admin.UpdateDepartment(ctx, department, client.DepartmentUpdate{
		Phone: client.Ptr("123"), Location: client.Ptr("3rd floor"), Name: client.Ptr("Department LAB"),
	}, client.WithAnswer(&changed))
	must(t, err)
	// These requests change nothing, so they leave no entry.
	mine := client.DepartmentUpdate{Name: client.Ptr("Mine")}
	try(c.admin.UpdateDepartment(ctx, department, client.DepartmentUpdate{Name: client.Ptr("")})).refused(t, 400)
	try(c.admin.UpdateDepartment(ctx, department, client.DepartmentUpdate{Parent: client.Value(uuid.New())})).refused(t, 400)
	try(c.person(c.hospital, "Nurse").UpdateDepartment(ctx, department, mine)).refused(t, 403)
	try(c.clinic().admin.UpdateDepartment(ctx, department, mine)).refused(t, 404)
	c.Physician("L-OF", func(p *db.PhysicianInsertParams) { p.Department = &department })
	refused(t, c.admin.DeleteDepartment(ctx, department), 409)
	try(c.admin.RetrieveDepartment(ctx, department)).ok(t)

	list := auditEntries(t, c.admin, client.ListAuditEntriesParams{ObjectType: client.Ptr("department"), ObjectID: &department})
	if len(list) != 2 {
		t.Fatalf("%d entries, want 2: %+v", len(list), list)
	}
	e := list[0]
	if e.Operation != "updateDepartment" || e.ActorKind != "user" || !is(e.Actor, c.admin.id) || e.ActorName != c.admin.username ||
		!is(e.Hospital, c.hospital) || e.ObjectID != department || e.ClientIP != "127.0.0.1" ||
		e.RequestID != changed.Header.Get("X-Request-ID") || e.At.Before(began) {
		t.Errorf("the entry is %s", jsonText(e))
	}
	if got := slices.Sorted(slices.Values(e.ChangedFields)); fmt.Sprint(got) != "[location phone]" {
		t.Errorf("the changed fields are %v", got)
	}
	if e := list[1]; e.Operation != "createDepartment" || fmt.Sprint(slices.Sorted(slices.Values(e.ChangedFields))) != "[code hospital name]" {
		t.Errorf("the entry of the creation is %s", jsonText(e))
	}
}

func TestAuditHasNoSecrets(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p, ctx := c.person(c.hospital), t.Context()
	const next = "Another-horse-361!"
	try(p.ChangePassword(ctx, client.PasswordChange{OldPassword: password, NewPassword: next, NewPasswordConfirm: next})).ok(t)
	try(c.admin.AssignRole(ctx, p.id, c.roleCalled("Nurse"))).ok(t)
	list := auditEntries(t, c.admin, client.ListAuditEntriesParams{ObjectID: &p.id})
	if len(list) != 2 || fmt.Sprint(list[0].ChangedFields, list[1].ChangedFields) != "[roles] [password]" {
		t.Errorf("the entries are %s", jsonText(list))
	}
	config := try(c.px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{Name: "His", SourceSystem: "his", Hospital: client.Value(c.hospital)})).ok(t)
	try(c.px.RotateIntegrationConfigKey(ctx, config.ID)).ok(t)
	list = auditEntries(t, c.px, client.ListAuditEntriesParams{ObjectID: &config.ID})
	if len(list) != 2 || fmt.Sprint(list[0].Operation, list[0].ChangedFields) != "rotateIntegrationConfigKey[api_key]" {
		t.Errorf("the entries are %s", jsonText(list))
	}
}

// A Hospital Admin sees the changes of all users to objects of the hospital, and no others.
func TestAuditIsScopedToTheHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx, otherHospital := t.Context(), c.clinic()
	try(c.px.CreateDepartment(ctx, client.DepartmentCreate{Hospital: otherHospital.hospital, Name: "Laboratory", Code: "LAB"})).ok(t)
	c.hospital = try(c.px.CreateHospital(ctx, client.HospitalCreate{Name: "Audited", Code: "AUDITED"})).ok(t).ID
	c.admin = c.person(c.hospital, "Hospital Admin")
	survey := try(c.px.CreateSurveyTemplate(ctx, client.SurveyTemplateCreate{Hospital: c.hospital, Name: "Visit"})).ok(t).ID
	template := try(c.px.CreateJourneyTemplate(ctx, client.JourneyTemplateCreate{Hospital: c.hospital, Name: "Visit", JourneyType: client.JourneyTypeOPD})).ok(t).ID
	try(c.px.CreateStageTemplate(ctx, client.StageTemplateCreate{
		JourneyTemplate: template, Name: "Seen", Code: "SEEN", Order: 1, TriggerEventCode: "SEEN", SurveyTemplate: client.Value(survey),
	})).ok(t)
	patient := try(c.px.CreatePatient(ctx, client.PatientCreate{FirstName: "Ahmad", LastName: "Ali", MRN: "MRN-1", PrimaryHospital: client.Value(c.hospital)})).ok(t).ID
	j := try(c.px.CreateJourneyInstance(ctx, client.JourneyInstanceCreate{Hospital: c.hospital, JourneyTemplate: template, Patient: patient, EncounterID: "1"})).ok(t)
	try(c.px.UpdateStageInstance(ctx, j.StageInstances[0].ID, client.StageInstanceUpdate{Status: client.Ptr(client.StageStatusInProgress)})).ok(t)
	try(c.px.CreatePhysician(ctx, client.PhysicianCreate{
		Hospital: c.hospital, FirstName: "Sami", LastName: "Harbi", LicenseNumber: "L-1", Specialization: "Cardiology",
	})).ok(t)
	try(c.admin.UpdateHospital(ctx, c.hospital, client.HospitalUpdate{City: client.Ptr("Riyadh")})).ok(t)
	must(t, c.px.DeleteJourneyInstance(ctx, j.ID))
	want := []string{
		"createHospital", "createJourneyInstance", "createJourneyTemplate", "createPatient", "createPhysician", "createStageTemplate",
		"createSurveyTemplate", "deleteJourneyInstance", "updateHospital", "updateStageInstance",
	}
	type query = client.ListAuditEntriesParams
	var got []string
	for _, e := range auditEntries(t, c.admin, query{}) {
		got = append(got, e.Operation)
		if !is(e.Hospital, c.hospital) {
			t.Errorf("an entry of another hospital: %s", jsonText(e))
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the Hospital Admin reads of\n%v, want\n%v", got, want)
	}
	all := try(c.px.ListAuditEntries(ctx, nil)).ok(t).Count
	if stored := value[int64](c.system, "SELECT count(*) FROM audit_log"); all != stored || stored <= int64(len(want)) {
		t.Errorf("the PX Admin reads of %v changes of %v", all, stored)
	}
	year := func(year int) *time.Time { return client.Ptr(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)) }
	for _, test := range []struct {
		query query
		count int
	}{
		{query{Operation: client.Ptr("updateHospital")}, 1}, {query{Actor: &c.admin.id}, 1}, {query{Actor: &otherHospital.admin.id}, 0},
		{query{ObjectType: client.Ptr("patient")}, 1}, {query{Since: year(2999)}, 0}, {query{Until: year(2000)}, 0}, {query{Since: year(2000)}, len(want)},
	} {
		if got := len(auditEntries(t, c.admin, test.query)); got != test.count {
			t.Errorf("%s lists %d entries, want %d", jsonText(test.query), got, test.count)
		}
	}
	for _, role := range []string{"PX Coordinator", "Department Manager", "Viewer"} {
		try(c.person(c.hospital, role).ListAuditEntries(ctx, nil)).refused(t, 403)
	}
}
