package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const organizations = "/api/organizations/"

func TestUniqueCodesAndNumbers(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	other := c.clinic()
	department := func(hospital any) fields { return fields{"name": "Lab", "code": "LAB", "hospital": hospital} }
	physician := func(hospital any) fields {
		return fields{"first_name": "A", "last_name": "B", "license_number": "L-1", "specialization": "Lab", "hospital": hospital}
	}
	patient := func(hospital any) fields {
		return fields{"first_name": "A", "last_name": "B", "mrn": "M-1", "primary_hospital": hospital}
	}
	for _, test := range []struct {
		path    string
		body    func(hospital any) fields
		message string
	}{
		{"departments/", department, `{"non_field_errors":["The fields hospital, code must make a unique set."]}`},
		{"physicians/", physician, `{"license_number":["physician with this license number already exists."]}`},
		{"patients/", patient, `{"mrn":["patient with this mrn already exists."]}`},
	} {
		path := organizations + test.path
		c.create(c.px, path, test.body(c.hospital))
		if a := c.expect(t, 400, "POST", path, c.px, test.body(c.hospital)); a.body != test.message {
			t.Errorf("twice in a hospital: %s, want %s", a.body, test.message)
		}
		// Another hospital may have the same value; moving the row there is then refused.
		moved := c.create(c.px, path, test.body(other.hospital))
		body := test.body(c.hospital)
		if a := c.expect(t, 400, "PATCH", path+moved.String()+"/", c.px, body); a.body != test.message {
			t.Errorf("moved to the hospital with the same value: %s, want %s", a.body, test.message)
		}
	}
	code := c.expect(t, 200, "GET", organizations+"hospitals/"+c.hospital.String()+"/", c.px, nil).json()["code"]
	a := c.expect(t, 400, "POST", organizations+"hospitals/", c.px, fields{"name": "Other", "code": code})
	if a.body != `{"code":["hospital with this code already exists."]}` {
		t.Errorf("a second hospital of the code: %s", a.body)
	}
}

func TestDepartmentsAreATree(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	top, middle, leaf := c.Department("TOP"), c.Department("MIDDLE"), c.Department("LEAF")
	move := func(want int, department, parent any) {
		t.Helper()
		c.expect(t, want, "PATCH", fmt.Sprintf("%sdepartments/%v/", organizations, department), c.admin.access, fields{"parent": parent})
	}
	move(200, middle, top)
	move(200, leaf, middle)
	move(400, top, top)
	move(400, top, middle)
	move(400, top, leaf)
	move(400, leaf, c.clinic().Department("TOP"))
	move(200, leaf, top)
	move(200, top, nil)
	list := c.expect(t, 200, "GET", organizations+"departments/?parent="+top.String(), c.admin.access, nil).json()
	if list["count"] != 2.0 {
		t.Errorf("%v departments are below the top, want 2", list["count"])
	}
}

// Two concurrent moves, each valid alone, would close a cycle of three.
func TestConcurrentMovesOfDepartments(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	one, two, three := c.Department("1"), c.Department("2"), c.Department("3")
	move := func(department, parent uuid.UUID) int {
		return c.send("PATCH", organizations+"departments/"+department.String()+"/", c.admin.access, fields{"parent": parent}).status
	}
	if status := move(two, three); status != 200 {
		t.Fatalf("moving one department: %d", status)
	}
	statuses := c.sendWhileLocked("SELECT FROM hospitals WHERE id = $1 FOR UPDATE", c.hospital,
		func() int { return move(one, two) }, func() int { return move(three, one) })
	if slices.Sort(statuses); !slices.Equal(statuses, []int{200, 400}) {
		t.Errorf("the requests were answered with %v, want 200 and 400", statuses)
	}
}

