package hospitalday

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"time"
)

// The states of an event that was decided on, of a journey and of a stage. A stage's fourth state, in_progress, is only
// ever set by hand and is open to events just as pending is, so the model does without it.
const (
	EventProcessed = "processed"
	EventIgnored   = "ignored"
	EventFailed    = "failed"

	JourneyActive    = "active"
	JourneyCompleted = "completed"
	JourneyCancelled = "cancelled"

	StagePending   = "pending"
	StageCompleted = "completed"
	StageSkipped   = "skipped"
)

// Why an event was ignored (the first four) or failed.
const (
	ReasonNoJourney        = "no_journey"
	ReasonJourneyNotActive = "journey_not_active"
	ReasonNoStage          = "no_stage"
	ReasonStageDone        = "stage_done"

	ReasonAmbiguousJourney  = "ambiguous_journey"
	ReasonPatientMismatch   = "patient_mismatch"
	ReasonPhysicianMissing  = "physician_missing"
	ReasonDepartmentMissing = "department_missing"
)

// Model is the reference for event processing: the same rules as the worker's, with no database, no concurrency and no
// care for speed, so that it can be checked by reading. It knows nothing of the Day; tests feed it whatever they like.
//
// When a journey was created does not appear in it: events that came first wait for their journey and are processed
// in their order once it exists, so the end is the same as if all journeys had been there from the beginning.
type Model struct {
	ActiveSurveys []string            // names of the survey templates that are active
	Physicians    map[string][]string // license numbers by hospital
	Departments   map[string][]string // codes by hospital
	Journeys      []Journey           // encounter ids unique within a hospital
}

// Journey is a journey instance as created, before any event. Hospital is any name for it, such as its code.
type Journey struct {
	Hospital          string
	EncounterID       string
	PatientMRN        string
	PatientNationalID string
	Stages            []Stage  // copies of the template's active stages, in any order
	Skipped           []string // codes of stages skipped by hand beforehand
	Cancelled         bool     // cancelled by hand beforehand
}

// ReceivedEvent is an event that was accepted and is no repeat, its text trimmed as the API trims it.
type ReceivedEvent struct {
	Event
	Hospital   string // the sender's; blank for a sender of no hospital, who may mean any
	ReceivedAt time.Time
}

// Result is what must come out.
type Result struct {
	Outcomes []Outcome      // one for each event given to Run, in the same order
	Journeys []JourneyState // one for each of the model's journeys, in the same order
}

// Outcome is what became of one event.
type Outcome struct {
	Status  string // EventProcessed, EventIgnored or EventFailed
	Reason  string // blank if processed
	Journey int    // index of the journey found, -1 if none or several were
	Stage   string // code of the stage completed or, if something it requires is missing, of the stage left open
}

// JourneyState is where a journey ended up.
type JourneyState struct {
	Status               string
	CompletedAt          time.Time // zero unless Status is JourneyCompleted
	CompletionPercentage int
	IsComplete           bool
	Stages               []StageState // by order, then code
}

// StageState is where a stage ended up.
type StageState struct {
	Stage
	Status          string
	CompletedAt     time.Time // zero unless completed
	Physician       string    // license number, blank if none was named or found
	Department      string    // code, likewise
	ScheduledSurvey *ScheduledSurvey
}

// ScheduledSurvey is a survey that a stage's completion scheduled.
type ScheduledSurvey struct {
	Template string
	DueAt    time.Time
}

// Run processes the events one after the other and tells what must have become of them and of the journeys.
func (m Model) Run(events []ReceivedEvent) Result {
	var result Result
	for _, journey := range m.Journeys {
		result.Journeys = append(result.Journeys, journey.initialState())
	}
	for _, event := range events {
		result.Outcomes = append(result.Outcomes, m.process(event, result.Journeys))
	}
	for i := range result.Journeys {
		state := &result.Journeys[i]
		state.CompletionPercentage = state.percentage()
		state.IsComplete = state.isComplete()
	}
	return result
}

func (j Journey) initialState() JourneyState {
	state := JourneyState{Status: JourneyActive}
	if j.Cancelled {
		state.Status = JourneyCancelled
	}
	for _, stage := range j.Stages {
		status := StagePending
		if slices.Contains(j.Skipped, stage.Code) {
			status = StageSkipped
		}
		state.Stages = append(state.Stages, StageState{Stage: stage, Status: status})
	}
	slices.SortFunc(state.Stages, func(a, b StageState) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Code, b.Code))
	})
	return state
}

