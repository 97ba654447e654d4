package tests

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

const organizations = "/api/organizations/"

// Codes and numbers are unique in a hospital. Another may have the same; moving the row there is then refused.
func TestUniqueCodesAndNumbers(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx, other := t.Context(), c.clinic().hospital

	department := client.DepartmentCreate{Hospital: c.hospital, Name: "Lab", Code: "LAB"}
	message := "The fields hospital, code must make a unique set."
	try(c.px.CreateDepartment(ctx, department)).ok(t)
	try(c.px.CreateDepartment(ctx, department)).refusedField(t, client.NonFieldErrors, message)
	department.Hospital = other
	moved := try(c.px.CreateDepartment(ctx, department)).ok(t).ID
	try(c.px.UpdateDepartment(ctx, moved, client.DepartmentUpdate{Hospital: &c.hospital})).refusedField(t, client.NonFieldErrors, message)

	physician := client.PhysicianCreate{Hospital: c.hospital, FirstName: "A", LastName: "B", LicenseNumber: "L-1", Specialization: "Lab"}
	message = "physician with this license number already exists."
	try(c.px.CreatePhysician(ctx, physician)).ok(t)
	try(c.px.CreatePhysician(ctx, physician)).refusedField(t, "license_number", message)
	physician.Hospital = other
	moved = try(c.px.CreatePhysician(ctx, physician)).ok(t).ID
	try(c.px.UpdatePhysician(ctx, moved, client.PhysicianUpdate{Hospital: &c.hospital})).refusedField(t, "license_number", message)

	patient := client.PatientCreate{PrimaryHospital: client.Value(c.hospital), FirstName: "A", LastName: "B", MRN: "M-1"}
	message = "patient with this mrn already exists."
	try(c.px.CreatePatient(ctx, patient)).ok(t)
	try(c.px.CreatePatient(ctx, patient)).refusedField(t, "mrn", message)
	patient.PrimaryHospital = client.Value(other)
	moved = try(c.px.CreatePatient(ctx, patient)).ok(t).ID
	try(c.px.UpdatePatient(ctx, moved, client.PatientUpdate{PrimaryHospital: client.Value(c.hospital)})).refusedField(t, "mrn", message)

	hospital := client.HospitalCreate{Name: "Other", Code: try(c.px.RetrieveHospital(ctx, c.hospital)).ok(t).Code}
	try(c.px.CreateHospital(ctx, hospital)).refusedField(t, "code", "hospital with this code already exists.")
}

func TestDepartmentsAreATree(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	top, middle, leaf := c.Department("TOP"), c.Department("MIDDLE"), c.Department("LEAF")
	move := func(department, parent uuid.UUID) reply[client.Department] {
		return try(c.admin.UpdateDepartment(ctx, department, client.DepartmentUpdate{Parent: client.Value(parent)}))
	}
	move(middle, top).ok(t)
	move(leaf, middle).ok(t)
	move(top, top).refused(t, 400)
	move(top, middle).refused(t, 400)
	move(top, leaf).refused(t, 400)
	move(leaf, c.clinic().Department("TOP")).refused(t, 400)
	move(leaf, top).ok(t)
	try(c.admin.UpdateDepartment(ctx, top, client.DepartmentUpdate{Parent: client.Null[uuid.UUID]()})).ok(t)
	if list := try(c.admin.ListDepartments(ctx, &client.ListDepartmentsParams{Parent: &top})).ok(t); list.Count != 2 {
		t.Errorf("%v departments are below the top, want 2", list.Count)
	}
}

// Two concurrent moves, each valid alone, would close a cycle of three.
func TestConcurrentMovesOfDepartments(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	one, two, three := c.Department("1"), c.Department("2"), c.Department("3")
	move := func(department, parent uuid.UUID) error {
		_, err := c.admin.UpdateDepartment(t.Context(), department, client.DepartmentUpdate{Parent: client.Value(parent)})
		return err
	}
	must(t, move(two, three))
	errs := c.sendWhileLocked("SELECT FROM hospitals WHERE id = $1 FOR UPDATE", c.hospital,
		func() error { return move(one, two) }, func() error { return move(three, one) })
	refused(t, oneError(t, errs), 400)
}

