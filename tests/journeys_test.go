package tests

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

const (
	templatePath      = "/api/journeys/templates/"
	stageTemplatePath = "/api/journeys/stage-templates/"
	journeyPath       = "/api/journeys/instances/"
	stagePath         = "/api/journeys/stage-instances/"
)

// defaults lists the default templates of a type in the hospital.
func (c *clinic) defaults(journeyType string) []string {
	c.t.Helper()
	list := c.expect(c.t, 200, "GET", templatePath+"?is_default=true&journey_type="+journeyType+"&hospital="+c.hospital.String(), c.px, nil).json()
	var ids []string
	for _, row := range list["results"].([]any) {
		ids = append(ids, row.(fields)["id"].(string))
	}
	return ids
}

func TestDefaultTemplateIsUnique(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	make := func(more fields) uuid.UUID {
		body := fields{"name": unique("T"), "journey_type": "opd", "is_default": true}
		maps.Copy(body, more)
		return c.post(templatePath, body)
	}
	ems := make(fields{"journey_type": "ems"})
	one, other := make(nil), make(nil)
	otherHospital := c.clinic()
	otherHospital.post(templatePath, fields{"name": "T", "journey_type": "opd", "is_default": true})
	check := func(want ...uuid.UUID) {
		t.Helper()
		var ids []string
		for _, id := range want {
			ids = append(ids, id.String())
		}
		if got := c.defaults("opd"); !slices.Equal(got, ids) {
			t.Errorf("the defaults are %v, want %v", got, ids)
		}
	}
	check(other)
	c.expect(t, 200, "PATCH", templatePath+one.String()+"/", c.px, fields{"is_default": true})
	check(one)
	c.expect(t, 200, "PATCH", templatePath+ems.String()+"/", c.px, fields{"journey_type": "opd"}) // it is a default of its new type
	check(ems)
	c.expect(t, 200, "PATCH", templatePath+ems.String()+"/", c.px, fields{"is_default": false})
	check()
	if len(otherHospital.defaults("opd")) != 1 {
		t.Error("another hospital lost its default")
	}

	statuses := c.sendWhileLocked("SELECT FROM hospitals WHERE id = $1 FOR UPDATE", c.hospital,
		func() int {
			return c.send("PATCH", templatePath+one.String()+"/", c.px, fields{"is_default": true}).status
		},
		func() int {
			return c.send("PATCH", templatePath+other.String()+"/", c.px, fields{"is_default": true}).status
		})
	if got := c.defaults("opd"); !slices.Equal(statuses, []int{200, 200}) || len(got) != 1 {
		t.Errorf("concurrent requests were answered with %v, and the defaults are %v", statuses, got)
	}
}

func TestTemplateIsDeletedWithItsStages(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(nil, nil)
	stage := c.Stage(template, 3, func(s *stageTemplate) { s.Order, s.Code = 1, "A" }) // equal orders are sorted by code
	detail := c.expect(t, 200, "GET", templatePath+template.String()+"/", c.px, nil).json()
	var codes []any
	for _, s := range detail["stages"].([]any) {
		codes = append(codes, s.(fields)["code"])
	}
	if fmt.Sprint(codes, detail["stage_count"]) != "[A S1 S2] 3" {
		t.Errorf("the stages are %v, counted %v", codes, detail["stage_count"])
	}
	same := fields{"journey_template": template, "name": "Again", "code": "S1", "order": 9, "trigger_event_code": "E"}
	if a := c.expect(t, 400, "POST", stageTemplatePath, c.px, same); a.body != `{"non_field_errors":["The fields journey_template, code must make a unique set."]}` {
		t.Errorf("a code twice: %s", a.body)
	}
	c.expect(t, 400, "PATCH", stageTemplatePath+stage.String()+"/", c.px, fields{"journey_template": c.Template()})
	survey := c.clinic().Survey()
	if a := c.expect(t, 400, "PATCH", stageTemplatePath+stage.String()+"/", c.px, fields{"survey_template": survey}); a.json()["survey_template"] == nil {
		t.Errorf("a survey of another hospital: %s", a.body)
	}
	c.expect(t, 400, "PATCH", templatePath+template.String()+"/", c.px, fields{"hospital": c.clinic().hospital})
	c.expect(t, 204, "DELETE", templatePath+template.String()+"/", c.px, nil)
	c.expect(t, 404, "GET", stageTemplatePath+stage.String()+"/", c.px, nil)
}

