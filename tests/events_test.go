package tests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/client"
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
	c.journey(template, "CANCELLED").setStatus(client.JourneyStatusCancelled).ok(t)
	type event = client.EventCreate
	other := client.Ptr("MRN-OTHER")
	payload := func(key string, value any) json.RawMessage { return json.RawMessage(jsonText(fields{key: value})) }

	for i, test := range []struct {
		event  event // without an encounter, it is of the ith journey; of its patient it has the MRN or the national id
		status client.EventStatus
		reason string
	}{
		{event{EventCode: "E1", EncounterID: "NOWHERE"}, "ignored", "no_journey"},
		{event{EventCode: "E1", PatientIdentifier: other}, "failed", "patient_mismatch"},
		{event{EventCode: "E1", EncounterID: "CANCELLED", PatientIdentifier: other}, "failed", "patient_mismatch"},
		{event{EventCode: "E1", EncounterID: "CANCELLED"}, "ignored", "journey_not_active"},
		{event{EventCode: "E9"}, "ignored", "no_stage"},
		{event{EventCode: "E2"}, "failed", "physician_missing"},
		{event{EventCode: "E2", PayloadJSON: payload("physician_license", "L-UNKNOWN")}, "failed", "physician_missing"},
		{event{EventCode: "E2", PayloadJSON: payload("physician_license", "L-ABROAD")}, "failed", "physician_missing"},
		{event{EventCode: "E2", PayloadJSON: payload("physician_license", 17)}, "failed", "physician_missing"},
		{event{EventCode: "E3", PayloadJSON: payload("department_code", "NONE")}, "failed", "department_missing"},
		{event{EventCode: "E1"}, "processed", ""},
		{event{EventCode: "E1", PatientIdentifier: client.Ptr("")}, "processed", ""},
		{event{EventCode: "E1", PatientIdentifier: client.Ptr("MRN")}, "processed", ""},
		{event{EventCode: "E1", PatientIdentifier: client.Ptr("ID")}, "processed", ""},
		{event{EventCode: "E2", PayloadJSON: payload("physician_license", "L-1")}, "processed", ""},
		{event{EventCode: "E3", PayloadJSON: payload("department_code", "LAB")}, "processed", ""},
	} {
		j, what := c.journey(template, fmt.Sprintf("ENC-%d", i)), jsonText(test.event)
		sent := test.event
		sent.SourceSystem, sent.EncounterID = "his", cmp.Or(sent.EncounterID, j.encounter)
		if is(sent.PatientIdentifier, "MRN") {
			sent.PatientIdentifier = client.Ptr("MRN-" + j.encounter)
		} else if is(sent.PatientIdentifier, "ID") {
			sent.PatientIdentifier = client.Ptr("ID-MRN-" + j.encounter)
		}
		o := c.outcome(try(c.px.CreateEvent(t.Context(), sent)).ok(t).ID)
		if o.Status != test.status || o.Reason != test.reason || o.Attempts != 1 || o.ProcessedAt == nil {
			t.Errorf("%s: %v (%v) after %v attempts, want %s (%s)", what, o.Status, o.Reason, o.Attempts, test.status, test.reason)
		}
		if (o.ErrorMessage == "") != (test.status == client.EventStatusProcessed) {
			t.Errorf("%s: the message is %q", what, o.ErrorMessage)
		}
		done := slices.DeleteFunc(j.stages(), func(stage client.StageInstance) bool { return stage.Status != client.StageStatusCompleted })
		if test.status != client.EventStatusProcessed {
			if len(done) > 0 {
				t.Errorf("%s: %s, but completed %+v", what, test.status, done)
			}
			continue
		}
		if len(done) != 1 || !is(o.StageInstance, done[0].ID) || !is(o.JourneyInstance, j.id) || !is(done[0].CompletedByEvent, o.ID) {
			t.Fatalf("%s: the event has %s, the stages %s", what, jsonText(o), jsonText(done))
		}
		if sent.EventCode == "E2" && !is(done[0].Physician, physician) || sent.EventCode == "E3" && !is(done[0].Department, department) {
			t.Errorf("%s: the stage is %s", what, jsonText(done[0]))
		}
	}
}

