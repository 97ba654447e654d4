package worker

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
)

var (
	hospitalA, hospitalB = uuid.New(), uuid.New()
	physician            = uuid.New()
	department           = uuid.New()
	noon                 = time.Date(2025, 6, 1, 12, 0, 0, 123456000, time.UTC)
)

func journeyIn(hospital uuid.UUID, name, status string, stages ...*stage) *journey {
	return &journey{
		JourneyClaimRow: db.JourneyClaimRow{
			ID: uuid.New(), Hospital: hospital, HospitalName: name, EncounterID: "E1", Status: status, Mrn: "M1", NationalID: "N1",
		},
		stages: stages,
	}
}

// stageOf is a stage triggered by X.
func stageOf(status string, change ...func(*stage)) *stage {
	s := &stage{StageListOfRow: db.StageListOfRow{ID: uuid.New(), TriggerEventCode: "X", Status: status}}
	for _, f := range change {
		f(s)
	}
	return s
}

func optional(s *stage)        { s.IsOptional = true }
func needsPhysician(s *stage)  { s.RequiresPhysician = true }
func needsDepartment(s *stage) { s.RequiresDepartment = true }
func byY(s *stage)             { s.TriggerEventCode = "Y" }

func factsOf(journeys ...*journey) *facts {
	return &facts{
		journeys:    map[string][]*journey{"E1": journeys},
		physicians:  map[named]uuid.UUID{{hospitalA, "L1"}: physician},
		departments: map[named]uuid.UUID{{hospitalA, "D1"}: department},
	}
}

func TestDecideRefuses(t *testing.T) {
	t.Parallel()
	one := func(status string, stages ...*stage) []*journey {
		return []*journey{journeyIn(hospitalA, "Alpha", status, stages...)}
	}
	both := []*journey{journeyIn(hospitalA, "Alpha", active, stageOf(pending)), journeyIn(hospitalB, "Beta", active, stageOf(pending))}
	for name, c := range map[string]struct {
		journeys []*journey
		event    event
		status   string
		reason   string
		message  string
	}{
		"no journey": {nil, event{}, statusIgnored, reasonNoJourney, "No journey found for encounter E1."},
		"no journey of the sender's hospital": {one(active, stageOf(pending)), event{Hospital: &hospitalB},
			statusIgnored, reasonNoJourney, "No journey found for encounter E1."},
		"two hospitals": {both, event{}, statusFailed, reasonAmbiguousJourney,
			"Encounter E1 has a journey in more than one hospital: Alpha and Beta."},
		"another patient": {one(active, stageOf(pending)), event{PatientIdentifier: "m1"}, statusFailed, reasonPatientMismatch,
			"The patient identifier is neither the MRN nor the national id of the journey's patient."},
		"another patient of a journey that is over": {one(completed, stageOf(completed)), event{PatientIdentifier: "M2"},
			statusFailed, reasonPatientMismatch,
			"The patient identifier is neither the MRN nor the national id of the journey's patient."},
		"cancelled": {one("cancelled", stageOf(pending)), event{PatientIdentifier: "N1"}, statusIgnored, reasonJourneyNotActive,
			"Journey is cancelled."},
		"completed": {one(completed, stageOf(completed)), event{}, statusIgnored, reasonJourneyNotActive, "Journey is completed."},
		"no stage":  {one(active, stageOf(pending, byY)), event{}, statusIgnored, reasonNoStage, "No stage is triggered by event X."},
		"stages done": {one(active, stageOf(completed), stageOf(skipped), stageOf(pending, byY)), event{},
			statusIgnored, reasonStageDone, "Every stage that is triggered by event X is completed or skipped already."},
		"no physician": {one(active, stageOf(pending, needsPhysician)), event{}, statusFailed, reasonPhysicianMissing,
			"The stage requires a physician, and the payload names none in physician_license."},
		"unknown physician": {one(active, stageOf(pending, needsPhysician)), event{PhysicianLicense: "L2"},
			statusFailed, reasonPhysicianMissing,
			"The stage requires a physician, and no physician of the hospital has the license “L2”."},
		"physician of another hospital": {[]*journey{journeyIn(hospitalB, "Beta", active, stageOf(pending, needsPhysician))},
			event{PhysicianLicense: "L1"}, statusFailed, reasonPhysicianMissing,
			"The stage requires a physician, and no physician of the hospital has the license “L1”."},
		"no department": {one(active, stageOf(pending, needsDepartment)), event{}, statusFailed, reasonDepartmentMissing,
			"The stage requires a department, and the payload names none in department_code."},
		"unknown department": {one(active, stageOf(pending, needsDepartment)), event{DepartmentCode: "D2"},
			statusFailed, reasonDepartmentMissing,
			"The stage requires a department, and no department of the hospital has the code “D2”."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.event.EncounterID, c.event.EventCode = "E1", "X"
			got := factsOf(c.journeys...).decide(&c.event)
			if got.status != c.status || got.reason != c.reason || got.message != c.message {
				t.Errorf("got %s, %s, %q\nwant %s, %s, %q", got.status, got.reason, got.message, c.status, c.reason, c.message)
			}
		})
	}
}

