package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/worker"
)

const eventPath = "/api/integrations/events/"

// TestOutcomes sends an event for each possible outcome, in the order in which the rules check.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	physician, department := c.Physician("L-1"), c.Department("LAB")
	c.clinic().Physician("L-ABROAD")
	template := c.Template(nil, needsPhysician, needsDepartment, nil)
	cancelled := c.journey(template, "CANCELLED")
	c.expect(t, 200, "PATCH", cancelled.path(), c.px, fields{"status": "cancelled"})
	payload := func(key string, value any) fields { return fields{"payload_json": fields{key: value}} }

	for i, test := range []struct {
		code           string
		more           fields
		status, reason string
	}{
		{"E1", fields{"encounter_id": "NOWHERE"}, "ignored", "no_journey"},
		{"E1", fields{"patient_identifier": "MRN-OTHER"}, "failed", "patient_mismatch"},
		{"E1", fields{"encounter_id": "CANCELLED", "patient_identifier": "MRN-OTHER"}, "failed", "patient_mismatch"},
		{"E1", fields{"encounter_id": "CANCELLED"}, "ignored", "journey_not_active"},
		{"E9", nil, "ignored", "no_stage"},
		{"E2", nil, "failed", "physician_missing"},
		{"E2", payload("physician_license", "L-UNKNOWN"), "failed", "physician_missing"},
		{"E2", payload("physician_license", "L-ABROAD"), "failed", "physician_missing"},
		{"E2", payload("physician_license", 17), "failed", "physician_missing"},
		{"E3", payload("department_code", "NONE"), "failed", "department_missing"},
		{"E1", nil, "processed", ""},
		{"E1", fields{"patient_identifier": ""}, "processed", ""},
		{"E1", fields{"patient_identifier": "MRN"}, "processed", ""},
		{"E1", fields{"patient_identifier": "ID"}, "processed", ""},
		{"E2", payload("physician_license", "L-1"), "processed", ""},
		{"E3", payload("department_code", "LAB"), "processed", ""},
	} {
		j := c.journey(template, fmt.Sprintf("ENC-%d", i))
		if who := test.more["patient_identifier"]; who == "MRN" || who == "ID" {
			test.more["patient_identifier"] = map[string]string{"MRN": "MRN-" + j.encounter, "ID": "ID-MRN-" + j.encounter}[who.(string)]
		}
		o := c.outcome(j.event(test.code, test.more))
		what := fmt.Sprintf("%s %v", test.code, test.more)
		if o["status"] != test.status || o["reason"] != test.reason || o["attempts"] != 1.0 || o["processed_at"] == nil {
			t.Errorf("%s: %v (%v) after %v attempts, want %s (%s)", what, o["status"], o["reason"], o["attempts"], test.status, test.reason)
		}
		if (o["error_message"] == "") != (test.status == "processed") {
			t.Errorf("%s: the message is %q", what, o["error_message"])
		}
		done := slices.DeleteFunc(j.stages(), func(stage fields) bool { return stage["status"] != "completed" })
		if test.status != "processed" {
			if len(done) > 0 {
				t.Errorf("%s: %s, but completed %v", what, test.status, done)
			}
			continue
		}
		if len(done) != 1 || o["stage_instance"] != done[0]["id"] || o["journey_instance"] != j.id.String() || done[0]["completed_by_event"] != o["id"] {
			t.Errorf("%s: the event has %v, the stages %v", what, o, done)
		}
		if test.code == "E2" && done[0]["physician"] != physician.String() || test.code == "E3" && done[0]["department"] != department.String() {
			t.Errorf("%s: the stage is %v", what, done[0])
		}
	}
}