func TestJourneyCopiesItsTemplate(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	survey := c.Survey()
	template := c.Template()
	for i, stage := range []fields{
		{"name": "Seen", "survey_template": survey, "auto_send_survey": true, "survey_delay_hours": 2},
		{"name": "Paid", "is_active": false},
		{"name": "Left", "is_optional": true},
	} {
		stage["journey_template"], stage["order"] = template, i+1
		stage["code"], stage["trigger_event_code"] = fmt.Sprint("S", i+1), fmt.Sprint("E", i+1)
		c.post(stageTemplatePath, stage)
	}
	j := c.postJourney(template, "1")
	seen := j.stages()[0]["stage_template"]
	c.expect(t, 200, "PATCH", fmt.Sprintf("%s%v/", stageTemplatePath, seen), c.px, fields{
		"name": "Other", "order": 9, "survey_delay_hours": 99, "trigger_event_code": "OTHER", "is_active": false, "is_optional": true,
	})
	c.Stage(template, 4)
	names := func(j journey) (names []any) {
		for _, s := range j.stages() {
			names = append(names, s["stage_name"])
		}
		return names
	}
	if got := fmt.Sprint(names(j)); got != "[Seen Left]" {
		t.Errorf("the stages are %s, want those of the template as it was", got)
	}
	done := j.stage(t, 1, 200, fields{"status": "completed"}).json()
	if late := at(t, done["survey_scheduled_at"]).Sub(at(t, done["completed_at"])); late != 2*time.Hour {
		t.Errorf("the survey is due after %v, want 2h as when the journey began", late)
	}
	if status := j.now()["status"]; status != "completed" {
		t.Errorf("the journey is %v, though its one required stage is completed", status)
	}
	// The next journey copies the current template.
	if got := fmt.Sprint(names(c.postJourney(template, "2"))); got != "[Left Stage 4]" {
		t.Errorf("the next journey's stages are %s", got)
	}
}

func TestImmutableFieldsOfAJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil), "1")
	change := func(want int, change fields) string {
		t.Helper()
		return c.expect(t, want, "PATCH", j.path(), c.px, change).body
	}
	for field, v := range map[string]any{"journey_template": c.Template(), "patient": c.Patient("M-2"), "hospital": c.clinic().hospital} {
		if body := change(400, fields{field: v}); body != fmt.Sprintf(`{"%s":["This field cannot be changed."]}`, field) {
			t.Errorf("another %s: %s", field, body)
		}
	}
	change(200, fields{"journey_template": j.template, "patient": j.patient, "hospital": c.hospital}) // unchanged values
	change(200, fields{"department": c.Department("LAB"), "metadata": fields{"ward": 7}})
	change(400, fields{"department": c.clinic().Department("LAB")})
	stage := j.stages()[0]
	other := c.journey(j.template, "2")
	path := fmt.Sprintf("%s%v/", stagePath, stage["id"])
	c.expect(t, 400, "PATCH", path, c.px, fields{"journey_instance": other.id})
	c.expect(t, 400, "PATCH", path, c.px, fields{"stage_template": c.Stage(j.template, 2)})
}

func TestEncounterIDIsUniqueInItsHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j, other := c.journey(c.Template(nil), "1"), c.clinic()
	other.journey(other.Template(nil), "1")
	body := fields{"journey_template": j.template, "patient": j.patient, "encounter_id": "1", "hospital": c.hospital}
	message := `{"encounter_id":["journey instance with this encounter id already exists."]}`
	if a := c.expect(t, 400, "POST", journeyPath, c.px, body); a.body != message {
		t.Errorf("an encounter twice: %s", a.body)
	}
	second := c.journey(j.template, "2")
	if a := c.expect(t, 400, "PATCH", second.path(), c.px, fields{"encounter_id": "1"}); a.body != message {
		t.Errorf("an encounter twice: %s", a.body)
	}
	c.expect(t, 200, "PATCH", second.path(), c.px, fields{"encounter_id": "3"})
	c.expect(t, 200, "PATCH", second.path(), c.px, fields{"status": "cancelled"})
	c.expect(t, 409, "PATCH", second.path(), c.px, fields{"encounter_id": "4"})
	if now := second.now(); now["encounter_id"] != "3" {
		t.Errorf("the encounter id of a cancelled journey became %v", now["encounter_id"])
	}
	body["journey_template"], body["encounter_id"] = other.Template(), "9"
	if a := c.expect(t, 400, "POST", journeyPath, c.px, body); a.json()["journey_template"] == nil {
		t.Errorf("a template of another hospital: %s", a.body)
	}
}

