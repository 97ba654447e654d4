package hospitalday_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/px360/px360/tests/hospitalday"
)

var received = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// event is an event of encounter E1 in hospital A, whose payload has these pairs.
func event(code string, pairs ...string) hospitalday.ReceivedEvent {
	payload := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		payload[pairs[i]] = pairs[i+1]
	}
	body, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return hospitalday.ReceivedEvent{
		Event:      hospitalday.Event{SourceSystem: "his", EventCode: code, EncounterID: "E1", PayloadJSON: body},
		Hospital:   "A",
		ReceivedAt: received,
	}
}

// model is a journey E1 in hospital A with these stages.
func model(stages ...hospitalday.Stage) hospitalday.Model {
	return hospitalday.Model{
		ActiveSurveys: []string{"visit"},
		Physicians:    map[string][]string{"A": {"P1"}, "B": {"P2"}},
		Departments:   map[string][]string{"A": {"D1"}, "B": {"D2"}},
		Journeys: []hospitalday.Journey{{
			Hospital: "A", EncounterID: "E1", PatientMRN: "M1", PatientNationalID: "N1", Stages: stages,
		}},
	}
}

func stage(order int, trigger string) hospitalday.Stage {
	return hospitalday.Stage{Code: fmt.Sprintf("S%d", order), Order: order, TriggerEventCode: trigger}
}

func optional(s hospitalday.Stage) hospitalday.Stage {
	s.IsOptional = true
	return s
}

// verdicts formats outcomes as "processed S1", "ignored no_stage", with the journey's index if it is not 0.
func verdicts(outcomes []hospitalday.Outcome) []string {
	var texts []string
	for _, o := range outcomes {
		text := o.Status
		for _, part := range []string{o.Reason, o.Stage} {
			if part != "" {
				text += " " + part
			}
		}
		if o.Journey != 0 {
			text += fmt.Sprintf(" @%d", o.Journey)
		}
		texts = append(texts, text)
	}
	return texts
}

type verdictCase struct {
	model  hospitalday.Model
	events events
	want   []string
}