func TestStagesWithTheSameCode(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	vitals := triggeredBy("VITALS")
	j := c.journey(c.Template(vitals, vitals, vitals), "1")
	j.stage(t, 2, 200, fields{"status": "skipped"})
	first, second, third := j.event("VITALS", nil), j.event("VITALS", nil), j.event("VITALS", nil)
	stages := j.stages()
	for i, event := range map[int]uuid.UUID{0: first, 2: second} {
		if o := c.outcome(event); o["status"] != "processed" || o["stage_instance"] != stages[i]["id"] {
			t.Errorf("stage %d: %v", i+1, o)
		}
	}
	// The second event completed the journey, which is checked before the stage.
	if o := c.outcome(third); o["reason"] != "journey_not_active" {
		t.Errorf("a third event: %v", o)
	}
	k := c.journey(c.Template(vitals, nil), "2")
	if o := c.outcome(k.event("VITALS", nil)); o["status"] != "processed" {
		t.Errorf("the first: %v", o)
	}
	if o := c.outcome(k.event("VITALS", nil)); o["status"] != "ignored" || o["reason"] != "stage_done" {
		t.Errorf("once more: %v", o)
	}
}

func TestStageCompletionTime(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	template := c.Template(nil)
	for _, test := range []struct {
		stated any
		want   string // blank: the time of receipt
	}{
		{"2025-12-14T10:45:00Z", "2025-12-14T10:45:00Z"},
		{"2025-12-14T10:45:00.123456+03:00", "2025-12-14T07:45:00.123456Z"},
		{"20251214104500.25+0300", "2025-12-14T07:45:00.250000Z"},
		{1765709100, "2025-12-14T10:45:00Z"},
		{json.Number("1765709100250.5"), "2025-12-14T10:45:00.250500Z"},
		{"2999-01-01T00:00:00Z", ""},
		{"2025-12-14", ""},
		{"2025-13-14T10:45:00Z", ""},
		{"yesterday", ""},
		{"1765709100", ""},
		{nil, ""},
	} {
		j := c.journey(template, unique("E"))
		o := c.outcome(j.event("E1", fields{"payload_json": fields{"timestamp": test.stated}}))
		want := test.want
		if want == "" {
			want = o["received_at"].(string)
		}
		stage, now := j.stages()[0], j.now()
		if stage["completed_at"] != want || now["status"] != "completed" || now["completed_at"] != want {
			t.Errorf("stated %v: the stage at %v, the journey %v at %v, want %s", test.stated, stage["completed_at"], now["status"], now["completed_at"], want)
		}
		if warned := len(o["warnings"].([]any)) > 0; warned != (test.want == "" && test.stated != nil) {
			t.Errorf("stated %v: warnings %v", test.stated, o["warnings"])
		}
	}
}

// The completion time of a journey is the latest of its stages, not that of the last event received.
func TestJourneyCompletionTime(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	j := c.journey(c.Template(nil, nil, optional), "1")
	stated := func(time string) fields { return fields{"payload_json": fields{"timestamp": time}} }
	j.event("E3", stated("2025-12-14T09:00:00Z"))
	j.event("E2", stated("2025-12-14T12:00:00Z"))
	last := c.outcome(j.event("E1", stated("2025-12-14T11:00:00Z")))
	if now := j.now(); last["status"] != "processed" || now["status"] != "completed" || now["completed_at"] != "2025-12-14T12:00:00Z" {
		t.Errorf("the journey is %v at %v", now["status"], now["completed_at"])
	}
}