func TestJourneyStatusTransitions(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil, nil), "1")
	for _, step := range []struct {
		want   int
		status string
		then   string
	}{
		{409, "completed", "active"},
		{200, "cancelled", "cancelled"},
		{409, "completed", "cancelled"},
		{200, "cancelled", "cancelled"},
		{200, "active", "active"},
		{400, "paused", "active"},
	} {
		c.expect(t, step.want, "PATCH", j.path(), c.px, fields{"status": step.status})
		if now := j.now(); now["status"] != step.then || now["completed_at"] != nil {
			t.Errorf("after %s the journey is %v, want %s", step.status, now["status"], step.then)
		}
	}
	body := fields{"journey_template": j.template, "patient": j.patient, "encounter_id": "2", "hospital": c.hospital, "status": "completed"}
	c.expect(t, 409, "POST", journeyPath, c.px, body)
	// A cancelled journey cannot be changed.
	c.expect(t, 200, "PATCH", j.path(), c.px, fields{"status": "cancelled"})
	j.stage(t, 1, 409, fields{"status": "completed"})
	j.stage(t, 1, 409, fields{"status": "in_progress"})
	j.stage(t, 1, 200, fields{"metadata": fields{"note": "called"}})
	c.expect(t, 200, "PATCH", j.path(), c.px, fields{"status": "active"})
	j.stage(t, 1, 200, fields{"status": "completed"})
	j.stage(t, 2, 200, fields{"status": "skipped"})
	for _, status := range []string{"active", "cancelled"} {
		c.expect(t, 409, "PATCH", j.path(), c.px, fields{"status": status})
	}
	if now := j.now(); now["status"] != "completed" {
		t.Errorf("the journey is %v, want completed", now["status"])
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	type stages []func(*stageTemplate)
	for name, test := range map[string]struct {
		stages     stages
		statuses   []string
		percentage float64
		isComplete bool
	}{
		"no stages":              {nil, nil, 0, false},
		"nothing done":           {stages{nil, nil}, []string{"", "in_progress"}, 0, false},
		"one of three":           {stages{nil, nil, nil}, []string{"completed"}, 33, false},
		"two of three":           {stages{nil, nil, nil}, []string{"completed", "completed"}, 66, false},
		"skipped does not count": {stages{nil, nil, nil}, []string{"completed", "skipped"}, 50, false},
		"all but the optional":   {stages{nil, optional, nil}, []string{"completed", "", "completed"}, 66, true},
		"optional alone":         {stages{nil, optional}, []string{"", "completed"}, 50, false},
		"skipped and completed":  {stages{nil, nil}, []string{"completed", "skipped"}, 100, true},
		"all skipped":            {stages{nil, nil}, []string{"skipped", "skipped"}, 0, true},
	} {
		j := c.journey(c.Template(test.stages...), unique("E"))
		for i, status := range test.statuses {
			if status != "" {
				j.stage(t, i+1, 200, fields{"status": status})
			}
		}
		p := j.progress()
		if p["completion_percentage"] != test.percentage || p["is_complete"] != test.isComplete || len(p["stages"].([]any)) != len(test.stages) {
			t.Errorf("%s: %v %% and complete %v, want %v and %v", name, p["completion_percentage"], p["is_complete"], test.percentage, test.isComplete)
		}
		if p["journey_id"] != j.id.String() || p["patient"] != "Ahmad Ali" || p["journey_type"] != "opd" || p["encounter_id"] != j.encounter {
			t.Errorf("%s: progress of %v", name, p)
		}
	}
}

func TestDeletingAJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(sendsSurvey(c.Survey(), 0), nil)
	j := c.journey(template, "1")
	j.stage(t, 1, 200, fields{"status": "completed"})
	stage := j.stages()[0]
	c.expect(t, 204, "DELETE", j.path(), c.px, nil)
	c.expect(t, 404, "GET", fmt.Sprintf("%s%v/", stagePath, stage["id"]), c.px, nil)
	if left := value[int](c.system, "SELECT count(*) FROM surveys"); left != 0 {
		t.Errorf("%d surveys are left after their journey was deleted", left)
	}
	// A sent survey is part of the record, so it cannot be deleted.
	sent := c.journey(template, "2")
	sent.stage(t, 1, 200, fields{"status": "completed"})
	c.exec("UPDATE surveys SET sent_at = now()")
	if !sent.stages()[0]["survey_sent"].(bool) {
		t.Error("the stage does not show that its survey was sent")
	}
	c.expect(t, 409, "DELETE", sent.path(), c.px, nil)
	c.expect(t, 409, "DELETE", fmt.Sprintf("%s%v/", stagePath, sent.stages()[0]["id"]), c.px, nil)
	c.expect(t, 204, "DELETE", fmt.Sprintf("%s%v/", stagePath, sent.stages()[1]["id"]), c.px, nil)
	if left := value[int](c.system, "SELECT count(*) FROM surveys"); left != 1 || len(sent.stages()) != 1 {
		t.Errorf("%d surveys and %d stages are left, want 1 and 1", left, len(sent.stages()))
	}
}
