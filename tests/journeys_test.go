package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

// defaults lists the default templates for outpatients in the hospital.
func (c *clinic) defaults() []uuid.UUID {
	c.t.Helper()
	var ids []uuid.UUID
	for template, err := range c.px.AllJourneyTemplates(context.Background(), &client.ListJourneyTemplatesParams{
		IsDefault: client.Ptr(true), JourneyType: client.Ptr(client.JourneyTypeOPD), Hospital: &c.hospital,
	}) {
		must(c.t, err)
		ids = append(ids, template.ID)
	}
	return ids
}

func TestDefaultTemplateIsUnique(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	make := func(c *clinic, kind client.JourneyType) uuid.UUID {
		t.Helper()
		return try(c.px.CreateJourneyTemplate(ctx, client.JourneyTemplateCreate{
			Hospital: c.hospital, Name: unique("T"), JourneyType: kind, IsDefault: client.Ptr(true),
		})).ok(t).ID
	}
	ems := make(c, client.JourneyTypeEMS)
	one, other := make(c, client.JourneyTypeOPD), make(c, client.JourneyTypeOPD)
	otherHospital := c.clinic()
	make(otherHospital, client.JourneyTypeOPD)
	check := func(want ...uuid.UUID) {
		t.Helper()
		if got := c.defaults(); !slices.Equal(got, want) {
			t.Errorf("the defaults are %v, want %v", got, want)
		}
	}
	check(other)
	isDefault := client.JourneyTemplateUpdate{IsDefault: client.Ptr(true)}
	try(c.px.UpdateJourneyTemplate(ctx, one, isDefault)).ok(t)
	check(one)
	isOPD := client.JourneyTemplateUpdate{JourneyType: client.Ptr(client.JourneyTypeOPD)}
	try(c.px.UpdateJourneyTemplate(ctx, ems, isOPD)).ok(t) // it is a default of its new type
	check(ems)
	try(c.px.UpdateJourneyTemplate(ctx, ems, client.JourneyTemplateUpdate{IsDefault: client.Ptr(false)})).ok(t)
	check()
	if len(otherHospital.defaults()) != 1 {
		t.Error("another hospital lost its default")
	}

	set := func(template uuid.UUID) func() error {
		return func() error { _, err := c.px.UpdateJourneyTemplate(ctx, template, isDefault); return err }
	}
	errs := c.sendWhileLocked("SELECT FROM hospitals WHERE id = $1 FOR UPDATE", c.hospital, set(one), set(other))
	if got := c.defaults(); errors.Join(errs...) != nil || len(got) != 1 {
		t.Errorf("concurrent requests were answered with %v, and the defaults are %v", errs, got)
	}
}

func TestTemplateIsDeletedWithItsStages(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	template := c.Template(nil, nil)
	stage := c.Stage(template, 3, func(s *stageTemplate) { s.Order, s.Code = 1, "A" }) // equal orders are sorted by code
	detail := try(c.px.RetrieveJourneyTemplate(ctx, template)).ok(t)
	var codes []string
	for _, s := range detail.Stages {
		codes = append(codes, s.Code)
	}
	if fmt.Sprint(codes, detail.StageCount) != "[A S1 S2] 3" {
		t.Errorf("the stages are %v, counted %v", codes, detail.StageCount)
	}
	same := client.StageTemplateCreate{JourneyTemplate: template, Name: "Again", Code: "S1", Order: 9, TriggerEventCode: "E"}
	try(c.px.CreateStageTemplate(ctx, same)).refusedField(t, client.NonFieldErrors, "The fields journey_template, code must make a unique set.")
	change := func(change client.StageTemplateUpdate) reply[client.StageTemplate] {
		return try(c.px.UpdateStageTemplate(ctx, stage, change))
	}
	change(client.StageTemplateUpdate{JourneyTemplate: client.Ptr(c.Template())}).refused(t, 400)
	change(client.StageTemplateUpdate{SurveyTemplate: client.Value(c.clinic().Survey())}).refused(t, 400, "survey_template")
	try(c.px.UpdateJourneyTemplate(ctx, template, client.JourneyTemplateUpdate{Hospital: client.Ptr(c.clinic().hospital)})).refused(t, 400)
	must(t, c.px.DeleteJourneyTemplate(ctx, template))
	try(c.px.RetrieveStageTemplate(ctx, stage)).refused(t, 404)
}