func TestSurveyIsScheduledOnce(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	survey, unused := c.Survey(), c.Survey()
	c.expect(t, 200, "PATCH", "/api/surveys/templates/"+unused.String()+"/", c.px, fields{"is_active": false})
	j := c.journey(c.Template(
		sendsSurvey(survey, 24),
		func(s *stageTemplate) { s.SurveyTemplate = &survey },
		sendsSurvey(unused, 0),
		func(s *stageTemplate) { s.AutoSendSurvey = true },
		nil), "1")
	when := fields{"payload_json": fields{"timestamp": "2025-12-14T10:00:00Z"}}
	first, again := j.event("E1", when), j.event("E1", when)
	o := c.outcome(first)
	if o["survey"] == nil || c.outcome(again)["survey"] != nil {
		t.Errorf("the events scheduled %v and %v", o["survey"], c.outcome(again)["survey"])
	}
	if stage := j.stages()[0]; stage["survey_scheduled_at"] != "2025-12-15T10:00:00Z" || stage["survey_sent"] != false {
		t.Errorf("the stage has %v", stage)
	}
	due := value[time.Time](c.system, "SELECT due_at FROM surveys WHERE id = $1", o["survey"])
	if !due.Equal(time.Date(2025, 12, 15, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("the survey is due at %v", due)
	}
	for _, code := range []string{"E2", "E3", "E4"} {
		if o := c.outcome(j.event(code, nil)); o["status"] != "processed" || o["survey"] != nil {
			t.Errorf("%s: %v", code, o)
		}
	}
	if n := value[int](c.system, "SELECT count(*) FROM surveys"); n != 1 {
		t.Errorf("%d surveys are scheduled, want 1", n)
	}
}

func TestEventsBeforeTheirJourney(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	otherHospital := c.clinic()
	template := c.Template(nil, nil)
	send := func(token, code string) uuid.UUID {
		return c.create(token, eventPath, fields{"source_system": "his", "event_code": code, "encounter_id": "LATE"})
	}
	first, second := send(c.admin.access, "E1"), send(c.px, "E2")
	anonymous := send(otherHospital.admin.access, "E1")
	for _, event := range []uuid.UUID{first, second, anonymous} {
		if o := c.outcome(event); o["status"] != "ignored" || o["reason"] != "no_journey" {
			t.Errorf("before the journey: %v", o)
		}
	}
	j := c.journey(template, "OTHER")
	c.expect(t, 200, "PATCH", j.path(), c.px, fields{"encounter_id": "LATE"})
	for i, event := range []uuid.UUID{first, second} {
		if o := c.outcome(event); o["status"] != "processed" || o["stage_instance"] != j.stages()[i]["id"] || o["attempts"] != 2.0 {
			t.Errorf("after the journey got its encounter: %v", o)
		}
	}
	if o := c.outcome(anonymous); o["status"] != "ignored" {
		t.Errorf("another hospital's event: %v", o)
	}
	theirs := otherHospital.postJourney(otherHospital.Template(nil), "LATE")
	if o := c.outcome(anonymous); o["status"] != "processed" || o["journey_instance"] != theirs.id.String() {
		t.Errorf("after the other hospital's journey began: %v", o)
	}
}

func TestAmbiguousJourney(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	otherHospital := c.clinic()
	here, there := c.journey(c.Template(nil), "SAME"), otherHospital.journey(otherHospital.Template(nil), "SAME")
	o := c.outcome(here.event("E1", nil))
	if o["status"] != "failed" || o["reason"] != "ambiguous_journey" || o["hospital"] != nil {
		t.Errorf("an event for either: %v", o)
	}
	for _, hospital := range []uuid.UUID{c.hospital, otherHospital.hospital} {
		name := value[string](c.system, "SELECT name FROM hospitals WHERE id = $1", hospital)
		if message := fmt.Sprint(o["error_message"]); !strings.Contains(message, name) {
			t.Errorf("the message does not name %s: %s", name, message)
		}
	}
	body := fields{"source_system": "his", "event_code": "E1", "encounter_id": "SAME"}
	o = c.outcome(c.create(otherHospital.person(otherHospital.hospital).access, eventPath, body))
	if o["status"] != "processed" || o["journey_instance"] != there.id.String() || o["hospital"] != otherHospital.hospital.String() {
		t.Errorf("an event of one hospital's user: %v", o)
	}
}

// Events of an encounter are applied in the order of arrival, also within a bulk and with several
// workers.
func TestEventsOfAnEncounterKeepTheirOrder(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	const n, encounters = 12, 8
	template := c.Template(slices.Repeat([]func(*stageTemplate){triggeredBy("NEXT")}, n)...)
	var journeys []journey
	for i := range encounters {
		journeys = append(journeys, c.journey(template, fmt.Sprint("ENC-", i)))
	}
	var events []fields
	for i := range n * encounters {
		events = append(events, fields{
			"source_system": "his", "event_code": "NEXT", "encounter_id": fmt.Sprint("ENC-", i%encounters),
			"payload_json": fields{"timestamp": fmt.Sprintf("2025-12-14T10:%02d:00Z", i/encounters)},
		})
	}
	for half := range slices.Chunk(events, len(events)/2) {
		a := c.expect(t, 201, "POST", eventBulkPath, c.px, fields{"events": half})
		if a.json()["created"] != float64(len(half)) {
			t.Fatalf("the bulk was answered with %s", a.body)
		}
	}
	c.waitForWorker()
	for _, j := range journeys {
		for i, stage := range j.stages() {
			if want := fmt.Sprintf("2025-12-14T10:%02d:00Z", i); stage["completed_at"] != want {
				t.Errorf("%s: stage %d was completed at %v, want %s", j.encounter, i+1, stage["completed_at"], want)
			}
		}
		if now := j.now(); now["status"] != "completed" {
			t.Errorf("%s is %v", j.encounter, now["status"])
		}
	}
}

func TestReprocessing(t *testing.T) {
	t.Parallel()
	s := startServer(t) // without a worker at first
	c := s.clinic()
	j := c.journey(c.Template(needsPhysician), "1")
	event := j.event("E1", fields{"payload_json": fields{"physician_license": "L-1"}})
	again := func(want int, token string) answer {
		t.Helper()
		return c.expect(t, want, "POST", eventPath+event.String()+"/reprocess/", token, nil)
	}
	again(409, c.px) // pending
	s.work(worker.DefaultOptions())
	if o := c.outcome(event); o["reason"] != "physician_missing" {
		t.Errorf("without the physician: %v", o)
	}
	again(403, c.admin.access)
	c.Physician("L-1")
	if a := again(200, c.px); a.json()["id"] != event.String() || a.json()["status"] == "failed" {
		t.Errorf("reprocessing was answered with %s", a.body)
	}
	if o := c.outcome(event); o["status"] != "processed" || o["reason"] != "" || o["error_message"] != "" || o["attempts"] != 2.0 {
		t.Errorf("with the physician: %v", o)
	}
	again(409, c.px) // processed
	// An ignored event may be reprocessed too.
	event = j.event("E9", nil)
	c.outcome(event)
	again(200, c.px)
	if o := c.outcome(event); o["status"] != "ignored" || o["attempts"] != 2.0 {
		t.Errorf("ignored again: %v", o)
	}
	c.expect(t, 404, "POST", eventPath+uuid.NewString()+"/reprocess/", c.px, nil)
}

func TestListOfEvents(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	j := c.journey(c.Template(nil), "1")
	j.event("E1", nil)
	j.event("E9", fields{"source_system": "lab"})
	c.waitForWorker()
	for query, count := range map[string]float64{
		"": 2, "?status=processed": 1, "?status=ignored": 1, "?status=failed": 0, "?status=processing": 0,
		"?source_system=lab": 1, "?event_code=E1": 1, "?encounter_id=1": 2, "?encounter_id=2": 0,
	} {
		if list := c.expect(t, 200, "GET", eventPath+query, c.px, nil).json(); list["count"] != count {
			t.Errorf("%s lists %v events, want %v", query, list["count"], count)
		}
	}
	c.expect(t, 400, "GET", eventPath+"?status=lost", c.px, nil)
	c.expect(t, 403, "GET", eventPath, c.admin.access, nil)
}

// Whatever puts an event into the queue wakes the workers, in any process; otherwise it would wait for their polling.
func TestWorkersAreNotified(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	template := c.Template(nil)
	conn, err := pgx.Connect(t.Context(), c.dbURL)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	_, err = conn.Exec(t.Context(), "LISTEN px360_events")
	must(t, err)
	notifies := func(what string, write func()) {
		t.Helper()
		write()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			t.Fatalf("%s: no notification: %v", what, err)
		}
	}
	var event, j uuid.UUID
	body := fields{"source_system": "his", "event_code": "E9", "encounter_id": "1"}
	notifies("an event", func() { event = c.create(c.px, eventPath, body) })
	notifies("a bulk", func() { c.expect(t, 201, "POST", eventBulkPath, c.px, fields{"events": []fields{body}}) })
	c.outcome(event)
	notifies("reprocessing", func() { c.expect(t, 200, "POST", eventPath+event.String()+"/reprocess/", c.px, nil) })
	notifies("a new journey", func() { j = c.postJourney(template, "2").id })
	notifies("a journey's new encounter", func() {
		c.expect(t, 200, "PATCH", journeyPath+j.String()+"/", c.px, fields{"encounter_id": "1"})
	})
}
