package tests

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestStageTransitions(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(nil, nil)
	reach := map[string][]string{"pending": nil, "in_progress": {"in_progress"}, "completed": {"in_progress", "completed"}, "skipped": {"skipped"}}
	allowed := map[string]bool{
		"pending in_progress": true, "pending completed": true, "pending skipped": true,
		"in_progress completed": true, "in_progress skipped": true,
		"pending pending": true, "in_progress in_progress": true, "completed completed": true, "skipped skipped": true,
	}
	for from, way := range reach {
		for to := range reach {
			j := c.journey(template, unique("E"))
			for _, status := range way {
				j.stage(t, 1, 200, fields{"status": status})
			}
			before, want, then := j.stages()[0], 409, from
			if allowed[from+" "+to] {
				want, then = 200, to
			}
			j.stage(t, 1, want, fields{"status": to, "metadata": fields{"to": to}})
			after := j.stages()[0]
			if after["status"] != then {
				t.Errorf("from %s to %s: the stage is %v", from, to, after["status"])
			}
			if from == "completed" && after["completed_at"] != before["completed_at"] {
				t.Errorf("from completed to %s: the stage is completed at another time", to)
			}
			if want == 409 && fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("from %s to %s: refused, but %v became %v", from, to, before, after)
			}
		}
	}
}

func TestCompletingAStageByRequest(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(sendsSurvey(c.Survey(), 48), nil, optional), "1")
	physician := c.Physician("L-1")
	began := value[time.Time](c.system, "SELECT now()")
	done := j.stage(t, 1, 200, fields{"status": "completed", "physician": physician}).json()
	when := at(t, done["completed_at"])
	if when.Before(began) || when.After(value[time.Time](c.system, "SELECT now()")) {
		t.Errorf("the stage is completed at %v, want now", when)
	}
	if done["physician"] != physician.String() || done["completed_by_event"] != nil || done["survey_sent"] != false {
		t.Errorf("the stage is %v", done)
	}
	if due := at(t, done["survey_scheduled_at"]); !due.Equal(when.Add(48 * time.Hour)) {
		t.Errorf("the survey is due at %v, want 48h after %v", due, when)
	}
	j.stage(t, 1, 200, fields{"status": "completed"}) // a repetition changes nothing
	if n := value[int](c.system, "SELECT count(*) FROM surveys"); n != 1 {
		t.Errorf("%d surveys are scheduled, want 1", n)
	}
	if now := j.now(); now["status"] != "active" {
		t.Errorf("the journey is %v before its last required stage", now["status"])
	}
	j.stage(t, 3, 200, fields{"status": "completed"})
	last := j.stage(t, 2, 200, fields{"status": "completed"}).json()
	if now := j.now(); now["status"] != "completed" || now["completed_at"] != last["completed_at"] {
		t.Errorf("the journey is %v at %v, want completed at its last stage's %v", now["status"], now["completed_at"], last["completed_at"])
	}
	if p := j.progress(); p["status"] != "completed" || p["completed_at"] != last["completed_at"] || p["completion_percentage"] != 100.0 {
		t.Errorf("the progress is %v", p)
	}
}

// Skipping the last open required stage completes the journey, at the latest completion time of its
// stages.
func TestSkippedStageCompletesTheJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil, sendsSurvey(c.Survey(), 0)), "1")
	first := j.stage(t, 1, 200, fields{"status": "completed"}).json()
	skipped := j.stage(t, 2, 200, fields{"status": "skipped"}).json()
	if now := j.now(); now["status"] != "completed" || now["completed_at"] != first["completed_at"] {
		t.Errorf("the journey is %v at %v, want completed at %v", now["status"], now["completed_at"], first["completed_at"])
	}
	if skipped["completed_at"] != nil || skipped["survey_scheduled_at"] != nil {
		t.Errorf("the skipped stage is %v", skipped)
	}
}

func TestStageIsAddedToAJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(nil)
	j := c.journey(template, "1")
	add := func(want int, stage uuid.UUID, more fields) fields {
		t.Helper()
		body := fields{"journey_instance": j.id, "stage_template": stage}
		for field, v := range more {
			body[field] = v
		}
		return c.expect(t, want, "POST", stagePath, c.px, body).json()
	}
	second := c.Stage(template, 2)
	if made := add(201, second, nil); made["status"] != "pending" || made["stage_name"] != "Stage 2" {
		t.Errorf("added %v", made)
	}
	if refused := add(400, second, nil); refused["non_field_errors"] == nil {
		t.Errorf("the same stage again: %v", refused)
	}
	if refused := add(400, c.Stage(c.Template(), 1), nil); refused["stage_template"] == nil {
		t.Errorf("a stage of another template: %v", refused)
	}
	third := c.Stage(template, 3, sendsSurvey(c.Survey(), 0))
	if made := add(201, third, fields{"status": "completed"}); made["status"] != "completed" || made["completed_at"] == nil || made["survey_scheduled_at"] == nil {
		t.Errorf("added as completed: %v", made)
	}
	if made := add(201, c.Stage(template, 4), fields{"status": "skipped"}); made["status"] != "skipped" || made["completed_at"] != nil {
		t.Errorf("added as skipped: %v", made)
	}
	other := c.clinic()
	add(400, c.Stage(template, 5), fields{"physician": other.Physician("L-1")})
	j.stage(t, 1, 200, fields{"status": "completed"})
	j.stage(t, 2, 200, fields{"status": "completed"})
	add(409, c.Stage(template, 6), nil) // the journey is over
	if got := len(j.stages()); got != 4 {
		t.Errorf("the journey has %d stages, want 4", got)
	}
}

// Deleting the last open required stage completes the journey.
func TestDeletingTheLastOpenStageCompletesTheJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil, nil, nil, optional), "1")
	j.stage(t, 1, 200, fields{"status": "completed"})
	at := j.stages()[0]["completed_at"]
	for n, want := range []string{"active", "completed"} {
		c.expect(t, 204, "DELETE", fmt.Sprintf("%s%v/", stagePath, j.stages()[1]["id"]), c.px, nil)
		if now := j.now(); now["status"] != want {
			t.Errorf("after %d deletions the journey is %v, want %s", n+1, now["status"], want)
		}
	}
	if now := j.now(); now["completed_at"] != at {
		t.Errorf("the journey is completed at %v, its last stage was at %v", now["completed_at"], at)
	}
}

// A locked journey of another hospital is answered with 404 at once, so that the response time does
// not reveal it.
func TestStageOfAnotherHospitalIsNotLocked(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j, other := c.journey(c.Template(nil), "1"), c.clinic()
	stage := fmt.Sprintf("%s%v/", stagePath, j.stages()[0]["id"])
	tx, err := c.db.Begin(t.Context())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM journey_instances WHERE id = $1 FOR UPDATE", j.id)
	must(t, err)
	// Waiting for the lock would end in a 503.
	c.expect(t, 404, "PATCH", stage, other.admin.access, fields{"status": "completed"})
	c.expect(t, 404, "PUT", stage, other.admin.access, fields{"journey_instance": j.id, "stage_template": uuid.New()})
	c.expect(t, 404, "DELETE", stage, other.admin.access, nil)
	c.expect(t, 400, "POST", stagePath, other.admin.access, fields{"journey_instance": j.id, "stage_template": uuid.New()})
}

func TestStageTemplateOfAConcurrentlyDeletedTemplate(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template, a := c.Template(), answer{}
	c.sendBeforeCommit("DELETE FROM journey_templates WHERE id = $1", template, func() int {
		a = c.send("POST", "/api/journeys/stage-templates/", c.px, fields{"journey_template": template, "name": "S", "code": "S", "order": 1, "trigger_event_code": "E"})
		return a.status
	})
	if want := fmt.Sprintf(`{"journey_template":["Invalid pk \"%s\" - object does not exist."]}`, template); a.status != 400 || a.body != want {
		t.Errorf("answered %d %s, want %s", a.status, a.body, want)
	}
}