func TestJourneyCopiesItsTemplate(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	template := c.Template()
	for i, stage := range []client.StageTemplateCreate{
		{Name: "Seen", SurveyTemplate: client.Value(c.Survey()), AutoSendSurvey: client.Ptr(true), SurveyDelayHours: client.Ptr(int32(2))},
		{Name: "Paid", IsActive: client.Ptr(false)},
		{Name: "Left", IsOptional: client.Ptr(true)},
	} {
		stage.JourneyTemplate, stage.Order = template, int32(i+1)
		stage.Code, stage.TriggerEventCode = fmt.Sprint("S", i+1), fmt.Sprint("E", i+1)
		try(c.px.CreateStageTemplate(ctx, stage)).ok(t)
	}
	j := c.createJourney(template, "1")
	try(c.px.UpdateStageTemplate(ctx, j.stages()[0].StageTemplate, client.StageTemplateUpdate{
		Name: client.Ptr("Other"), Order: client.Ptr(int32(9)), SurveyDelayHours: client.Ptr(int32(99)), TriggerEventCode: client.Ptr("OTHER"),
		IsActive: client.Ptr(false), IsOptional: client.Ptr(true),
	})).ok(t)
	c.Stage(template, 4)
	names := func(j journey) (names []string) {
		for _, s := range j.stages() {
			names = append(names, s.StageName)
		}
		return names
	}
	if got := fmt.Sprint(names(j)); got != "[Seen Left]" {
		t.Errorf("the stages are %s, want those of the template as it was", got)
	}
	done := j.setStage(1, client.StageStatusCompleted).ok(t)
	if late := done.SurveyScheduledAt.Sub(*done.CompletedAt); late != 2*time.Hour {
		t.Errorf("the survey is due after %v, want 2h as when the journey began", late)
	}
	if status := j.now().Status; status != client.JourneyStatusCompleted {
		t.Errorf("the journey is %v, though its one required stage is completed", status)
	}
	// The next journey copies the current template.
	if got := fmt.Sprint(names(c.createJourney(template, "2"))); got != "[Left Stage 4]" {
		t.Errorf("the next journey's stages are %s", got)
	}
}

func TestImmutableFieldsOfAJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j, other := c.journey(c.Template(nil), "1"), c.clinic()
	const message = "This field cannot be changed."
	j.change(client.JourneyInstanceUpdate{JourneyTemplate: client.Ptr(c.Template())}).refusedField(t, "journey_template", message)
	j.change(client.JourneyInstanceUpdate{Patient: client.Ptr(c.Patient("M-2"))}).refusedField(t, "patient", message)
	j.change(client.JourneyInstanceUpdate{Hospital: &other.hospital}).refusedField(t, "hospital", message)
	j.change(client.JourneyInstanceUpdate{JourneyTemplate: &j.template, Patient: &j.patient, Hospital: &c.hospital}).ok(t) // unchanged values
	j.change(client.JourneyInstanceUpdate{Department: client.Value(c.Department("LAB")), Metadata: json.RawMessage(`{"ward": 7}`)}).ok(t)
	j.change(client.JourneyInstanceUpdate{Department: client.Value(other.Department("LAB"))}).refused(t, 400)
	j.changeStage(1, client.StageInstanceUpdate{JourneyInstance: client.Ptr(c.journey(j.template, "2").id)}).refused(t, 400)
	j.changeStage(1, client.StageInstanceUpdate{StageTemplate: client.Ptr(c.Stage(j.template, 2))}).refused(t, 400)
}

func TestEncounterIDIsUniqueInItsHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j, other := c.journey(c.Template(nil), "1"), c.clinic()
	other.journey(other.Template(nil), "1")
	body := client.JourneyInstanceCreate{JourneyTemplate: j.template, Patient: j.patient, EncounterID: "1", Hospital: c.hospital}
	const message = "journey instance with this encounter id already exists."
	try(c.px.CreateJourneyInstance(t.Context(), body)).refusedField(t, "encounter_id", message)
	second := c.journey(j.template, "2")
	move := func(encounter string) reply[client.JourneyInstanceDetail] {
		return second.change(client.JourneyInstanceUpdate{EncounterID: &encounter})
	}
	move("1").refusedField(t, "encounter_id", message)
	move("3").ok(t)
	second.setStatus(client.JourneyStatusCancelled).ok(t)
	move("4").refused(t, 409)
	if now := second.now(); now.EncounterID != "3" {
		t.Errorf("the encounter id of a cancelled journey became %v", now.EncounterID)
	}
	body.JourneyTemplate, body.EncounterID = other.Template(), "9"
	try(c.px.CreateJourneyInstance(t.Context(), body)).refused(t, 400, "journey_template")
}

