// Package hospitalday has one synthetic day of a hospital: its people, its encounters and the events that its systems
// sent, in arrival order; a plan of journeys to apply them to; and a simple reference model of the outcomes. The
// demo, the tests and the benchmark use the same day, so that their numbers are comparable.
package hospitalday

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"sync"
	"time"
)

//go:embed simhospital_day.json.gz
var compressed []byte

// MaxBatch is the maximum number of events in a bulk request.
const MaxBatch = 1000

// Day is the whole data set. Load returns the same one to every caller, who must not change it.
type Day struct {
	Patients    []Patient    `json:"patients"`
	Physicians  []Physician  `json:"physicians"`
	Departments []Department `json:"departments"`
	Encounters  []Encounter  `json:"encounters"`
	Merges      []Merge      `json:"merges"`
	Deceased    []string     `json:"deceased"` // MRNs
	Events      []Event      `json:"events"`   // in arrival order, with duplicates

	eventsOf map[string][]int // indexes in Events by encounter id
}

// Patient is a patient as the last message of the day describes them. Inactive means dead or merged into
// another record.
type Patient struct {
	MRN         string `json:"mrn"`
	NationalID  string `json:"national_id"`
	FirstName   string `json:"first_name"`
	LastName    string `json:"last_name"`
	DateOfBirth string `json:"date_of_birth"` // YYYY-MM-DD; three are in the future
	Gender      string `json:"gender"`
	Phone       string `json:"phone"`
	Address     string `json:"address"`
	City        string `json:"city"`
	Status      string `json:"status"`
}

// Physician is an attending physician of some event. Two have no first name, one of them no specialization.
type Physician struct {
	LicenseNumber  string `json:"license_number"`
	FirstName      string `json:"first_name"`
	LastName       string `json:"last_name"`
	Specialization string `json:"specialization"`
}

// Department is a ward or a point of care. Codes are unchanged from the messages, spaces included
// ("Theatre 3").
type Department struct {
	Code     string `json:"code"`
	Name     string `json:"name"`
	Location string `json:"location"`
}

// Encounter is a visit, for which the demo creates a journey. Status and EndedAt are derived from the messages
// (active, finished, cancelled, deleted); the status of the journey comes from the Model.
type Encounter struct {
	EncounterID      string     `json:"encounter_id"`
	MRN              string     `json:"mrn"`
	JourneyType      string     `json:"journey_type"` // ems, inpatient, opd
	StartedAt        time.Time  `json:"started_at"`
	EndedAt          *time.Time `json:"ended_at"`
	Status           string     `json:"status"`
	PhysicianLicense string     `json:"physician_license"`
	DepartmentCode   string     `json:"department_code"` // blank for most ems and opd visits
	FirstEventCode   string     `json:"first_event_code"`
	EventCount       int        `json:"events"` // with duplicates; bed swaps count for both patients

	// Late marks every second encounter. Its journey is created only after some of its events were sent, as when
	// the registration system is slower than the laboratory. See Day.CreateAfter.
	Late bool `json:"-"`
}

// Merge is a message that merged patient records into another one.
type Merge struct {
	EventIndex int      `json:"event_index"`
	KeptMRN    string   `json:"kept_mrn"`
	MergedMRNs []string `json:"merged_mrns"`
}

// Event is the body of an event request. PayloadJSON has the bytes of the file, so numbers and text are exact;
// encoding/json only escapes <, > and & in it.
type Event struct {
	SourceSystem      string          `json:"source_system"`
	EventCode         string          `json:"event_code"`
	EncounterID       string          `json:"encounter_id"`
	PatientIdentifier string          `json:"patient_identifier"`
	PayloadJSON       json.RawMessage `json:"payload_json"`
	// SourceEventID is the payload's message_control_id, which identifies duplicates.
	SourceEventID string `json:"source_event_id,omitempty"`
}

var load = sync.OnceValues(decode)

// Load returns the day, decoded at the first call.
func Load() (*Day, error) {
	return load()
}

func decode() (*Day, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("hospital day: %w", err)
	}
	day := &Day{eventsOf: map[string][]int{}}
	if err := json.NewDecoder(unzipped).Decode(day); err != nil {
		return nil, fmt.Errorf("hospital day: %w", err)
	}
	for i := range day.Events {
		event := &day.Events[i]
		event.SourceEventID = textField(event.PayloadJSON, "message_control_id")
		day.eventsOf[event.EncounterID] = append(day.eventsOf[event.EncounterID], i)
	}
	for i := range day.Encounters {
		day.Encounters[i].Late = i%2 == 1
	}
	return day, nil
}