func TestStagesWithTheSameCode(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	vitals := triggeredBy("VITALS")
	j := c.journey(c.Template(vitals, vitals, vitals), "1")
	j.setStage(2, client.StageStatusSkipped).ok(t)
	first, second, third := j.event("VITALS"), j.event("VITALS"), j.event("VITALS")
	stages := j.stages()
	for i, event := range map[int]uuid.UUID{0: first, 2: second} {
		if o := c.outcome(event); o.Status != client.EventStatusProcessed || !is(o.StageInstance, stages[i].ID) {
			t.Errorf("stage %d: %s", i+1, jsonText(o))
		}
	}
	// The second event completed the journey, which is checked before the stage.
	if o := c.outcome(third); o.Reason != "journey_not_active" {
		t.Errorf("a third event: %s", jsonText(o))
	}
	k := c.journey(c.Template(vitals, nil), "2")
	if o := c.outcome(k.event("VITALS")); o.Status != client.EventStatusProcessed {
		t.Errorf("the first: %s", jsonText(o))
	}
	if o := c.outcome(k.event("VITALS")); o.Status != client.EventStatusIgnored || o.Reason != "stage_done" {
		t.Errorf("once more: %s", jsonText(o))
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
		o := c.outcome(j.event("E1", stating(test.stated)))
		want := o.ReceivedAt
		if test.want != "" {
			want = at(t, test.want)
		}
		stage, now := j.stages()[0], j.now()
		if !is(stage.CompletedAt, want) || now.Status != client.JourneyStatusCompleted || !is(now.CompletedAt, want) {
			t.Errorf("stated %v: the stage at %v, the journey %v at %v, want %s", test.stated, stage.CompletedAt, now.Status, now.CompletedAt, want)
		}
		if warned := len(o.Warnings) > 0; warned != (test.want == "" && test.stated != nil) {
			t.Errorf("stated %v: warnings %v", test.stated, o.Warnings)
		}
	}
}

// The completion time of a journey is the latest of its stages, not that of the last event received.
func TestJourneyCompletionTime(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	j := c.journey(c.Template(nil, nil, optional), "1")
	j.event("E3", stating("2025-12-14T09:00:00Z"))
	j.event("E2", stating("2025-12-14T12:00:00Z"))
	last := c.outcome(j.event("E1", stating("2025-12-14T11:00:00Z")))
	if now := j.now(); last.Status != client.EventStatusProcessed || now.Status != client.JourneyStatusCompleted || !is(now.CompletedAt, at(t, "2025-12-14T12:00:00Z")) {
		t.Errorf("the journey is %v at %v", now.Status, now.CompletedAt)
	}
}

func TestSurveyIsScheduledOnce(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	survey, unused := c.Survey(), c.Survey()
	try(c.px.UpdateSurveyTemplate(t.Context(), unused, client.SurveyTemplateUpdate{IsActive: client.Ptr(false)})).ok(t)
	j := c.journey(c.Template(
		sendsSurvey(survey, 24),
		func(s *stageTemplate) { s.SurveyTemplate = &survey },
		sendsSurvey(unused, 0),
		func(s *stageTemplate) { s.AutoSendSurvey = true },
		nil), "1")
	when := stating("2025-12-14T10:00:00Z")
	first, again := j.event("E1", when), j.event("E1", when)
	o := c.outcome(first)
	if o.Survey == nil || c.outcome(again).Survey != nil {
		t.Errorf("the events scheduled %v and %v", o.Survey, c.outcome(again).Survey)
	}
	// The delay runs from when the completion was received, which was long after it.
	due := value[time.Time](c.system, "SELECT received_at + interval '24 hours' FROM events WHERE id = $1", first)
	if stage := j.stages()[0]; !is(stage.SurveyScheduledAt, due) || stage.SurveySent {
		t.Errorf("the stage has %s, want a survey at %v", jsonText(stage), due)
	}
	for _, code := range []string{"E2", "E3", "E4"} {
		if o := c.outcome(j.event(code)); o.Status != client.EventStatusProcessed || o.Survey != nil {
			t.Errorf("%s: %s", code, jsonText(o))
		}
	}
	if n := value[int](c.system, "SELECT count(*) FROM surveys"); n != 1 {
		t.Errorf("%d surveys are scheduled, want 1", n)
	}
}