// References between hospitals are refused. Only a PX Admin can try, since others do not see the
// other hospital's rows.
func TestReferencesBetweenHospitals(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx, other := t.Context(), c.clinic()
	department, foreign := c.Department("LAB"), other.Department("LAB")
	physician := c.Physician("L-1")
	move := func(who person, change client.PhysicianUpdate) reply[client.Physician] {
		return try(who.UpdatePhysician(ctx, physician, change))
	}
	const message = "The object is not of this hospital, or does not exist any more."
	move(c.px, client.PhysicianUpdate{Department: client.Value(foreign)}).refusedField(t, "department", message)
	move(c.admin, client.PhysicianUpdate{Department: client.Value(foreign)}).
		refusedField(t, "department", fmt.Sprintf(`Invalid pk "%s" - object does not exist.`, foreign))
	move(c.admin, client.PhysicianUpdate{Department: client.Value(department)}).ok(t)
	move(c.px, client.PhysicianUpdate{Hospital: &other.hospital}).refusedField(t, "department", message)
	try(c.px.UpdateDepartment(ctx, department, client.DepartmentUpdate{Hospital: &other.hospital, Code: client.Ptr("OTHER")})).
		refusedField(t, "hospital", "Others of the hospital refer to this, so it cannot move to another.")
	move(c.px, client.PhysicianUpdate{Hospital: &other.hospital, Department: client.Value(foreign)}).ok(t)
	try(c.admin.RetrievePhysician(ctx, physician)).refused(t, 404)
	try(other.admin.RetrievePhysician(ctx, physician)).ok(t)
}

func TestReferencedRowsAreNotDeleted(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.clinic(), t.Context()
	department, physician, survey := c.Department("LAB"), c.Physician("L-1"), c.Survey()
	try(c.px.UpdatePhysician(ctx, physician, client.PhysicianUpdate{Department: client.Value(department)})).ok(t)
	template := c.Template(sendsSurvey(survey, 0))
	j := c.journey(template, "1")
	stage := j.changeStage(1, client.StageInstanceUpdate{Physician: client.Value(physician)}).ok(t)
	manager := c.person(c.hospital)
	managed, above := c.Department("MANAGED"), c.Department("ABOVE")
	try(c.px.UpdateDepartment(ctx, managed, client.DepartmentUpdate{Manager: client.Value(manager.id), Parent: client.Value(above)})).ok(t)
	expectKept(t, c.px.DeleteHospital, c.px.RetrieveHospital, c.hospital)
	expectKept(t, c.px.DeleteDepartment, c.px.RetrieveDepartment, department)
	expectKept(t, c.px.DeleteDepartment, c.px.RetrieveDepartment, above)
	expectKept(t, c.px.DeletePhysician, c.px.RetrievePhysician, physician)
	expectKept(t, c.px.DeletePatient, c.px.RetrievePatient, j.patient)
	expectKept(t, c.px.DeleteUser, c.px.RetrieveUser, manager.id)
	expectKept(t, c.px.DeleteSurveyTemplate, c.px.RetrieveSurveyTemplate, survey)
	expectKept(t, c.px.DeleteJourneyTemplate, c.px.RetrieveJourneyTemplate, template)
	expectKept(t, c.px.DeleteStageTemplate, c.px.RetrieveStageTemplate, stage.StageTemplate)
	// Events and audit entries do not prevent deleting a hospital.
	deleted := s.clinic()
	p := deleted.person(deleted.hospital)
	event := try(p.CreateEvent(ctx, eventOf("X"))).ok(t).ID
	deleted.outcome(event)
	must(t, deleted.px.DeleteUser(ctx, p.id))
	must(t, deleted.px.DeleteUser(ctx, deleted.admin.id))
	must(t, deleted.px.DeleteHospital(ctx, deleted.hospital))
	if kept := deleted.outcome(event); !is(kept.Hospital, deleted.hospital) {
		t.Errorf("the event of a deleted hospital: %s", jsonText(kept))
	}
}

// expectKept expects a deletion to be refused because of references, and the row to be there still.
func expectKept[Row any](t *testing.T, remove func(context.Context, client.ID, ...client.CallOption) error,
	retrieve func(context.Context, client.ID, ...client.CallOption) (*Row, error), id uuid.UUID) {
	t.Helper()
	if e := refused(t, remove(t.Context(), id), 409); e.Detail == "" || len(answer{body: string(e.Body)}.json()) != 1 {
		t.Errorf("%v: %s", e, e.Body)
	}
	try(retrieve(t.Context(), id)).ok(t)
}

func TestPatientAndTheirHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	coordinator, ctx := c.person(c.hospital, "PX Coordinator"), t.Context()
	body := func(mrn string) client.PatientCreate {
		return client.PatientCreate{FirstName: "A", LastName: "B", MRN: mrn}
	}
	made := try(coordinator.CreatePatient(ctx, body("M-1"))).ok(t)
	if !is(made.PrimaryHospital, c.hospital) {
		t.Errorf("a coordinator's patient belongs to %v", made.PrimaryHospital)
	}
	null := body("M-2")
	null.PrimaryHospital = client.Null[uuid.UUID]()
	try(coordinator.CreatePatient(ctx, null)).refused(t, 400, "primary_hospital")
	try(coordinator.UpdatePatient(ctx, made.ID, client.PatientUpdate{PrimaryHospital: client.Null[uuid.UUID]()})).refused(t, 400)

	// Only PX Admins see a patient without a hospital.
	unassigned := try(c.px.CreatePatient(ctx, null)).ok(t).ID
	try(coordinator.RetrievePatient(ctx, unassigned)).refused(t, 404)
	try(c.px.RetrievePatient(ctx, unassigned)).ok(t)
	if list := try(coordinator.ListPatients(ctx, &client.ListPatientsParams{Search: client.Ptr("M-2")})).ok(t); list.Count != 0 {
		t.Errorf("the patient without hospital is in the list of %v", list.Count)
	}
	try(c.px.CreatePatient(ctx, null)).refused(t, 400, "mrn")
	try(coordinator.CreatePatient(ctx, body("M-2"))).ok(t)
	journey := client.JourneyInstanceCreate{JourneyTemplate: c.Template(), EncounterID: "1", Hospital: c.hospital, Patient: unassigned}
	try(coordinator.CreateJourneyInstance(ctx, journey)).refused(t, 400, "patient")
}

func TestHospitalSearchNormalizesSpelling(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	try(c.px.CreateHospital(ctx, client.HospitalCreate{Name: "King Fahd", NameAr: client.Ptr("مُستشفى المدينة"), Code: "KF-1"})).ok(t)
	for query, count := range map[string]int64{"king": 1, "KING,fahd": 1, "kf-1": 1, "مستشفي": 1, "مـستشفى المدينه": 1, "king saud": 0, "k_ng": 0, "%": 0} {
		if list := try(c.px.ListHospitals(ctx, &client.ListHospitalsParams{Search: &query})).ok(t); list.Count != count {
			t.Errorf("search %q finds %v hospitals, want %v", query, list.Count, count)
		}
	}
	try(c.admin.CreateHospital(ctx, client.HospitalCreate{Name: "Mine", Code: "MINE"})).refused(t, 403)
	try(c.admin.UpdateHospital(ctx, c.hospital, client.HospitalUpdate{City: client.Ptr("Riyadh")})).ok(t)
	refused(t, c.admin.DeleteHospital(ctx, c.hospital), 403)
}

// A PX Admin may set a manager of another hospital, but their name is not shown.
func TestNameOfAManagerOfAnotherHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	department, ctx := c.Department("D1"), t.Context()
	for name, test := range map[string]struct {
		manager person
		shown   bool
	}{
		"of the hospital": {c.person(c.hospital), true},
		"of none":         {c.person(uuid.Nil), true},
		"of another":      {c.clinic().admin, false},
	} {
		try(c.px.UpdateDepartment(ctx, department, client.DepartmentUpdate{Manager: client.Value(test.manager.id)})).ok(t)
		for _, reader := range []person{c.admin, c.px} {
			one := try(reader.RetrieveDepartment(ctx, department)).ok(t)
			list := try(reader.ListDepartments(ctx, &client.ListDepartmentsParams{Hospital: &c.hospital})).ok(t)
			if !is(one.Manager, test.manager.id) || is(one.ManagerName, test.manager.username) != test.shown ||
				strings.Contains(jsonText(list), test.manager.username) != test.shown {
				t.Errorf("%s: %s", name, jsonText(one))
			}
		}
	}
}
