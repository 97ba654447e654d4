package hospitalday

import (
	"cmp"
	"slices"
	"time"
)

// The states of a processed event, of a journey and of a stage. The fourth state of a stage, in_progress, is only set
// by requests and treated like pending by events, so the model omits it.
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

// The reasons why an event was ignored (the first four) or failed.
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

// Model is the reference for event processing: the worker's rules without a database, concurrency or optimization, so
// that it can be verified by reading. It does not depend on Day.
//
// The creation time of journeys is not part of it: events that arrive before their journey are processed in order once
// it exists, so the result is the same as if all journeys had existed from the beginning.
type Model struct {
	ActiveSurveys []string            // names of the survey templates that are active
	Physicians    map[string][]string // license numbers by hospital
	Departments   map[string][]string // codes by hospital
	Journeys      []Journey           // encounter ids unique within a hospital
}

// Journey is a new journey instance, before any event. Hospital is any name for it, such as its code.
type Journey struct {
	Hospital          string
	EncounterID       string
	PatientMRN        string
	PatientNationalID string
	StatedStart       time.Time // started_at, zero if the client left it to the server
	Stages            []Stage   // copies of the template's active stages, in any order
	Skipped           []string  // codes of stages that were skipped before
	Cancelled         bool      // cancelled before
}

// ReceivedEvent is an accepted event that is no duplicate, with texts trimmed as by the API.
type ReceivedEvent struct {
	Event
	Hospital   string   // the sender's; blank: any hospital
	Among      []string // those that a sender for any hospital is restricted to; none: any
	ReceivedAt time.Time
}

// Result is the expected result.
type Result struct {
	Outcomes []Outcome      // one for each event given to Run, in the same order
	Journeys []JourneyState // one for each of the model's journeys, in the same order
}

// Outcome is the expected outcome of one event.
type Outcome struct {
	Status  string // EventProcessed, EventIgnored or EventFailed
	Reason  string // blank if processed
	Journey int    // index of the journey found, -1 if none or several were
	Stage   string // code of the stage completed or, if something it requires is missing, of the stage left open
	Warned  bool   // whether the payload states a timestamp that was not used
}

// JourneyState is the final state of a journey.
type JourneyState struct {
	Status               string
	CompletedAt          time.Time // zero unless Status is JourneyCompleted
	CompletionPercentage int
	IsComplete           bool
	Stages               []StageState // by order, then code
}

// StageState is the final state of a stage.
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

// Run processes the events in order and returns their outcomes and the final states of the journeys.
func (m Model) Run(events []ReceivedEvent) Result {
	var result Result
	for _, journey := range m.Journeys {
		result.Journeys = append(result.Journeys, journey.initialState())
	}
	for _, event := range events {
		result.Outcomes = append(result.Outcomes, m.warned(event, m.process(event, result.Journeys)))
	}
	for i := range result.Journeys {
		state := &result.Journeys[i]
		state.CompletionPercentage = state.percentage()
		state.IsComplete = state.isComplete()
	}
	return result
}

// warned adds to the outcome whether the event's timestamp was used, which does not depend on what became of it.
func (m Model) warned(event ReceivedEvent, outcome Outcome) Outcome {
	var start time.Time
	if outcome.Journey >= 0 {
		start = m.Journeys[outcome.Journey].StatedStart
	}
	_, used := HappenedAt(event.PayloadJSON, event.ReceivedAt, start)
	outcome.Warned = !used
	return outcome
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

// process applies the rules: a list of checks, of which the first that fails decides.
func (m Model) process(event ReceivedEvent, states []JourneyState) Outcome {
	candidates := m.journeysFor(event)
	if of := m.ofPatient(event.PatientIdentifier, candidates); len(candidates) > 1 && len(of) == 1 {
		candidates = of
	}
	if len(candidates) == 0 {
		return Outcome{Status: EventIgnored, Reason: ReasonNoJourney, Journey: -1}
	}
	if len(candidates) > 1 {
		return Outcome{Status: EventFailed, Reason: ReasonAmbiguousJourney, Journey: -1}
	}
	index := candidates[0]
	journey, state := m.Journeys[index], &states[index]

	if len(m.ofPatient(event.PatientIdentifier, candidates)) == 0 {
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
	stage.CompletedAt, _ = HappenedAt(event.PayloadJSON, event.ReceivedAt, journey.StatedStart)
	stage.Physician = physician
	stage.Department = department
	if stage.AutoSendSurvey && slices.Contains(m.ActiveSurveys, stage.SurveyTemplate) {
		delay := time.Duration(stage.SurveyDelayHours) * time.Hour
		from := stage.CompletedAt
		if event.ReceivedAt.After(from) {
			from = event.ReceivedAt
		}
		stage.ScheduledSurvey = &ScheduledSurvey{Template: stage.SurveyTemplate, DueAt: from.Add(delay)}
	}
	if state.isComplete() {
		state.Status = JourneyCompleted
		state.CompletedAt = state.lastCompletion()
	}
	return Outcome{Status: EventProcessed, Journey: index, Stage: stage.Code}
}

// journeysFor returns the indexes of the journeys that the event matches. An event without encounter id matches
// none.
func (m Model) journeysFor(event ReceivedEvent) []int {
	var found []int
	for i, journey := range m.Journeys {
		visible := event.Hospital == journey.Hospital || event.Hospital == "" && (len(event.Among) == 0 || slices.Contains(event.Among, journey.Hospital))
		if visible && event.EncounterID != "" && event.EncounterID == journey.EncounterID {
			found = append(found, i)
		}
	}
	return found
}

// ofPatient returns those journeys whose patient may be meant: a blank identifier means any.
func (m Model) ofPatient(identifier string, journeys []int) []int {
	var found []int
	for _, i := range journeys {
		if identifier == "" || identifier == m.Journeys[i].PatientMRN || identifier == m.Journeys[i].PatientNationalID {
			found = append(found, i)
		}
	}
	return found
}

// stageFor returns the first open stage that the event code triggers, or nil and the reason.
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

// isComplete reports whether there are stages and each is optional or done. If all are optional, the first
// completed one completes the journey.
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

// lastCompletion is the latest completion time of the stages, which need not be that of the last event, as events may
// be late.
func (s *JourneyState) lastCompletion() time.Time {
	var latest time.Time
	for _, stage := range s.Stages {
		if stage.CompletedAt.After(latest) {
			latest = stage.CompletedAt
		}
	}
	return latest
}

// known returns the value if the hospital has it, else blank.
func known(value string, ofHospital []string) string {
	if slices.Contains(ofHospital, value) {
		return value
	}
	return ""
}

// Totals are counts of a result.
type Totals struct {
	Events   map[string]int // by status and reason: "processed", "ignored no_stage"
	Journeys map[string]int // by status
	Stages   int            // completed
	Surveys  int            // scheduled
}

// Totals counts the result.
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