// A journey that sends one survey after the visit sends none for its stages.
func TestVisitSurveyIsScheduledOnce(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	template, visit := c.Template(sendsSurvey(c.Survey(), 1), sendsSurvey(c.Survey(), 1)), c.Survey()
	c.exec("UPDATE journey_templates SET send_post_discharge_survey = true, post_discharge_survey_delay_hours = 6, post_discharge_survey_template_id = $1", visit)
	j := c.journey(template, "1")
	c.outcome(j.event("E1"))
	last := j.event("E2")
	if o := c.outcome(last); o.Survey != nil {
		t.Errorf("the stage's event scheduled %v", o.Survey)
	}
	c.outcome(j.event("E2"))
	due := value[time.Time](c.system, "SELECT received_at + interval '6 hours' FROM events WHERE id = $1", last)
	if n := value[int](c.system, "SELECT count(*) FROM surveys WHERE stage_instance_id IS NULL AND survey_template_id = $1 AND due_at = $2", visit, due); n != 1 {
		t.Errorf("%d surveys of the visit are due at %v, want 1", n, due)
	}
	if n := value[int](c.system, "SELECT count(*) FROM surveys"); n != 1 {
		t.Errorf("%d surveys, want 1", n)
	}
}

func TestEventsBeforeTheirJourney(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	otherHospital := c.clinic()
	template := c.Template(nil, nil)
	send := func(sender person, code string) uuid.UUID {
		return try(sender.CreateEvent(t.Context(), eventOf("LATE", coded(code)))).ok(t).ID
	}
	first, second := send(c.admin, "E1"), send(c.px, "E2")
	anonymous := send(otherHospital.admin, "E1")
	for _, event := range []uuid.UUID{first, second, anonymous} {
		if o := c.outcome(event); o.Status != client.EventStatusIgnored || o.Reason != "no_journey" {
			t.Errorf("before the journey: %s", jsonText(o))
		}
	}
	j := c.journey(template, "OTHER")
	j.change(client.JourneyInstanceUpdate{EncounterID: client.Ptr("LATE")}).ok(t)
	for i, event := range []uuid.UUID{first, second} {
		if o := c.outcome(event); o.Status != client.EventStatusProcessed || !is(o.StageInstance, j.stages()[i].ID) || o.Attempts != 2 {
			t.Errorf("after the journey got its encounter: %s", jsonText(o))
		}
	}
	if o := c.outcome(anonymous); o.Status != client.EventStatusIgnored {
		t.Errorf("another hospital's event: %s", jsonText(o))
	}
	theirs := otherHospital.createJourney(otherHospital.Template(nil), "LATE")
	if o := c.outcome(anonymous); o.Status != client.EventStatusProcessed || !is(o.JourneyInstance, theirs.id) {
		t.Errorf("after the other hospital's journey began: %s", jsonText(o))
	}
}

func TestAmbiguousJourney(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	otherHospital := c.clinic()
	here, there := c.journey(c.Template(nil), "SAME"), otherHospital.journey(otherHospital.Template(nil), "SAME")
	o := c.outcome(here.event("E1"))
	if o.Status != client.EventStatusFailed || o.Reason != "ambiguous_journey" || o.Hospital != nil {
		t.Errorf("an event for either: %s", jsonText(o))
	}
	for _, hospital := range []uuid.UUID{c.hospital, otherHospital.hospital} {
		name := value[string](c.system, "SELECT name FROM hospitals WHERE id = $1", hospital)
		if !strings.Contains(o.ErrorMessage, name) {
			t.Errorf("the message does not name %s: %s", name, o.ErrorMessage)
		}
	}
	theirs := otherHospital.person(otherHospital.hospital)
	o = c.outcome(try(theirs.CreateEvent(t.Context(), eventOf("SAME"))).ok(t).ID)
	if o.Status != client.EventStatusProcessed || !is(o.JourneyInstance, there.id) || !is(o.Hospital, otherHospital.hospital) {
		t.Errorf("an event of one hospital's user: %s", jsonText(o))
	}
}

