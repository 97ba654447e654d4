package rules

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

var (
	hospitalA, hospitalB = uuid.New(), uuid.New()
	physician            = uuid.New()
	department           = uuid.New()
	noon                 = time.Date(2025, 6, 1, 12, 0, 0, 123456000, time.UTC)
	morning              = noon.Add(-3 * time.Hour)
)

func journeyIn(hospital uuid.UUID, name, status string, stages ...Stage) *Journey {
	return &Journey{ID: uuid.New(), Hospital: hospital, HospitalName: name, Status: status, MRN: "M1", NationalID: "N1", Stages: stages}
}

// stageOf is a stage triggered by X.
func stageOf(status string, change ...func(*Stage)) Stage {
	s := Stage{ID: uuid.New(), TriggerEventCode: "X", Status: status}
	if status == StageCompleted {
		s.CompletedAt = &morning
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func optional(s *Stage)        { s.IsOptional = true }
func needsPhysician(s *Stage)  { s.RequiresPhysician = true }
func needsDepartment(s *Stage) { s.RequiresDepartment = true }
func byY(s *Stage)             { s.TriggerEventCode = "Y" }

func factsOf(journeys ...*Journey) *Facts {
	return &Facts{
		Journeys:    map[string][]*Journey{"E1": journeys},
		Physicians:  map[Name]uuid.UUID{{hospitalA, "L1"}: physician},
		Departments: map[Name]uuid.UUID{{hospitalA, "D1"}: department},
	}
}

func TestDecideRefuses(t *testing.T) {
	t.Parallel()
	one := func(status string, stages ...Stage) []*Journey {
		return []*Journey{journeyIn(hospitalA, "Alpha", status, stages...)}
	}
	both := []*Journey{journeyIn(hospitalA, "Alpha", JourneyActive, stageOf(StagePending)), journeyIn(hospitalB, "Beta", JourneyActive, stageOf(StagePending))}
	for name, c := range map[string]struct {
		journeys []*Journey
		event    Event
		status   string
		reason   string
		message  string
	}{
		"no journey": {nil, Event{}, EventIgnored, ReasonNoJourney, "No journey found for encounter E1."},
		"no journey of the sender's hospital": {one(JourneyActive, stageOf(StagePending)), Event{Hospital: &hospitalB},
			EventIgnored, ReasonNoJourney, "No journey found for encounter E1."},
		"two hospitals": {both, Event{}, EventFailed, ReasonAmbiguousJourney,
			"Encounter E1 has a journey in more than one hospital: Alpha and Beta."},
		"two hospitals, the patient of neither": {both, Event{PatientIdentifier: "M9"}, EventFailed, ReasonAmbiguousJourney,
			"Encounter E1 has a journey in more than one hospital: Alpha and Beta."},
		"two hospitals, the patient of both": {both, Event{PatientIdentifier: "M1"}, EventFailed, ReasonAmbiguousJourney,
			"Encounter E1 has a journey in more than one hospital: Alpha and Beta."},
		"another patient": {one(JourneyActive, stageOf(StagePending)), Event{PatientIdentifier: "m1"}, EventFailed, ReasonPatientMismatch,
			"The patient identifier is neither the MRN nor the national id of the journey's patient."},
		"another patient of a journey that is over": {one(JourneyCompleted, stageOf(StageCompleted)), Event{PatientIdentifier: "M2"},
			EventFailed, ReasonPatientMismatch,
			"The patient identifier is neither the MRN nor the national id of the journey's patient."},
		"cancelled": {one(JourneyCancelled, stageOf(StagePending)), Event{PatientIdentifier: "N1"}, EventIgnored, ReasonJourneyNotActive,
			"Journey is cancelled."},
		"completed": {one(JourneyCompleted, stageOf(StageCompleted)), Event{}, EventIgnored, ReasonJourneyNotActive, "Journey is completed."},
		"no stage":  {one(JourneyActive, stageOf(StagePending, byY)), Event{}, EventIgnored, ReasonNoStage, "No stage is triggered by event X."},
		"stages done": {one(JourneyActive, stageOf(StageCompleted), stageOf(StageSkipped), stageOf(StagePending, byY)), Event{},
			EventIgnored, ReasonStageDone, "Every stage that is triggered by event X is completed or skipped already."},
		"no physician": {one(JourneyActive, stageOf(StagePending, needsPhysician)), Event{}, EventFailed, ReasonPhysicianMissing,
			"The stage requires a physician, and the payload names none in physician_license."},
		"unknown physician": {one(JourneyActive, stageOf(StagePending, needsPhysician)), Event{PhysicianLicense: "L2"},
			EventFailed, ReasonPhysicianMissing,
			"The stage requires a physician, and no physician of the hospital has the license “L2”."},
		"physician of another hospital": {[]*Journey{journeyIn(hospitalB, "Beta", JourneyActive, stageOf(StagePending, needsPhysician))},
			Event{PhysicianLicense: "L1"}, EventFailed, ReasonPhysicianMissing,
			"The stage requires a physician, and no physician of the hospital has the license “L1”."},
		"no department": {one(JourneyActive, stageOf(StagePending, needsDepartment)), Event{}, EventFailed, ReasonDepartmentMissing,
			"The stage requires a department, and the payload names none in department_code."},
		"unknown department": {one(JourneyActive, stageOf(StagePending, needsDepartment)), Event{DepartmentCode: "D2"},
			EventFailed, ReasonDepartmentMissing,
			"The stage requires a department, and no department of the hospital has the code “D2”."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.event.EncounterID, c.event.EventCode = "E1", "X"
			got := factsOf(c.journeys...).Decide(&c.event)
			if got.Status != c.status || got.Reason != c.reason || got.Message != c.message {
				t.Errorf("got %s, %s, %q\nwant %s, %s, %q", got.Status, got.Reason, got.Message, c.status, c.reason, c.message)
			}
		})
	}
}

func TestDecideCompletesTheStage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		journeys []*Journey
		event    Event
		index    int // of the stage that is completed
	}{
		"pending":     {[]*Journey{journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending))}, Event{}, 0},
		"in progress": {[]*Journey{journeyIn(hospitalA, "", JourneyActive, stageOf(StageInProgress))}, Event{}, 0},
		"the first open one": {[]*Journey{journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending, byY), stageOf(StageCompleted), stageOf(StageSkipped),
			stageOf(StageInProgress), stageOf(StagePending))}, Event{}, 3},
		"by MRN":         {[]*Journey{journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending))}, Event{PatientIdentifier: "M1"}, 0},
		"by national id": {[]*Journey{journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending))}, Event{PatientIdentifier: "N1"}, 0},
		"of the sender's hospital": {[]*Journey{journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending)),
			journeyIn(hospitalB, "", JourneyActive, stageOf(StagePending))}, Event{Hospital: &hospitalA}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.event.EncounterID, c.event.EventCode, c.event.ReceivedAt = "E1", "X", noon
			c.event.PhysicianLicense, c.event.DepartmentCode = "L1", "D1"
			want := &c.journeys[0].Stages[c.index]
			got := factsOf(c.journeys...).Decide(&c.event)
			if got.Status != EventProcessed || got.Reason != "" || got.Message != "" || got.Stage != want || got.Journey != c.journeys[0] {
				t.Fatalf("got %+v, want stage %d processed", got, c.index)
			}
			// Known names are recorded although the stage does not require them.
			if want.Status != StageCompleted || !want.CompletedAt.Equal(noon) || got.Physician != physician || got.Department != department {
				t.Errorf("the stage is %+v, the outcome %+v", want, got)
			}
		})
	}
}

