package hospitalday_test

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/px360/px360/tests/hospitalday"
)

func load(t *testing.T) *hospitalday.Day {
	t.Helper()
	day, err := hospitalday.Load()
	if err != nil {
		t.Fatal(err)
	}
	return day
}

// The counts of the README's table.
func TestCounts(t *testing.T) {
	t.Parallel()
	day := load(t)
	got := map[string]int{
		"patients": len(day.Patients), "physicians": len(day.Physicians), "departments": len(day.Departments),
		"encounters": len(day.Encounters), "events": len(day.Events), "deceased": len(day.Deceased),
		"repeats": len(day.Events) - len(hospitalday.Distinct(day.Events)),
	}
	for _, e := range day.Encounters {
		got[e.JourneyType]++
		got[e.Status]++
		if !slices.Contains([]string{"ADT_A01", "ADT_A04", "ADT_A05", "ADT_A14"}, e.FirstEventCode) {
			got["unopened"]++
		}
		if len(e.EncounterID) > 19 || len(e.EncounterID) == 19 && e.EncounterID > "9223372036854775807" {
			got["over int64"]++
		}
		if e.DepartmentCode == "" {
			got["encounters without department"]++
		}
	}
	for _, p := range day.Patients {
		if p.DateOfBirth > "2025-12-14" {
			got["born in the future"]++
		}
		if slices.ContainsFunc([]byte(p.FirstName+p.LastName), func(b byte) bool { return b > 127 }) {
			got["not ascii"]++
		}
		if p.Status == "inactive" {
			got["inactive"]++
		}
	}
	for _, m := range day.Merges {
		got["merged away"] += len(m.MergedMRNs)
	}
	for _, e := range day.Events {
		got[e.SourceSystem]++
		got[e.EventCode]++
		if e.EncounterID == "" {
			got["no encounter"]++
		}
	}
	want := map[string]int{
		"patients": 1028, "physicians": 18, "departments": 9, "encounters": 1014, "events": 6373, "deceased": 9,
		"repeats": 18, "inpatient": 703, "opd": 211, "ems": 100, "finished": 651, "active": 343, "cancelled": 17,
		"deleted": 3, "unopened": 277, "over int64": 551, "encounters without department": 312,
		"born in the future": 3, "not ascii": 228, "inactive": 23, "merged away": 14,
		"his": 4599, "lab": 1496, "rad": 278, "no encounter": 981,
		"ADT_A01": 449, "ADT_A03": 672, "ADT_A04": 302, "VITAL_SIGNS_RECORDED": 2736, "LAB_ORDER_COMPLETED": 967,
		"RAD_ORDER_COMPLETED": 105, "CLINICAL_NOTE_FILED": 30, "ADT_A13": 14, "ADT_A34": 10, "ADT_A40": 2,
	}
	for what, n := range want {
		if got[what] != n {
			t.Errorf("%s: %d, want %d", what, got[what], n)
		}
	}
}

func TestEventReferences(t *testing.T) {
	t.Parallel()
	day := load(t)
	mrns, encounters, eventsOf := map[string]bool{}, map[string]string{"": ""}, map[string]int{}
	for _, p := range day.Patients {
		mrns[p.MRN] = true
	}
	for _, e := range day.Encounters {
		encounters[e.EncounterID] = e.MRN
		if !mrns[e.MRN] {
			t.Errorf("encounter %s: no patient %s", e.EncounterID, e.MRN)
		}
	}
	if len(mrns) != len(day.Patients) || len(encounters) != len(day.Encounters)+1 {
		t.Error("an MRN or an encounter id is there twice")
	}
	for i, e := range day.Events {
		if e.SourceEventID == "" || !mrns[e.PatientIdentifier] {
			t.Errorf("event %d: id %q, patient %q", i, e.SourceEventID, e.PatientIdentifier)
		}
		if mrn, ok := encounters[e.EncounterID]; !ok || mrn != "" && mrn != e.PatientIdentifier {
			t.Errorf("event %d: encounter %q is not of patient %q", i, e.EncounterID, e.PatientIdentifier)
		}
		eventsOf[e.EncounterID]++
	}
	swapped := 0
	for _, e := range day.Encounters {
		swapped += e.EventCount - eventsOf[e.EncounterID]
	}
	if swapped != 4 {
		t.Errorf("encounters count %d events more than there are, want the 4 bed swaps", swapped)
	}
}

func TestDuplicatesAreExact(t *testing.T) {
	t.Parallel()
	first := map[string]hospitalday.Event{}
	for i, e := range load(t).Events {
		before, repeated := first[e.SourceEventID]
		if !repeated {
			first[e.SourceEventID] = e
			continue
		}
		if !reflect.DeepEqual(before, e) {
			t.Errorf("event %d has the id of another one", i)
		}
	}
}

func TestPayloadBytes(t *testing.T) {
	t.Parallel()
	first := load(t).Events[0].PayloadJSON
	if !bytes.HasPrefix(first, []byte(`{"message_type":"ORU^R01","message_control_id":"9433","timestamp":"2025-12-14T00:00:27Z"`)) {
		t.Errorf("got %s", first)
	}
}

