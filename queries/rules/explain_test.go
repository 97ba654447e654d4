package rules

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
)

// In 10,000 random worlds an explanation and a decision come to the same, and the checks say why.
func TestExplainIsWhatIsDecided(t *testing.T) {
	t.Parallel()
	reasons := map[string]int{}
	for seed := range uint64(10_000) {
		decided, event := randomWorld(rand.New(rand.NewPCG(seed, 1)))
		explained, same := randomWorld(rand.New(rand.NewPCG(seed, 1)))
		want := decided.Decide(event)
		got, checks := explained.Explain(same)
		if got.Status != want.Status || got.Reason != want.Reason || got.Message != want.Message || !reflect.DeepEqual(decided, explained) {
			t.Fatalf("seed %d: explained as %+v, decided as %+v", seed, got, want)
		}
		reasons[got.Reason]++
		failed := false
		for _, check := range checks {
			switch {
			case failed && (check.Passed != nil || check.Found != ""):
				t.Fatalf("seed %d: %s was asked after one that failed: %+v", seed, check.Check, checks)
			case failed:
			case check.Passed == nil || check.Found == "":
				t.Fatalf("seed %d: %s says nothing: %+v", seed, check.Check, checks)
			case !*check.Passed:
				failed = true
				if check.Check != checkOf[got.Reason] || check.Found != got.Message {
					t.Fatalf("seed %d: %+v failed, and the outcome is %+v", seed, check, got)
				}
			}
		}
		if failed != (got.Status != EventProcessed) {
			t.Fatalf("seed %d: %+v with %+v", seed, got, checks)
		}
		if Advice(event, Recorded{EventFailed, ReasonPhysicianMissing}, got, Since{}) == "" {
			t.Fatalf("seed %d: no advice on %+v", seed, got)
		}
	}
	if len(reasons) != 9 { // every one but internal_error, and processed
		t.Errorf("the worlds have %v", reasons)
	}
}

func randomWorld(r *rand.Rand) (*Facts, *Event) {
	ids := func(n int) (list []uuid.UUID) {
		for i := range n {
			list = append(list, uuid.NewSHA1(uuid.Nil, []byte{byte(i)}))
		}
		return list
	}
	one := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	hospitals := ids(3)
	f := &Facts{Journeys: map[string][]*Journey{}, Physicians: map[Name]uuid.UUID{}, Departments: map[Name]uuid.UUID{}}
	for i, hospital := range hospitals {
		if r.IntN(3) > 0 {
			continue
		}
		j := &Journey{
			ID: uuid.NewSHA1(hospital, []byte("j")), Hospital: hospital, HospitalName: fmt.Sprint("H", i), MRN: one("M1", "M2"), NationalID: one("", "N1"),
			Status: one(JourneyActive, JourneyActive, JourneyActive, JourneyCompleted, JourneyCancelled),
		}
		for n := range r.IntN(4) {
			s := Stage{
				ID: uuid.NewSHA1(j.ID, []byte{byte(n)}), TriggerEventCode: one("X", "X", "Y"), Status: one(StagePending, StageInProgress, StageCompleted, StageSkipped),
				IsOptional: r.IntN(2) == 0, RequiresPhysician: r.IntN(2) == 0, RequiresDepartment: r.IntN(2) == 0,
			}
			if s.Status == StageCompleted {
				at := time.Unix(1e9, 0)
				s.CompletedAt = &at
			}
			j.Stages = append(j.Stages, s)
		}
		f.Journeys["E1"] = append(f.Journeys["E1"], j)
		if r.IntN(2) == 0 {
			f.Physicians[Name{hospital, "PHY"}] = uuid.NewSHA1(hospital, []byte("p"))
		}
		if r.IntN(2) == 0 {
			f.Departments[Name{hospital, "DEP"}] = uuid.NewSHA1(hospital, []byte("d"))
		}
	}
	e := &Event{
		EventCode: one("X", "X", "X", "Y", "Z"), EncounterID: one("E1", "E1", "E1", "E1", "E2"), PatientIdentifier: one("", "", "M1", "N1"),
		PhysicianLicense: one("", "PHY", "PHY"), DepartmentCode: one("", "DEP", "DEP"), ReceivedAt: time.Unix(2e9, 0),
	}
	if r.IntN(2) == 0 {
		e.Hospital = &hospitals[r.IntN(3)]
	}
	return f, e
}
