package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

func TestStageTransitions(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(nil, nil)
	reach := map[client.StageStatus][]client.StageStatus{
		"pending": nil, "in_progress": {"in_progress"}, "completed": {"in_progress", "completed"}, "skipped": {"skipped"},
	}
	allowed := map[client.StageStatus]bool{
		"pending in_progress": true, "pending completed": true, "pending skipped": true,
		"in_progress completed": true, "in_progress skipped": true,
		"pending pending": true, "in_progress in_progress": true, "completed completed": true, "skipped skipped": true,
	}
	for from, way := range reach {
		for to := range reach {
			j := c.journey(template, unique("E"))
			for _, status := range way {
				j.setStage(1, status).ok(t)
			}
			before, then := j.stages()[0], from
			changed := j.changeStage(1, client.StageInstanceUpdate{Status: &to, Metadata: json.RawMessage(jsonText(fields{"to": to}))})
			if allowed[from+" "+to] {
				then = to
				changed.ok(t)
			} else {
				changed.refused(t, 409)
			}
			after := j.stages()[0]
			if after.Status != then {
				t.Errorf("from %s to %s: the stage is %v", from, to, after.Status)
			}
			if from == client.StageStatusCompleted && !is(after.CompletedAt, *before.CompletedAt) {
				t.Errorf("from completed to %s: the stage is completed at another time", to)
			}
			if changed.err != nil && jsonText(after) != jsonText(before) {
				t.Errorf("from %s to %s: refused, but %s became %s", from, to, jsonText(before), jsonText(after))
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
	done := j.changeStage(1, client.StageInstanceUpdate{Status: client.Ptr(client.StageStatusCompleted), Physician: client.Value(physician)}).ok(t)
	when := *done.CompletedAt
	if when.Before(began) || when.After(value[time.Time](c.system, "SELECT now()")) {
		t.Errorf("the stage is completed at %v, want now", when)
	}
	if !is(done.Physician, physician) || done.CompletedByEvent != nil || done.SurveySent {
		t.Errorf("the stage is %s", jsonText(done))
	}
	if !is(done.SurveyScheduledAt, when.Add(48*time.Hour)) {
		t.Errorf("the survey is due at %v, want 48h after %v", done.SurveyScheduledAt, when)
	}
	j.setStage(1, client.StageStatusCompleted).ok(t) // a repetition changes nothing
	if n := value[int](c.system, "SELECT count(*) FROM surveys"); n != 1 {
		t.Errorf("%d surveys are scheduled, want 1", n)
	}
	if now := j.now(); now.Status != client.JourneyStatusActive {
		t.Errorf("the journey is %v before its last required stage", now.Status)
	}
	j.setStage(3, client.StageStatusCompleted).ok(t)
	last := j.setStage(2, client.StageStatusCompleted).ok(t)
	if now := j.now(); now.Status != client.JourneyStatusCompleted || !is(now.CompletedAt, *last.CompletedAt) {
		t.Errorf("the journey is %v at %v, want completed at its last stage's %v", now.Status, now.CompletedAt, last.CompletedAt)
	}
	if p := j.progress(); p.Status != client.JourneyStatusCompleted || !is(p.CompletedAt, *last.CompletedAt) || p.CompletionPercentage != 100 {
		t.Errorf("the progress is %s", jsonText(p))
	}
}

// Skipping the last open required stage completes the journey, at the latest completion time of its
// stages.
func TestSkippedStageCompletesTheJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil, sendsSurvey(c.Survey(), 0)), "1")
	first := j.setStage(1, client.StageStatusCompleted).ok(t)
	skipped := j.setStage(2, client.StageStatusSkipped).ok(t)
	if now := j.now(); now.Status != client.JourneyStatusCompleted || !is(now.CompletedAt, *first.CompletedAt) {
		t.Errorf("the journey is %v at %v, want completed at %v", now.Status, now.CompletedAt, first.CompletedAt)
	}
	if skipped.CompletedAt != nil || skipped.SurveyScheduledAt != nil {
		t.Errorf("the skipped stage is %s", jsonText(skipped))
	}
}

func TestStageIsAddedToAJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(nil)
	j := c.journey(template, "1")
	add := func(stage uuid.UUID, status client.StageStatus) reply[client.StageInstance] {
		return try(c.px.CreateStageInstance(t.Context(), client.StageInstanceCreate{JourneyInstance: j.id, StageTemplate: stage, Status: &status}))
	}
	second := c.Stage(template, 2)
	made := try(c.px.CreateStageInstance(t.Context(), client.StageInstanceCreate{JourneyInstance: j.id, StageTemplate: second})).ok(t)
	if made.Status != client.StageStatusPending || made.StageName != "Stage 2" {
		t.Errorf("added %s", jsonText(made))
	}
	add(second, "pending").refused(t, 400, client.NonFieldErrors)
	add(c.Stage(c.Template(), 1), "pending").refused(t, 400, "stage_template")
	third := c.Stage(template, 3, sendsSurvey(c.Survey(), 0))
	if made := add(third, "completed").ok(t); made.Status != client.StageStatusCompleted || made.CompletedAt == nil || made.SurveyScheduledAt == nil {
		t.Errorf("added as completed: %s", jsonText(made))
	}
	if made := add(c.Stage(template, 4), "skipped").ok(t); made.Status != client.StageStatusSkipped || made.CompletedAt != nil {
		t.Errorf("added as skipped: %s", jsonText(made))
	}
	try(c.px.CreateStageInstance(t.Context(), client.StageInstanceCreate{
		JourneyInstance: j.id, StageTemplate: c.Stage(template, 5), Physician: client.Value(c.clinic().Physician("L-1")),
	})).refused(t, 400, "physician")
	j.setStage(1, client.StageStatusCompleted).ok(t)
	j.setStage(2, client.StageStatusCompleted).ok(t)
	add(c.Stage(template, 6), "pending").refused(t, 409) // the journey is over
	if got := len(j.stages()); got != 4 {
		t.Errorf("the journey has %d stages, want 4", got)
	}
}

// Deleting the last open required stage completes the journey.
func TestDeletingTheLastOpenStageCompletesTheJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil, nil, nil, optional), "1")
	done := j.setStage(1, client.StageStatusCompleted).ok(t)
	for n, want := range []client.JourneyStatus{"active", "completed"} {
		must(t, c.px.DeleteStageInstance(t.Context(), j.stages()[1].ID))
		if now := j.now(); now.Status != want {
			t.Errorf("after %d deletions the journey is %v, want %s", n+1, now.Status, want)
		}
	}
	if now := j.now(); !is(now.CompletedAt, *done.CompletedAt) {
		t.Errorf("the journey is completed at %v, its last stage was at %v", now.CompletedAt, done.CompletedAt)
	}
}

// A locked journey of another hospital is answered with 404 at once, so that the response time does
// not reveal it.
func TestStageOfAnotherHospitalIsNotLocked(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j, other := c.journey(c.Template(nil), "1"), c.clinic().admin
	stage := j.stages()[0].ID
	ctx := t.Context()
	tx, err := c.db.Begin(ctx)
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(ctx, "SELECT FROM journey_instances WHERE id = $1 FOR UPDATE", j.id)
	must(t, err)
	// Waiting for the lock would end in a 503.
	body := client.StageInstanceCreate{JourneyInstance: j.id, StageTemplate: uuid.New()}
	try(other.UpdateStageInstance(ctx, stage, client.StageInstanceUpdate{Status: client.Ptr(client.StageStatusCompleted)})).refused(t, 404)
	try(other.ReplaceStageInstance(ctx, stage, body)).refused(t, 404)
	refused(t, other.DeleteStageInstance(ctx, stage), 404)
	try(other.CreateStageInstance(ctx, body)).refused(t, 400)
}

func TestStageTemplateOfAConcurrentlyDeletedTemplate(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template()
	errs := c.sendBeforeCommit("DELETE FROM journey_templates WHERE id = $1", template, func() error {
		_, err := c.px.CreateStageTemplate(t.Context(), client.StageTemplateCreate{
			JourneyTemplate: template, Name: "S", Code: "S", Order: 1, TriggerEventCode: "E",
		})
		return err
	})
	refusedField(t, errs[0], "journey_template", fmt.Sprintf(`Invalid pk "%s" - object does not exist.`, template))
}