// Date is when the day was, in UTC.
var Date = time.Date(2025, 12, 14, 0, 0, 0, 0, time.UTC)

// instants are the points in time in payloads.
var instants = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)

// On is the same day on another date: every encounter and event is moved by whole days.
func (d *Day) On(date time.Time) *Day {
	days := int(date.Truncate(24*time.Hour).Sub(Date).Hours() / 24)
	moved := *d
	moved.Encounters, moved.Events = slices.Clone(d.Encounters), slices.Clone(d.Events)
	for i := range moved.Encounters {
		e := &moved.Encounters[i]
		e.StartedAt = e.StartedAt.AddDate(0, 0, days)
		if e.EndedAt != nil {
			ended := e.EndedAt.AddDate(0, 0, days)
			e.EndedAt = &ended
		}
	}
	for i := range moved.Events {
		e := &moved.Events[i]
		e.PayloadJSON = instants.ReplaceAllFunc(e.PayloadJSON, func(text []byte) []byte {
			at, err := time.Parse(`"`+time.RFC3339+`"`, string(text))
			if err != nil {
				return text
			}
			return []byte(at.AddDate(0, 0, days).Format(`"` + time.RFC3339 + `"`))
		})
	}
	return &moved
}

// CreateAfter returns the index of the event after which to create the journey of d.Encounters[encounter]; -1 means
// before any event. Late journeys are created after the middle one of their events, so at least one event arrives
// before each of them, and for some all do.
func (d *Day) CreateAfter(encounter int) int {
	if !d.Encounters[encounter].Late {
		return -1
	}
	indexes := d.eventsOf[d.Encounters[encounter].EncounterID]
	return indexes[(len(indexes)-1)/2]
}

// Batches yields d.Events in arrival order in batches of size (the last may be smaller), each with the index of its
// first event. It panics unless size is between 1 and MaxBatch.
func (d *Day) Batches(size int) iter.Seq2[int, []Event] {
	if size < 1 || size > MaxBatch {
		panic(fmt.Sprintf("hospitalday: batch size %d is not between 1 and %d", size, MaxBatch))
	}
	return func(yield func(int, []Event) bool) {
		for start := 0; start < len(d.Events); start += size {
			end := min(start+size, len(d.Events))
			if !yield(start, d.Events[start:end:end]) {
				return
			}
		}
	}
}

// Distinct returns the events without duplicates, which are those with the source system and source event id of an
// earlier one. Events without an id are never duplicates.
func Distinct(events []Event) []Event {
	type key struct{ sourceSystem, sourceEventID string }
	seen := map[key]bool{}
	var distinct []Event
	for _, event := range events {
		k := key{event.SourceSystem, event.SourceEventID}
		if event.SourceEventID != "" && seen[k] {
			continue
		}
		seen[k] = true
		distinct = append(distinct, event)
	}
	return distinct
}

// Model returns the reference model of this day in a hospital set up by the plan, and the events for its Run: the
// distinct ones, sent by that hospital and all received at receivedAt (change the times in the result where they
// matter: only a timestamp after the time of receipt makes a difference). An encounter of a type without a template in
// the plan gets no journey.
func (d *Day) Model(plan Plan, receivedAt time.Time) (Model, []ReceivedEvent) {
	hospital := plan.Hospital.Code
	model := Model{Physicians: map[string][]string{}, Departments: map[string][]string{}}
	for _, survey := range plan.Surveys {
		model.ActiveSurveys = append(model.ActiveSurveys, survey.Name)
	}
	for _, physician := range d.Physicians {
		model.Physicians[hospital] = append(model.Physicians[hospital], physician.LicenseNumber)
	}
	for _, department := range d.Departments {
		model.Departments[hospital] = append(model.Departments[hospital], department.Code)
	}
	nationalIDs := map[string]string{}
	for _, patient := range d.Patients {
		nationalIDs[patient.MRN] = patient.NationalID
	}
	for _, encounter := range d.Encounters {
		template, ok := plan.Template(encounter.JourneyType)
		if !ok {
			continue
		}
		model.Journeys = append(model.Journeys, Journey{
			Hospital:          hospital,
			EncounterID:       encounter.EncounterID,
			PatientMRN:        encounter.MRN,
			PatientNationalID: nationalIDs[encounter.MRN],
			StatedStart:       encounter.StartedAt,
			Stages:            template.Stages,
		})
	}
	var events []ReceivedEvent
	for _, event := range Distinct(d.Events) {
		events = append(events, ReceivedEvent{Event: event, Hospital: hospital, ReceivedAt: receivedAt})
	}
	return model, events
}