func TestDecideCompletesTheStage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		journeys []*journey
		event    event
		index    int // of the stage that is completed
	}{
		"pending":     {[]*journey{journeyIn(hospitalA, "", active, stageOf(pending))}, event{}, 0},
		"in progress": {[]*journey{journeyIn(hospitalA, "", active, stageOf(inProgress))}, event{}, 0},
		"the first open one": {[]*journey{journeyIn(hospitalA, "", active, stageOf(pending, byY), stageOf(completed), stageOf(skipped),
			stageOf(inProgress), stageOf(pending))}, event{}, 3},
		"by MRN":         {[]*journey{journeyIn(hospitalA, "", active, stageOf(pending))}, event{PatientIdentifier: "M1"}, 0},
		"by national id": {[]*journey{journeyIn(hospitalA, "", active, stageOf(pending))}, event{PatientIdentifier: "N1"}, 0},
		"of the sender's hospital": {[]*journey{journeyIn(hospitalA, "", active, stageOf(pending)),
			journeyIn(hospitalB, "", active, stageOf(pending))}, event{Hospital: &hospitalA}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.event.EncounterID, c.event.EventCode, c.event.ReceivedAt = "E1", "X", noon
			c.event.PhysicianLicense, c.event.DepartmentCode = "L1", "D1"
			want := c.journeys[0].stages[c.index]
			got := factsOf(c.journeys...).decide(&c.event)
			if got.status != statusProcessed || got.reason != "" || got.message != "" || got.stage != want || got.journey != c.journeys[0] {
				t.Fatalf("got %+v, want stage %d processed", got, c.index)
			}
			// Known names are recorded although the stage does not require them.
			if want.Status != completed || !want.completedAt.Equal(noon) || want.physician != physician || want.department != department {
				t.Errorf("the stage is %+v", want)
			}
		})
	}
}

func TestDecideCompletesTheJourney(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stages []*stage
		want   bool
	}{
		"the only stage":           {[]*stage{stageOf(pending)}, true},
		"others are optional":      {[]*stage{stageOf(pending), stageOf(pending, byY, optional)}, true},
		"others are done":          {[]*stage{stageOf(completed, byY), stageOf(skipped, byY), stageOf(pending)}, true},
		"all are optional":         {[]*stage{stageOf(pending, optional), stageOf(pending, byY, optional)}, true},
		"another is pending":       {[]*stage{stageOf(pending), stageOf(pending, byY)}, false},
		"another is in progress":   {[]*stage{stageOf(pending), stageOf(inProgress, byY)}, false},
		"a second one of the code": {[]*stage{stageOf(pending), stageOf(pending)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := journeyIn(hospitalA, "", active, c.stages...)
			got := factsOf(j).decide(&event{EncounterID: "E1", EventCode: "X", ReceivedAt: noon})
			if got.status != statusProcessed || got.completesJourney != c.want || (j.Status == completed) != c.want {
				t.Errorf("completes the journey: %v, status %s, want %v", got.completesJourney, j.Status, c.want)
			}
		})
	}
}

func TestDecideSeesWhatItDecided(t *testing.T) {
	t.Parallel()
	f := factsOf(journeyIn(hospitalA, "", active, stageOf(pending), stageOf(pending), stageOf(pending, byY)))
	for i, want := range []struct{ code, verdict string }{
		{"X", statusProcessed}, {"X", statusProcessed}, {"X", statusIgnored + reasonStageDone},
		{"Z", statusIgnored + reasonNoStage}, {"Y", statusProcessed}, {"Y", statusIgnored + reasonJourneyNotActive},
	} {
		got := f.decide(&event{EncounterID: "E1", EventCode: want.code, ReceivedAt: noon})
		if got.status+got.reason != want.verdict {
			t.Errorf("event %d: %s %s, want %s", i, got.status, got.reason, want.verdict)
		}
	}
}

func TestHappenedAt(t *testing.T) {
	t.Parallel()
	received := noon.Add(700 * time.Nanosecond)
	for stated, want := range map[string]time.Time{
		"":                                       noon,
		"yesterday":                              noon,
		"2025-06-01":                             noon,
		"2025-06-01 11:00:00Z":                   noon,
		"2025-06-01T11:00:00":                    noon,
		"2025-06-01T1:00:00Z":                    noon,
		"2025-06-01T11:00:00,5Z":                 noon,
		"2025-02-30T11:00:00Z":                   noon,
		"2025-06-01T11:00:00+25:00":              noon,
		" 2025-06-01T11:00:00Z":                  noon,
		"2025-06-01T12:00:01Z":                   noon, // later than received
		"2025-06-01T13:30:00+01:00":              noon, // likewise
		"2025-06-01T11:00:00Z":                   noon.Truncate(time.Hour).Add(-time.Hour),
		"2025-06-01T13:00:00+03:00":              noon.Truncate(time.Hour).Add(-2 * time.Hour),
		"2025-06-01T11:00:00.1234567Z":           time.Date(2025, 6, 1, 11, 0, 0, 123456000, time.UTC),
		"1969-07-20T20:17:40.000000000000-00:00": time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC),
	} {
		if got := happenedAt(stated, received); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q: %v, want %v", stated, got, want)
		}
	}
}