func TestDecideCompletesTheJourney(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stages []Stage
		want   bool
	}{
		"the only stage":           {[]Stage{stageOf(StagePending)}, true},
		"others are optional":      {[]Stage{stageOf(StagePending), stageOf(StagePending, byY, optional)}, true},
		"others are done":          {[]Stage{stageOf(StageCompleted, byY), stageOf(StageSkipped, byY), stageOf(StagePending)}, true},
		"all are optional":         {[]Stage{stageOf(StagePending, optional), stageOf(StagePending, byY, optional)}, true},
		"another is pending":       {[]Stage{stageOf(StagePending), stageOf(StagePending, byY)}, false},
		"another is in progress":   {[]Stage{stageOf(StagePending), stageOf(StageInProgress, byY)}, false},
		"a second one of the code": {[]Stage{stageOf(StagePending), stageOf(StagePending)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := journeyIn(hospitalA, "", JourneyActive, c.stages...)
			got := factsOf(j).Decide(&Event{EncounterID: "E1", EventCode: "X", ReceivedAt: noon})
			wantStatus, wantAt := JourneyActive, time.Time{}
			if c.want {
				wantStatus, wantAt = JourneyCompleted, noon
			}
			if got.Status != EventProcessed || j.Status != wantStatus || got.CompletesJourney != c.want || !got.JourneyCompletedAt.Equal(wantAt) {
				t.Errorf("the event is %s, the journey %s at %v, want %s at %v", got.Status, j.Status, got.JourneyCompletedAt, wantStatus, wantAt)
			}
		})
	}
}