func TestCreateAfter(t *testing.T) {
	t.Parallel()
	day := load(t)
	late := 0
	for i, encounter := range day.Encounters {
		after := day.CreateAfter(i)
		if !encounter.Late {
			if after != -1 {
				t.Fatalf("encounter %d is in time, but created after event %d", i, after)
			}
			continue
		}
		late++
		before := 0
		for _, e := range day.Events[:after+1] {
			if e.EncounterID == encounter.EncounterID {
				before++
			}
		}
		if before < 1 || before > (encounter.EventCount+1)/2 || day.Events[after].EncounterID != encounter.EncounterID {
			t.Errorf("encounter %d: %d of %d events before its journey", i, before, encounter.EventCount)
		}
	}
	if late != 507 {
		t.Errorf("%d late, want 507", late)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	day := load(t)
	for _, size := range []int{1, 999, 1000} {
		next := 0
		for start, batch := range day.Batches(size) {
			if start != next || len(batch) == 0 || len(batch) > size || &batch[0] != &day.Events[start] {
				t.Fatalf("size %d: batch of %d at %d, want it at %d", size, len(batch), start, next)
			}
			next += len(batch)
		}
		if next != len(day.Events) {
			t.Errorf("size %d: %d events", size, next)
		}
	}
	for _, size := range []int{0, 1001} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("size %d did not panic", size)
				}
			}()
			day.Batches(size)
		}()
	}
}

func TestDemoPlanIsConsistent(t *testing.T) {
	t.Parallel()
	plan := hospitalday.DemoPlan()
	surveys, codes, sent := map[string]bool{}, map[string]bool{}, 0
	for _, survey := range plan.Surveys {
		surveys[survey.Name] = survey.NameAr != ""
	}
	for _, e := range load(t).Events {
		codes[e.EventCode] = true
	}
	for _, journeyType := range []string{"ems", "inpatient", "opd"} {
		template, ok := plan.Template(journeyType)
		if !ok || template.Name == "" || template.NameAr == "" {
			t.Errorf("%s: template %+v", journeyType, template)
		}
		seen := map[string]bool{}
		for i, stage := range template.Stages {
			if stage.Name == "" || stage.NameAr == "" || seen[stage.Code] || stage.Order != i+1 || !codes[stage.TriggerEventCode] {
				t.Errorf("%s: stage %+v", journeyType, stage)
			}
			seen[stage.Code] = true
			if stage.AutoSendSurvey {
				sent++
			}
			if stage.AutoSendSurvey != surveys[stage.SurveyTemplate] {
				t.Errorf("%s: survey of stage %+v", journeyType, stage)
			}
		}
	}
	if len(plan.Surveys) != 2 || sent != 2 {
		t.Errorf("%d surveys, sent by %d stages", len(plan.Surveys), sent)
	}
}

// The totals of the demo for the whole day. The number of completed stages equals that of processed events.
func TestModelOfTheDay(t *testing.T) {
	t.Parallel()
	day := load(t)
	model, events := day.Model(hospitalday.DemoPlan(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	result := model.Run(events)
	got := result.Totals()
	want := hospitalday.Totals{
		Events: map[string]int{
			"processed":                  2298,
			"ignored no_journey":         973, // those without an encounter, without duplicates
			"ignored journey_not_active": 26,
			"ignored no_stage":           653,
			"ignored stage_done":         2395, // nearly all vital signs and further laboratory results
			"failed department_missing":  10,
		},
		Journeys: map[string]int{"active": 537, "completed": 477},
		Stages:   2298,
		Surveys:  574,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Stages != got.Events["processed"] {
		t.Errorf("%d stages completed by %d events", got.Stages, got.Events["processed"])
	}
	completed := map[string]int{}
	for i, state := range result.Journeys {
		if state.IsComplete != (state.Status == hospitalday.JourneyCompleted) {
			t.Errorf("journey %s is %s, complete %v", model.Journeys[i].EncounterID, state.Status, state.IsComplete)
		}
		if state.IsComplete {
			completed[day.Encounters[i].JourneyType]++
		}
	}
	if want := map[string]int{"ems": 66, "inpatient": 237, "opd": 174}; !maps.Equal(completed, want) {
		t.Errorf("completed by type: %v, want %v", completed, want)
	}
}

// Events received before their timestamps complete stages at the time of receipt.
func TestModelOfADayInTheFuture(t *testing.T) {
	t.Parallel()
	receivedAt := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	model, events := load(t).Model(hospitalday.DemoPlan(), receivedAt)
	for i, journey := range model.Run(events).Journeys {
		if !journey.CompletedAt.IsZero() && !journey.CompletedAt.Equal(receivedAt) {
			t.Errorf("journey %s completed at %v", model.Journeys[i].EncounterID, journey.CompletedAt)
		}
	}
}