func checkVerdicts(t *testing.T, cases map[string]verdictCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := verdicts(c.model.Run(c.events).Outcomes)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

type events = []hospitalday.ReceivedEvent

func from(hospital string, e hospitalday.ReceivedEvent) hospitalday.ReceivedEvent {
	e.Hospital = hospital
	return e
}

// requiresBoth is a stage that requires a physician and a department.
func requiresBoth() hospitalday.Stage {
	s := stage(1, "IN")
	s.RequiresPhysician, s.RequiresDepartment = true, true
	return s
}

// twoHospitals has the same encounter id in A and, with a stage that requiresBoth, in B.
func twoHospitals() hospitalday.Model {
	m := model(stage(1, "IN"))
	m.Journeys = append(m.Journeys, hospitalday.Journey{
		Hospital: "B", EncounterID: "E1", PatientMRN: "M1", Stages: []hospitalday.Stage{requiresBoth()},
	})
	return m
}

// twoPatients is twoHospitals with another patient in B.
func twoPatients() hospitalday.Model {
	m := twoHospitals()
	m.Journeys[1].PatientMRN = "M2"
	return m
}

// ofPatient is an event of that patient by a sender of no hospital.
func ofPatient(id string) hospitalday.ReceivedEvent {
	e := from("", event("IN"))
	e.PatientIdentifier = id
	return e
}

func TestWhichJourney(t *testing.T) {
	t.Parallel()
	encounter := func(id string) hospitalday.ReceivedEvent {
		e := event("IN")
		e.EncounterID = id
		return e
	}
	in := event("IN")
	plain := model(stage(1, "IN"), stage(2, "OUT"))
	checkVerdicts(t, map[string]verdictCase{
		"another encounter":                      {plain, events{encounter("E2")}, []string{"ignored no_journey @-1"}},
		"no encounter":                           {plain, events{encounter("")}, []string{"ignored no_journey @-1"}},
		"another hospital's sender":              {plain, events{from("B", in)}, []string{"ignored no_journey @-1"}},
		"a sender of no hospital":                {plain, events{from("", in)}, []string{"processed S1"}},
		"two candidates":                         {twoHospitals(), events{from("", in)}, []string{"failed ambiguous_journey @-1"}},
		"two candidates, the patient of one":     {twoPatients(), events{ofPatient("M2")}, []string{"failed physician_missing S1 @1"}},
		"two candidates, the patient of neither": {twoPatients(), events{ofPatient("M3")}, []string{"failed ambiguous_journey @-1"}},
		"two candidates, a sender of one":        {twoHospitals(), events{in}, []string{"processed S1"}},
		"physician and department of the journey's hospital": {
			twoHospitals(),
			events{
				from("B", event("IN", "physician_license", "P1", "department_code", "D1")),
				from("B", event("IN", "physician_license", "P2", "department_code", "D2")),
			},
			[]string{"failed physician_missing S1 @1", "processed S1 @1"},
		},
	})
}

func TestWhichPatient(t *testing.T) {
	t.Parallel()
	patient := func(id string) hospitalday.ReceivedEvent {
		e := event("IN")
		e.PatientIdentifier = id
		return e
	}
	plain := model(stage(1, "IN"), stage(2, "OUT"))
	noNationalID := model(stage(1, "IN"))
	noNationalID.Journeys[0].PatientNationalID = ""
	cancelled := model(stage(1, "IN"))
	cancelled.Journeys[0].Cancelled = true
	checkVerdicts(t, map[string]verdictCase{
		"mrn":         {plain, events{patient("M1")}, []string{"processed S1"}},
		"national id": {plain, events{patient("N1")}, []string{"processed S1"}},
		"neither, then right": {
			plain, events{patient("M2"), patient("M1")}, []string{"failed patient_mismatch", "processed S1"},
		},
		"a patient without national id": {
			noNationalID, events{patient("M2"), patient("")}, []string{"failed patient_mismatch", "processed S1"},
		},
		"mismatch is checked before not active": {
			cancelled, events{patient("M2"), patient("M1")}, []string{"failed patient_mismatch", "ignored journey_not_active"},
		},
	})
}

func TestWhichStage(t *testing.T) {
	t.Parallel()
	plain := model(stage(1, "IN"), stage(2, "OUT"))
	skipped := model(stage(1, "IN"), stage(2, "OUT"))
	skipped.Journeys[0].Skipped = []string{"S1"}
	sameOrder := stage(1, "LAB")
	sameOrder.Code = "S0"
	checkVerdicts(t, map[string]verdictCase{
		"no such code, another case": {plain, events{event("X"), event("in")}, []string{"ignored no_stage", "ignored no_stage"}},
		"no stages at all":           {model(), events{event("IN")}, []string{"ignored no_stage"}},
		"done":                       {plain, events{event("IN"), event("IN")}, []string{"processed S1", "ignored stage_done"}},
		"skipped":                    {skipped, events{event("IN"), event("OUT")}, []string{"ignored stage_done", "processed S2"}},
		"journey completed, then more": {
			plain,
			events{event("OUT"), event("IN"), event("IN"), event("X")},
			[]string{"processed S2", "processed S1", "ignored journey_not_active", "ignored journey_not_active"},
		},
		"several with the code, by order and code": {
			model(stage(3, "LAB"), stage(1, "LAB"), stage(2, "IN"), sameOrder),
			events{event("LAB"), event("LAB"), event("LAB"), event("LAB")},
			[]string{"processed S0", "processed S1", "processed S3", "ignored stage_done"},
		},
		"what it requires": {
			model(requiresBoth()),
			events{
				event("IN"),
				event("IN", "physician_license", "P2", "department_code", "D1"),
				event("IN", "physician_license", "P1"),
				event("IN", "physician_license", "P1", "department_code", "d1"),
				event("IN", "physician_license", "P1", "department_code", "D1"),
			},
			[]string{
				"failed physician_missing S1", "failed physician_missing S1", "failed department_missing S1",
				"failed department_missing S1", "processed S1",
			},
		},
	})
}

// A journey with late events, one of them with a timestamp in the future, and an event for its optional stage after
// completion.
func TestLateEvents(t *testing.T) {
	t.Parallel()
	end := stage(3, "OUT")
	end.AutoSendSurvey, end.SurveyTemplate, end.SurveyDelayHours = true, "visit", 2
	m := model(end, optional(stage(2, "LAB")), stage(1, "IN"), optional(stage(4, "RAD")))
	got := m.Run(events{
		event("OUT", "timestamp", "2026-01-02T11:00:00+02:00", "department_code", "D1", "physician_license", "P9"),
		event("LAB", "timestamp", "2026-01-02T08:30:00Z"),
		event("IN", "timestamp", "2026-01-02T08:00:00Z", "physician_license", "P1"),
		event("RAD"),
	})
	nine := time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	want := hospitalday.JourneyState{
		Status: hospitalday.JourneyCompleted, CompletedAt: nine, CompletionPercentage: 75, IsComplete: true,
		Stages: []hospitalday.StageState{
			{Stage: stage(1, "IN"), Status: "completed", CompletedAt: nine.Add(-time.Hour), Physician: "P1"},
			{Stage: optional(stage(2, "LAB")), Status: "completed", CompletedAt: nine.Add(-30 * time.Minute)},
			{
				Stage: end, Status: "completed", CompletedAt: nine, Department: "D1",
				ScheduledSurvey: &hospitalday.ScheduledSurvey{Template: "visit", DueAt: received.Add(2 * time.Hour)}, // not from its completion at nine
			},
			{Stage: optional(stage(4, "RAD")), Status: "pending"},
		},
	}
	if !reflect.DeepEqual(got.Journeys[0], want) {
		t.Errorf("got  %+v\nwant %+v", got.Journeys[0], want)
	}
}

func TestSurveyIsScheduled(t *testing.T) {
	t.Parallel()
	asked, inactive, unasked := stage(1, "A"), stage(2, "B"), stage(3, "C")
	asked.AutoSendSurvey, asked.SurveyTemplate = true, "visit"
	inactive.AutoSendSurvey, inactive.SurveyTemplate = true, "retired"
	unasked.SurveyTemplate = "visit"
	none := stage(4, "D")
	none.AutoSendSurvey = true
	m := model(asked, inactive, unasked, none)
	got := m.Run(events{event("A"), event("A"), event("B"), event("C"), event("D")})
	for i, want := range []bool{true, false, false, false} {
		if scheduled := got.Journeys[0].Stages[i].ScheduledSurvey != nil; scheduled != want {
			t.Errorf("stage %d: scheduled %v, want %v", i+1, scheduled, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	required, optionalStage := stage(1, "IN"), optional(stage(2, "LAB"))
	last := stage(3, "OUT")
	for name, c := range map[string]struct {
		stages     []hospitalday.Stage
		skipped    []string
		codes      []string
		status     string
		percentage int
		complete   bool
	}{
		"no stages":                     {nil, nil, []string{"IN"}, "active", 0, false},
		"nothing yet":                   {[]hospitalday.Stage{required, optionalStage, last}, nil, nil, "active", 0, false},
		"a third, rounded down":         {[]hospitalday.Stage{required, optionalStage, last}, nil, []string{"IN"}, "active", 33, false},
		"only the optional left":        {[]hospitalday.Stage{required, optionalStage, last}, nil, []string{"IN", "OUT"}, "completed", 66, true},
		"skipped do not count":          {[]hospitalday.Stage{required, optionalStage, last}, []string{"S2"}, []string{"IN"}, "active", 50, false},
		"a required one skipped":        {[]hospitalday.Stage{required, optionalStage, last}, []string{"S1"}, []string{"OUT"}, "completed", 50, true},
		"all skipped":                   {[]hospitalday.Stage{required}, []string{"S1"}, []string{"IN"}, "active", 0, true},
		"all optional, nothing yet":     {[]hospitalday.Stage{optionalStage}, nil, []string{"IN"}, "active", 0, true},
		"all optional, the first of it": {[]hospitalday.Stage{optionalStage, optional(last)}, nil, []string{"OUT"}, "completed", 50, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model(c.stages...)
			m.Journeys[0].Skipped = c.skipped
			var events []hospitalday.ReceivedEvent
			for _, code := range c.codes {
				events = append(events, event(code))
			}
			got := m.Run(events).Journeys[0]
			if got.Status != c.status || got.CompletionPercentage != c.percentage || got.IsComplete != c.complete {
				t.Errorf("got %s %d%% %v, want %s %d%% %v",
					got.Status, got.CompletionPercentage, got.IsComplete, c.status, c.percentage, c.complete)
			}
			if got.CompletedAt.IsZero() == (c.status == "completed") {
				t.Errorf("%s, but completed at %v", got.Status, got.CompletedAt)
			}
		})
	}
}