// The zero time of Go is before 1900: it is not taken for the time of a stage.
func TestDecideAtTheZeroTime(t *testing.T) {
	t.Parallel()
	j := journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending))
	got := factsOf(j).Decide(&Event{EncounterID: "E1", EventCode: "X", ReceivedAt: noon, Timestamp: Timestamp{"string", "0001-01-01T00:00:00Z"}})
	if !got.CompletesJourney || got.JourneyCompletedAt != noon || *got.Stage.CompletedAt != noon || got.Warning != before1900 {
		t.Errorf("got %+v, want a journey completed at the time of receipt", got)
	}
}

// An event that comes late reports something earlier than what completed another stage before.
func TestDecideCompletesTheJourneyByALateEvent(t *testing.T) {
	t.Parallel()
	j := journeyIn(hospitalA, "", JourneyActive, stageOf(StageCompleted, byY), stageOf(StagePending))
	got := factsOf(j).Decide(&Event{EncounterID: "E1", EventCode: "X", ReceivedAt: noon, Timestamp: Timestamp{"string", "2025-06-01T08:00:00Z"}})
	if want := time.Date(2025, 6, 1, 8, 0, 0, 0, time.UTC); !got.Stage.CompletedAt.Equal(want) {
		t.Errorf("the stage was completed at %v, want %v", got.Stage.CompletedAt, want)
	}
	if !got.JourneyCompletedAt.Equal(morning) {
		t.Errorf("the journey was completed at %v, want %v", got.JourneyCompletedAt, morning)
	}
}

func TestDecideSeesWhatItDecided(t *testing.T) {
	t.Parallel()
	f := factsOf(journeyIn(hospitalA, "", JourneyActive, stageOf(StagePending), stageOf(StagePending), stageOf(StagePending, byY)))
	for i, want := range []struct{ code, verdict string }{
		{"X", EventProcessed}, {"X", EventProcessed}, {"X", EventIgnored + ReasonStageDone},
		{"Z", EventIgnored + ReasonNoStage}, {"Y", EventProcessed}, {"Y", EventIgnored + ReasonJourneyNotActive},
	} {
		got := f.Decide(&Event{EncounterID: "E1", EventCode: want.code, ReceivedAt: noon})
		if got.Status+got.Reason != want.verdict {
			t.Errorf("event %d: %s %s, want %s", i, got.Status, got.Reason, want.verdict)
		}
	}
}

func TestInternalError(t *testing.T) {
	t.Parallel()
	const message = "The event could not be processed because of an internal error. It was tried 3 times."
	want := Outcome{Status: EventFailed, Reason: ReasonInternalError, Message: message}
	if got := InternalError(3); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