// Of journeys in several hospitals an event of a sender for all means that of its patient. Where the patient's is created
// last, the event has failed meanwhile, and is put back into the queue.
func TestPatientDecidesBetweenHospitals(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	otherHospital := c.clinic()
	wrong := c.createJourney(c.Template(nil), "SHARED")
	send := func(mrn string) *client.Event {
		event := eventOf("SHARED", func(e *client.EventCreate) { e.PatientIdentifier = &mrn })
		return c.outcome(try(c.px.CreateEvent(t.Context(), event)).ok(t).ID)
	}
	o := send("MRN-RIGHT")
	if o.Status != client.EventStatusFailed || o.Reason != "patient_mismatch" {
		t.Fatalf("before its patient's journey is there: %s", jsonText(o))
	}
	right := try(c.px.CreateJourneyInstance(t.Context(), client.JourneyInstanceCreate{
		Hospital: otherHospital.hospital, JourneyTemplate: otherHospital.Template(nil), Patient: otherHospital.Patient("MRN-RIGHT"), EncounterID: "SHARED",
	})).ok(t)
	again := c.outcome(o.ID)
	if again.Status != client.EventStatusProcessed || !is(again.JourneyInstance, right.ID) {
		t.Errorf("the event of before: %s", jsonText(again))
	}
	if o := send("MRN-SHARED"); o.Status != client.EventStatusProcessed || !is(o.JourneyInstance, wrong.id) {
		t.Errorf("an event of the other patient: %s", jsonText(o))
	}
	if o := send("MRN-NOBODY"); o.Status != client.EventStatusFailed || o.Reason != "ambiguous_journey" {
		t.Errorf("an event of neither patient: %s", jsonText(o))
	}
}