// References between hospitals are refused. Only a PX Admin can try, since others do not see the
// other hospital's rows.
func TestReferencesBetweenHospitals(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	other := c.clinic()
	department, foreign := c.Department("LAB"), other.Department("LAB")
	physician := c.Physician("L-1")
	path := organizations + "physicians/" + physician.String() + "/"
	message := `["The object is not of this hospital, or does not exist any more."]`
	if a := c.expect(t, 400, "PATCH", path, c.px, fields{"department": foreign}); a.body != `{"department":`+message+`}` {
		t.Errorf("a department of another hospital: %s", a.body)
	}
	if a := c.expect(t, 400, "PATCH", path, c.admin.access, fields{"department": foreign}); a.body != fmt.Sprintf(`{"department":["Invalid pk \"%s\" - object does not exist."]}`, foreign) {
		t.Errorf("a department of another hospital: %s", a.body)
	}
	c.expect(t, 200, "PATCH", path, c.admin.access, fields{"department": department})
	if a := c.expect(t, 400, "PATCH", path, c.px, fields{"hospital": other.hospital}); a.body != `{"department":`+message+`}` {
		t.Errorf("moved without the department: %s", a.body)
	}
	a := c.expect(t, 400, "PATCH", organizations+"departments/"+department.String()+"/", c.px, fields{"hospital": other.hospital, "code": "OTHER"})
	if a.body != `{"hospital":["Others of the hospital refer to this, so it cannot move to another."]}` {
		t.Errorf("a department moved without its physicians: %s", a.body)
	}
	c.expect(t, 200, "PATCH", path, c.px, fields{"hospital": other.hospital, "department": foreign})
	c.expect(t, 404, "GET", path, c.admin.access, nil)
	c.expect(t, 200, "GET", path, other.admin.access, nil)
}

func TestReferencedRowsAreNotDeleted(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.clinic()
	department, physician, survey := c.Department("LAB"), c.Physician("L-1"), c.Survey()
	c.expect(t, 200, "PATCH", organizations+"physicians/"+physician.String()+"/", c.px, fields{"department": department})
	template := c.Template(sendsSurvey(survey, 0))
	j := c.journey(template, "1")
	j.stage(t, 1, 200, fields{"physician": physician})
	manager := c.person(c.hospital)
	managed := c.Department("MANAGED")
	c.expect(t, 200, "PATCH", organizations+"departments/"+managed.String()+"/", c.px, fields{"manager": manager.id})
	above := c.Department("ABOVE")
	c.expect(t, 200, "PATCH", organizations+"departments/"+managed.String()+"/", c.px, fields{"parent": above})
	stageTemplate := j.stages()[0]["stage_template"]
	for _, path := range []string{
		organizations + "hospitals/" + c.hospital.String(),
		organizations + "departments/" + department.String(),
		organizations + "departments/" + above.String(),
		organizations + "physicians/" + physician.String(),
		organizations + "patients/" + j.patient.String(),
		"/api/auth/users/" + manager.id.String(),
		"/api/surveys/templates/" + survey.String(),
		"/api/journeys/templates/" + template.String(),
		fmt.Sprintf("/api/journeys/stage-templates/%v", stageTemplate),
	} {
		if a := c.expect(t, 409, "DELETE", path+"/", c.px, nil); len(a.json()) != 1 || a.json()["detail"] == nil {
			t.Errorf("DELETE %s: %s", path, a.body)
		}
		c.expect(t, 200, "GET", path+"/", c.px, nil)
	}
	// Events and audit entries do not prevent deleting a hospital.
	deleted := s.clinic()
	p := deleted.person(deleted.hospital)
	event := deleted.create(p.access, "/api/integrations/events/", fields{"source_system": "his", "event_code": "E1", "encounter_id": "X"})
	deleted.outcome(event)
	deleted.expect(t, 204, "DELETE", userPath(p.id), deleted.px, nil)
	deleted.expect(t, 204, "DELETE", userPath(deleted.admin.id), deleted.px, nil)
	deleted.expect(t, 204, "DELETE", organizations+"hospitals/"+deleted.hospital.String()+"/", deleted.px, nil)
	if kept := deleted.outcome(event); kept["hospital"] != deleted.hospital.String() {
		t.Errorf("the event of a deleted hospital: %v", kept)
	}
}

func TestPatientAndTheirHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	coordinator := c.person(c.hospital, "PX Coordinator")
	path := organizations + "patients/"
	body := func(mrn string) fields { return fields{"first_name": "A", "last_name": "B", "mrn": mrn} }
	made := c.expect(t, 201, "POST", path, coordinator.access, body("M-1")).json()
	if made["primary_hospital"] != c.hospital.String() {
		t.Errorf("a coordinator's patient belongs to %v", made["primary_hospital"])
	}
	null := body("M-2")
	null["primary_hospital"] = nil
	if a := c.expect(t, 400, "POST", path, coordinator.access, null); a.json()["primary_hospital"] == nil {
		t.Errorf("a patient without hospital: %s", a.body)
	}
	c.expect(t, 400, "PATCH", fmt.Sprintf("%s%v/", path, made["id"]), coordinator.access, fields{"primary_hospital": nil})

	// Only PX Admins see a patient without a hospital.
	unassigned := c.expect(t, 201, "POST", path, c.px, null).json()
	own := fmt.Sprintf("%s%v/", path, unassigned["id"])
	c.expect(t, 404, "GET", own, coordinator.access, nil)
	c.expect(t, 200, "GET", own, c.px, nil)
	if list := c.expect(t, 200, "GET", path+"?search=M-2", coordinator.access, nil).json(); list["count"] != 0.0 {
		t.Errorf("the patient without hospital is in the list of %v", list["count"])
	}
	if a := c.expect(t, 400, "POST", path, c.px, null); a.json()["mrn"] == nil {
		t.Errorf("the same MRN among patients without hospital: %s", a.body)
	}
	c.expect(t, 201, "POST", path, coordinator.access, body("M-2"))
	journey := fields{"journey_template": c.Template(), "encounter_id": "1", "hospital": c.hospital, "patient": unassigned["id"]}
	if a := c.expect(t, 400, "POST", "/api/journeys/instances/", coordinator.access, journey); a.json()["patient"] == nil {
		t.Errorf("a journey of a patient of another hospital: %s", a.body)
	}
}

func TestHospitalSearchNormalizesSpelling(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	path := organizations + "hospitals/"
	c.create(c.px, path, fields{"name": "King Fahd", "name_ar": "مُستشفى المدينة", "code": "KF-1"})
	for query, count := range map[string]float64{"king": 1, "KING,fahd": 1, "kf-1": 1, "مستشفي": 1, "مـستشفى+المدينه": 1, "king+saud": 0, "k_ng": 0, "%25": 0} {
		if list := c.expect(t, 200, "GET", path+"?search="+query, c.px, nil).json(); list["count"] != count {
			t.Errorf("search %q finds %v hospitals, want %v", query, list["count"], count)
		}
	}
	c.expect(t, 403, "POST", path, c.admin.access, fields{"name": "Mine", "code": "MINE"})
	c.expect(t, 200, "PATCH", path+c.hospital.String()+"/", c.admin.access, fields{"city": "Riyadh"})
	c.expect(t, 403, "DELETE", path+c.hospital.String()+"/", c.admin.access, nil)
}

// A PX Admin may set a manager of another hospital, but their name is not shown.
func TestNameOfAManagerOfAnotherHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	path := organizations + "departments/" + c.Department("D1").String() + "/"
	for name, test := range map[string]struct {
		manager person
		shown   bool
	}{
		"of the hospital": {c.person(c.hospital), true},
		"of none":         {c.person(uuid.Nil), true},
		"of another":      {c.clinic().admin, false},
	} {
		c.expect(t, 200, "PATCH", path, c.px, fields{"manager": test.manager.id})
		for _, token := range []string{c.admin.access, c.px} {
			one := c.expect(t, 200, "GET", path, token, nil).json()
			list := c.expect(t, 200, "GET", organizations+"departments/?hospital="+c.hospital.String(), token, nil)
			if one["manager"] != test.manager.id.String() || (one["manager_name"] == test.manager.username) != test.shown ||
				strings.Contains(list.body, test.manager.username) != test.shown {
				t.Errorf("%s: %v", name, one)
			}
		}
	}
}