// process is the whole of the rules: the checks in their order, the first that does not hold decides.
func (m Model) process(event ReceivedEvent, states []JourneyState) Outcome {
	candidates := m.journeysFor(event)
	if len(candidates) == 0 {
		return Outcome{Status: EventIgnored, Reason: ReasonNoJourney, Journey: -1}
	}
	if len(candidates) > 1 {
		return Outcome{Status: EventFailed, Reason: ReasonAmbiguousJourney, Journey: -1}
	}
	index := candidates[0]
	journey, state := m.Journeys[index], &states[index]

	if id := event.PatientIdentifier; id != "" && id != journey.PatientMRN && id != journey.PatientNationalID {
		return Outcome{Status: EventFailed, Reason: ReasonPatientMismatch, Journey: index}
	}
	if state.Status != JourneyActive {
		return Outcome{Status: EventIgnored, Reason: ReasonJourneyNotActive, Journey: index}
	}
	stage, reason := state.stageFor(event.EventCode)
	if stage == nil {
		return Outcome{Status: EventIgnored, Reason: reason, Journey: index}
	}

	physician := known(textField(event.PayloadJSON, "physician_license"), m.Physicians[journey.Hospital])
	if physician == "" && stage.RequiresPhysician {
		return Outcome{Status: EventFailed, Reason: ReasonPhysicianMissing, Journey: index, Stage: stage.Code}
	}
	department := known(textField(event.PayloadJSON, "department_code"), m.Departments[journey.Hospital])
	if department == "" && stage.RequiresDepartment {
		return Outcome{Status: EventFailed, Reason: ReasonDepartmentMissing, Journey: index, Stage: stage.Code}
	}

	stage.Status = StageCompleted
	stage.CompletedAt = HappenedAt(event.PayloadJSON, event.ReceivedAt)
	stage.Physician = physician
	stage.Department = department
	if stage.AutoSendSurvey && slices.Contains(m.ActiveSurveys, stage.SurveyTemplate) {
		delay := time.Duration(stage.SurveyDelayHours) * time.Hour
		stage.ScheduledSurvey = &ScheduledSurvey{Template: stage.SurveyTemplate, DueAt: stage.CompletedAt.Add(delay)}
	}
	if state.isComplete() {
		state.Status = JourneyCompleted
		state.CompletedAt = state.lastCompletion()
	}
	return Outcome{Status: EventProcessed, Journey: index, Stage: stage.Code}
}

// journeysFor returns the indexes of the journeys that the event may mean. An event without encounter id means none.
func (m Model) journeysFor(event ReceivedEvent) []int {
	var found []int
	for i, journey := range m.Journeys {
		visible := event.Hospital == "" || event.Hospital == journey.Hospital
		if visible && event.EncounterID != "" && event.EncounterID == journey.EncounterID {
			found = append(found, i)
		}
	}
	return found
}

// stageFor returns the first open stage that the event code triggers, or nil and the reason why there is none.
func (s *JourneyState) stageFor(eventCode string) (*StageState, string) {
	reason := ReasonNoStage
	for i := range s.Stages {
		stage := &s.Stages[i]
		if stage.TriggerEventCode != eventCode {
			continue
		}
		if stage.Status == StagePending {
			return stage, ""
		}
		reason = ReasonStageDone
	}
	return nil, reason
}

// isComplete: there are stages, and each is optional or done. So the first stage completed of a journey that has
// nothing but optional ones completes it.
func (s *JourneyState) isComplete() bool {
	for _, stage := range s.Stages {
		if !stage.IsOptional && stage.Status == StagePending {
			return false
		}
	}
	return len(s.Stages) > 0
}

func (s *JourneyState) percentage() int {
	completed, counted := 0, 0
	for _, stage := range s.Stages {
		if stage.Status == StageCompleted {
			completed++
		}
		if stage.Status != StageSkipped {
			counted++
		}
	}
	if counted == 0 {
		return 0
	}
	return 100 * completed / counted
}

// lastCompletion is the latest moment a stage was completed at: not that of the stage completed last, since a message
// may come late.
func (s *JourneyState) lastCompletion() time.Time {
	var latest time.Time
	for _, stage := range s.Stages {
		if stage.CompletedAt.After(latest) {
			latest = stage.CompletedAt
		}
	}
	return latest
}

// known returns the value if it is one of the hospital's, else blank.
func known(value string, ofHospital []string) string {
	if slices.Contains(ofHospital, value) {
		return value
	}
	return ""
}

// time.Parse alone lets "T9:00:00", decimal commas and offsets of more than a day through.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// HappenedAt returns when an event's thing happened: the payload's timestamp, which must be RFC 3339, or receivedAt if
// it is missing, malformed or later than that. In UTC and whole microseconds, which is what Postgres stores.
func HappenedAt(payload json.RawMessage, receivedAt time.Time) time.Time {
	happened := receivedAt
	text := textField(payload, "timestamp")
	stamp, err := time.Parse(time.RFC3339, text)
	if err == nil && rfc3339.MatchString(text) && !stamp.After(receivedAt) {
		happened = stamp
	}
	return happened.UTC().Truncate(time.Microsecond)
}

// textField returns a string in the payload's top level by its exact key, blank if there is none or it is no string.
// A map and not a struct, because encoding/json matches the names of struct fields whatever their case.
func textField(payload json.RawMessage, key string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(fields[key], &text) != nil {
		return ""
	}
	return text
}

// Totals counts a result.
type Totals struct {
	Events   map[string]int // by status and reason: "processed", "ignored no_stage"
	Journeys map[string]int // by status
	Stages   int            // completed
	Surveys  int            // scheduled
}

// Totals counts what came out.
func (r Result) Totals() Totals {
	totals := Totals{Events: map[string]int{}, Journeys: map[string]int{}}
	for _, outcome := range r.Outcomes {
		verdict := outcome.Status
		if outcome.Reason != "" {
			verdict += " " + outcome.Reason
		}
		totals.Events[verdict]++
	}
	for _, journey := range r.Journeys {
		totals.Journeys[journey.Status]++
		for _, stage := range journey.Stages {
			if stage.Status == StageCompleted {
				totals.Stages++
			}
			if stage.ScheduledSurvey != nil {
				totals.Surveys++
			}
		}
	}
	return totals
}
