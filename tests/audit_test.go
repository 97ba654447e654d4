package tests

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
)

const auditPath = "/api/audit/"

// entries lists audit entries by a query, newest first.
func (c *clinic) entries(token, query string) []fields {
	c.t.Helper()
	var list []fields
	for _, row := range c.expect(c.t, 200, "GET", auditPath+query, token, nil).json()["results"].([]any) {
		list = append(list, row.(fields))
	}
	return list
}

func TestEveryChangeLeavesOneEntry(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	department := c.post(organizations+"departments/", fields{"name": "Department LAB", "code": "LAB"})
	path := organizations + "departments/" + department.String() + "/"
	began := value[time.Time](c.system, "SELECT now()")
	changed := c.expect(t, 200, "PATCH", path, c.admin.access, fields{"phone": "123", "location": "3rd floor", "name": "Department LAB"})
	// These requests change nothing, so they leave no entry.
	c.expect(t, 400, "PATCH", path, c.admin.access, fields{"name": ""})
	c.expect(t, 400, "PATCH", path, c.admin.access, fields{"parent": uuid.New()})
	c.expect(t, 403, "PATCH", path, c.person(c.hospital, "Nurse").access, fields{"name": "Mine"})
	c.expect(t, 404, "PATCH", path, c.clinic().admin.access, fields{"name": "Mine"})
	c.Physician("L-OF", func(p *db.PhysicianInsertParams) { p.Department = &department })
	c.expect(t, 409, "DELETE", path, c.admin.access, nil)
	c.expect(t, 200, "GET", path, c.admin.access, nil)

	list := c.entries(c.admin.access, "?object_type=department&object_id="+department.String())
	if len(list) != 2 {
		t.Fatalf("%d entries, want 2: %v", len(list), list)
	}
	e := list[0]
	if e["operation"] != "updateDepartment" || e["actor_kind"] != "user" || e["actor"] != c.admin.id.String() || e["actor_name"] != c.admin.username ||
		e["hospital"] != c.hospital.String() || e["object_id"] != department.String() || e["client_ip"] != "127.0.0.1" ||
		e["request_id"] != changed.header.Get("X-Request-ID") || at(t, e["at"]).Before(began) {
		t.Errorf("the entry is %v", e)
	}
	if got := e["changed_fields"].([]any); fmt.Sprint(sorted(got)) != "[location phone]" {
		t.Errorf("the changed fields are %v", got)
	}
	if e := list[1]; e["operation"] != "createDepartment" || fmt.Sprint(sorted(e["changed_fields"].([]any))) != "[code hospital name]" {
		t.Errorf("the entry of the creation is %v", e)
	}
}

func sorted(values []any) []string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	slices.Sort(texts)
	return texts
}

func TestAuditHasNoSecrets(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	p := c.person(c.hospital)
	c.expect(t, 200, "POST", "/api/auth/users/change_password/", p.access,
		fields{"old_password": password, "new_password": "Another-horse-361!", "new_password_confirm": "Another-horse-361!"})
	c.expect(t, 200, "POST", userPath(p.id)+"assign_role/", c.admin.access, fields{"role_id": c.role("Nurse")})
	list := c.entries(c.admin.access, "?object_id="+p.id.String())
	if len(list) != 2 || fmt.Sprint(list[0]["changed_fields"], list[1]["changed_fields"]) != "[roles] [password]" {
		t.Errorf("the entries are %v", list)
	}
	config := c.create(c.px, configPath, fields{"name": "His", "source_system": "his", "hospital": c.hospital})
	c.expect(t, 200, "POST", configPath+config.String()+"/rotate_key/", c.px, nil)
	list = c.entries(c.px, "?object_id="+config.String())
	if len(list) != 2 || fmt.Sprint(list[0]["operation"], list[0]["changed_fields"]) != "rotateIntegrationConfigKey[api_key]" {
		t.Errorf("the entries are %v", list)
	}
}

// A Hospital Admin sees the changes of all users to objects of the hospital, and no others.
func TestAuditIsScopedToTheHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	otherHospital := c.clinic()
	otherHospital.post(organizations+"departments/", fields{"name": "Laboratory", "code": "LAB"})
	c.hospital = c.create(c.px, organizations+"hospitals/", fields{"name": "Audited", "code": "AUDITED"})
	c.admin = c.person(c.hospital, "Hospital Admin")
	survey := c.post("/api/surveys/templates/", fields{"name": "Visit"})
	template := c.post(templatePath, fields{"name": "Visit", "journey_type": "opd"})
	c.post(stageTemplatePath, fields{
		"journey_template": template, "name": "Seen", "code": "SEEN", "order": 1, "trigger_event_code": "SEEN", "survey_template": survey,
	})
	patient := c.create(c.px, organizations+"patients/", fields{"first_name": "Ahmad", "last_name": "Ali", "mrn": "MRN-1", "primary_hospital": c.hospital})
	j := journey{clinic: c, id: c.post(journeyPath, fields{"journey_template": template, "patient": patient, "encounter_id": "1"})}
	j.stage(t, 1, 200, fields{"status": "in_progress"})
	c.post(organizations+"physicians/", fields{"first_name": "Sami", "last_name": "Harbi", "license_number": "L-1", "specialization": "Cardiology"})
	c.expect(t, 200, "PATCH", organizations+"hospitals/"+c.hospital.String()+"/", c.admin.access, fields{"city": "Riyadh"})
	c.expect(t, 204, "DELETE", j.path(), c.px, nil)
	want := []string{
		"createHospital", "createJourneyInstance", "createJourneyTemplate", "createPatient", "createPhysician", "createStageTemplate",
		"createSurveyTemplate", "deleteJourneyInstance", "updateHospital", "updateStageInstance",
	}
	var got []string
	for _, e := range c.entries(c.admin.access, "?page_size=100") {
		got = append(got, e["operation"].(string))
		if e["hospital"] != c.hospital.String() {
			t.Errorf("an entry of another hospital: %v", e)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the Hospital Admin reads of\n%v, want\n%v", got, want)
	}
	all := c.expect(t, 200, "GET", auditPath, c.px, nil).json()["count"]
	if stored := value[float64](c.system, "SELECT count(*) FROM audit_log"); all != stored || stored <= float64(len(want)) {
		t.Errorf("the PX Admin reads of %v changes of %v", all, stored)
	}
	for query, count := range map[string]int{
		"?operation=updateHospital": 1, "?actor=" + c.admin.id.String(): 1, "?actor=" + otherHospital.admin.id.String(): 0,
		"?object_type=patient": 1, "?since=2999-01-01T00:00:00Z": 0, "?until=2000-01-01T00:00:00Z": 0, "?since=2000-01-01T00:00:00Z": len(want),
	} {
		if got := len(c.entries(c.admin.access, query+"&page_size=100")); got != count {
			t.Errorf("%s lists %d entries, want %d", query, got, count)
		}
	}
	for _, role := range []string{"PX Coordinator", "Department Manager", "Viewer"} {
		c.expect(t, 403, "GET", auditPath, c.person(c.hospital, role).access, nil)
	}
}