// A config for all hospitals may name those that its events concern: the journeys of others are no candidates, and do not
// put its events back into the queue.
func TestConfigOfSomeHospitals(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	second, foreign := c.clinic(), c.clinic()
	ours := c.createJourney(c.Template(nil), "SHARED")
	foreign.createJourney(foreign.Template(nil), "SHARED")
	body := client.IntegrationConfigCreate{Name: "HIS", SourceSystem: "his", Hospitals: &[]uuid.UUID{second.hospital, c.hospital, c.hospital}}
	config := try(c.px.CreateIntegrationConfig(t.Context(), body)).ok(t)
	want := []uuid.UUID{c.hospital, second.hospital}
	slices.SortFunc(want, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	if read := try(c.px.RetrieveIntegrationConfig(t.Context(), config.ID)).ok(t); !slices.Equal(read.Hospitals, want) || read.Hospital != nil || !slices.Equal(config.Hospitals, want) {
		t.Errorf("the config is %s, want the hospitals %s", jsonText(read), want)
	}
	key := c.client(client.WithAPIKey(config.APIKey))
	send := func(encounter string) uuid.UUID {
		return try(key.CreateEvent(t.Context(), eventOf(encounter))).ok(t).ID
	}
	if o := c.outcome(send("SHARED")); o.Status != client.EventStatusProcessed || !is(o.JourneyInstance, ours.id) || o.Hospital != nil {
		t.Errorf("a journey of a hospital that is not named was a candidate: %s", jsonText(o))
	}
	early := send("LATER")
	if o := c.outcome(early); o.Status != client.EventStatusIgnored || o.Reason != "no_journey" {
		t.Errorf("without a journey: %s", jsonText(o))
	}
	foreign.createJourney(foreign.Template(nil), "LATER")
	if o := c.outcome(early); o.Status != client.EventStatusIgnored || o.Reason != "no_journey" {
		t.Errorf("after another hospital's journey: %s", jsonText(o))
	}
	late := second.createJourney(second.Template(nil), "LATER")
	if o := c.outcome(early); o.Status != client.EventStatusProcessed || !is(o.JourneyInstance, late.id) {
		t.Errorf("after the journey of the second hospital: %s", jsonText(o))
	}

	// Emptied, it stands for all hospitals again; what was received before keeps what held then.
	path := "/api/integrations/configs/" + config.ID.String() + "/"
	before := send("FOREIGN")
	c.outcome(before)
	c.expect(t, http.StatusOK, "PATCH", path, c.px.access, fields{"hospitals": []string{}})
	theirs := foreign.createJourney(foreign.Template(nil), "FOREIGN")
	if o := c.outcome(send("FOREIGN")); o.Status != client.EventStatusProcessed || !is(o.JourneyInstance, theirs.id) {
		t.Errorf("for all hospitals: %s", jsonText(o))
	}
	if o := c.outcome(before); o.Status != client.EventStatusIgnored {
		t.Errorf("received before: %s", jsonText(o))
	}

	nobody := uuid.New()
	for name, change := range map[string]fields{
		`{"hospitals":["Leave hospital null, or this empty."]}`:                             {"hospital": c.hospital, "hospitals": []uuid.UUID{c.hospital}},
		`{"hospitals":["Invalid pk \"` + nobody.String() + `\" - object does not exist."]}`: {"hospitals": []uuid.UUID{c.hospital, nobody}},
		`{"hospitals":["“x” is not a valid UUID."]}`:                                        {"hospitals": []string{"x"}},
	} {
		if a := c.expect(t, http.StatusBadRequest, "PATCH", path, c.px.access, change); a.body != name {
			t.Errorf("%s, want %s", a.body, name)
		}
	}
	c.expect(t, http.StatusOK, "PATCH", path, c.px.access, fields{"hospitals": []uuid.UUID{second.hospital}})
	c.expect(t, http.StatusBadRequest, "PATCH", path, c.px.access, fields{"hospital": c.hospital})
	// A hospital that is named stays: without it, the config would stand for all.
	empty := c.send("POST", "/api/organizations/hospitals/", c.px.access, fields{"name": "Empty", "code": unique("E")})
	var made struct{ ID string }
	must(t, json.Unmarshal([]byte(empty.body), &made))
	c.expect(t, http.StatusOK, "PATCH", path, c.px.access, fields{"hospitals": []string{made.ID}})
	c.expect(t, http.StatusConflict, "DELETE", "/api/organizations/hospitals/"+made.ID+"/", c.px.access, nil)
	c.expect(t, http.StatusNoContent, "DELETE", path, c.px.access, nil)
	c.expect(t, http.StatusNoContent, "DELETE", "/api/organizations/hospitals/"+made.ID+"/", c.px.access, nil)
}

// SendEvents divides what would be too large for one request, by bytes or by names and values.
func TestSendEventsOfManyValues(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	dense := json.RawMessage(`{"values": [` + strings.Repeat("0,", 15_000) + `0]}`)
	events := make([]client.EventCreate, 40)
	for i := range events {
		events[i] = eventOf("DENSE", func(e *client.EventCreate) { e.PayloadJSON = dense })
	}
	if report, err := c.admin.SendEvents(t.Context(), events); err != nil || report.Created != len(events) {
		t.Errorf("%+v, %v", report, err)
	}
	if got := value[int](c.system, "SELECT count(DISTINCT request_id) FROM events"); got < 2 {
		t.Errorf("600,000 values were taken in %d request", got)
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
	var events []client.EventCreate
	for i := range n * encounters {
		when := stating(fmt.Sprintf("2025-12-14T10:%02d:00Z", i/encounters))
		events = append(events, eventOf(fmt.Sprint("ENC-", i%encounters), coded("NEXT"), when))
	}
	for half := range slices.Chunk(events, len(events)/2) {
		if report, err := c.px.SendEvents(t.Context(), half); err != nil || report.Created != len(half) {
			t.Fatalf("the bulk was answered with %+v, %v", report, err)
		}
	}
	c.waitForWorker()
	for _, j := range journeys {
		for i, stage := range j.stages() {
			if want := at(t, fmt.Sprintf("2025-12-14T10:%02d:00Z", i)); !is(stage.CompletedAt, want) {
				t.Errorf("%s: stage %d was completed at %v, want %s", j.encounter, i+1, stage.CompletedAt, want)
			}
		}
		if now := j.now(); now.Status != client.JourneyStatusCompleted {
			t.Errorf("%s is %v", j.encounter, now.Status)
		}
	}
}

func TestReprocessing(t *testing.T) {
	t.Parallel()
	s := startServer(t) // without a worker at first
	c := s.clinic()
	j := c.journey(c.Template(needsPhysician), "1")
	event := j.event("E1", withPayload(fields{"physician_license": "L-1"}))
	again := func(who person) reply[client.Event] { return try(who.ReprocessEvent(t.Context(), event)) }
	again(c.px).refused(t, 409) // pending
	s.work(worker.DefaultOptions())
	if o := c.outcome(event); o.Reason != "physician_missing" {
		t.Errorf("without the physician: %s", jsonText(o))
	}
	again(c.admin).refused(t, 403)
	c.Physician("L-1")
	if e := again(c.px).ok(t); e.ID != event || e.Status == client.EventStatusFailed {
		t.Errorf("reprocessing was answered with %s", jsonText(e))
	}
	if o := c.outcome(event); o.Status != client.EventStatusProcessed || o.Reason != "" || o.ErrorMessage != "" || o.Attempts != 2 {
		t.Errorf("with the physician: %s", jsonText(o))
	}
	again(c.px).refused(t, 409) // processed
	// An ignored event may be reprocessed too.
	event = j.event("E9")
	c.outcome(event)
	again(c.px).ok(t)
	if o := c.outcome(event); o.Status != client.EventStatusIgnored || o.Attempts != 2 {
		t.Errorf("ignored again: %s", jsonText(o))
	}
	event = uuid.New()
	again(c.px).refused(t, 404)
}

func TestListOfEvents(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	j := c.journey(c.Template(nil), "1")
	j.event("E1")
	j.event("E9", from("lab"))
	c.waitForWorker()
	type query = client.ListEventsParams
	with := func(status client.EventStatus) query { return query{Status: &status} }
	for _, test := range []struct {
		query query
		count int64
	}{
		{query{}, 2}, {with("processed"), 1}, {with("ignored"), 1}, {with("failed"), 0}, {with("processing"), 0},
		{query{SourceSystem: client.Ptr("lab")}, 1}, {query{EventCode: client.Ptr("E1")}, 1},
		{query{EncounterID: client.Ptr("1")}, 2}, {query{EncounterID: client.Ptr("2")}, 0},
	} {
		if list := try(c.px.ListEvents(t.Context(), &test.query)).ok(t); list.Count != test.count {
			t.Errorf("%s lists %v events, want %v", jsonText(test.query), list.Count, test.count)
		}
	}
	lost := with("lost")
	try(c.px.ListEvents(t.Context(), &lost)).refused(t, 400, "status")
	try(c.admin.ListEvents(t.Context(), nil)).refused(t, 403)
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
	ctx := t.Context()
	var event uuid.UUID
	var j journey
	notifies("an event", func() { event = try(c.px.CreateEvent(ctx, eventOf("1", coded("E9")))).ok(t).ID })
	notifies("a bulk", func() {
		bulk := client.EventBulkCreate{Events: []client.EventCreate{eventOf("1", coded("E9"))}}
		try(c.px.BulkCreateEvents(ctx, bulk)).ok(t)
	})
	c.outcome(event)
	notifies("reprocessing", func() { try(c.px.ReprocessEvent(ctx, event)).ok(t) })
	notifies("a new journey", func() { j = c.createJourney(template, "2") })
	notifies("a journey's new encounter", func() { j.change(client.JourneyInstanceUpdate{EncounterID: client.Ptr("1")}).ok(t) })
}