func TestJourneyStatusTransitions(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	j := c.journey(c.Template(nil, nil), "1")
	for _, step := range []struct {
		status  client.JourneyStatus
		refused int // the status of the answer, 0 if it is done
		then    client.JourneyStatus
	}{
		{"completed", 409, "active"},
		{"cancelled", 0, "cancelled"},
		{"completed", 409, "cancelled"},
		{"cancelled", 0, "cancelled"},
		{"active", 0, "active"},
		{"paused", 400, "active"},
	} {
		if changed := j.setStatus(step.status); step.refused == 0 {
			changed.ok(t)
		} else {
			changed.refused(t, step.refused)
		}
		if now := j.now(); now.Status != step.then || now.CompletedAt != nil {
			t.Errorf("after %s the journey is %v, want %s", step.status, now.Status, step.then)
		}
	}
	try(c.px.CreateJourneyInstance(t.Context(), client.JourneyInstanceCreate{
		JourneyTemplate: j.template, Patient: j.patient, EncounterID: "2", Hospital: c.hospital, Status: client.Ptr(client.JourneyStatusCompleted),
	})).refused(t, 409)
	// A cancelled journey cannot be changed.
	j.setStatus(client.JourneyStatusCancelled).ok(t)
	j.setStage(1, client.StageStatusCompleted).refused(t, 409)
	j.setStage(1, client.StageStatusInProgress).refused(t, 409)
	j.changeStage(1, client.StageInstanceUpdate{Metadata: json.RawMessage(`{"note": "called"}`)}).ok(t)
	j.setStatus(client.JourneyStatusActive).ok(t)
	j.setStage(1, client.StageStatusCompleted).ok(t)
	j.setStage(2, client.StageStatusSkipped).ok(t)
	for _, status := range []client.JourneyStatus{"active", "cancelled"} {
		j.setStatus(status).refused(t, 409)
	}
	if now := j.now(); now.Status != client.JourneyStatusCompleted {
		t.Errorf("the journey is %v, want completed", now.Status)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	type stages []func(*stageTemplate)
	for name, test := range map[string]struct {
		stages     stages
		statuses   []client.StageStatus
		percentage int32
		isComplete bool
	}{
		"no stages":              {nil, nil, 0, false},
		"nothing done":           {stages{nil, nil}, []client.StageStatus{"", "in_progress"}, 0, false},
		"one of three":           {stages{nil, nil, nil}, []client.StageStatus{"completed"}, 33, false},
		"two of three":           {stages{nil, nil, nil}, []client.StageStatus{"completed", "completed"}, 66, false},
		"skipped does not count": {stages{nil, nil, nil}, []client.StageStatus{"completed", "skipped"}, 50, false},
		"all but the optional":   {stages{nil, optional, nil}, []client.StageStatus{"completed", "", "completed"}, 66, true},
		"optional alone":         {stages{nil, optional}, []client.StageStatus{"", "completed"}, 50, false},
		"skipped and completed":  {stages{nil, nil}, []client.StageStatus{"completed", "skipped"}, 100, true},
		"all skipped":            {stages{nil, nil}, []client.StageStatus{"skipped", "skipped"}, 0, true},
	} {
		j := c.journey(c.Template(test.stages...), unique("E"))
		for i, status := range test.statuses {
			if status != "" {
				j.setStage(i+1, status).ok(t)
			}
		}
		p := j.progress()
		if p.CompletionPercentage != test.percentage || p.IsComplete != test.isComplete || len(p.Stages) != len(test.stages) {
			t.Errorf("%s: %v %% and complete %v, want %v and %v", name, p.CompletionPercentage, p.IsComplete, test.percentage, test.isComplete)
		}
		if p.JourneyID != j.id || p.Patient != "Ahmad Ali" || p.JourneyType != client.JourneyTypeOPD || p.EncounterID != j.encounter {
			t.Errorf("%s: progress of %s", name, jsonText(p))
		}
	}
}

func TestDeletingAJourney(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	template := c.Template(sendsSurvey(c.Survey(), 0), nil)
	j := c.journey(template, "1")
	stage := j.setStage(1, client.StageStatusCompleted).ok(t)
	must(t, c.px.DeleteJourneyInstance(ctx, j.id))
	try(c.px.RetrieveStageInstance(ctx, stage.ID)).refused(t, 404)
	if left := value[int](c.system, "SELECT count(*) FROM surveys"); left != 0 {
		t.Errorf("%d surveys are left after their journey was deleted", left)
	}
	// A sent survey is part of the record, so it cannot be deleted.
	sent := c.journey(template, "2")
	sent.setStage(1, client.StageStatusCompleted).ok(t)
	c.exec("UPDATE surveys SET status = 'sent', asked_at = now(), sent_at = now()")
	c.exec(`INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type, stage_instance_id, sent_at)
		SELECT id, 1, survey_template_id, 1, hospital_id, 'opd', stage_instance_id, sent_at FROM surveys`)
	stages := sent.stages()
	if !stages[0].SurveySent {
		t.Error("the stage does not show that its survey was sent")
	}
	refused(t, c.px.DeleteJourneyInstance(ctx, sent.id), 409)
	refused(t, c.px.DeleteStageInstance(ctx, stages[0].ID), 409)
	must(t, c.px.DeleteStageInstance(ctx, stages[1].ID))
	if left := value[int](c.system, "SELECT count(*) FROM surveys"); left != 1 || len(sent.stages()) != 1 {
		t.Errorf("%d surveys and %d stages are left, want 1 and 1", left, len(sent.stages()))
	}
}
