package worker

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
)

// The rules: what an event does to its journey. Nothing in this file knows of the database.

const (
	statusProcessed = "processed"
	statusIgnored   = "ignored"
	statusFailed    = "failed"

	reasonNoJourney         = "no_journey"
	reasonAmbiguousJourney  = "ambiguous_journey"
	reasonPatientMismatch   = "patient_mismatch"
	reasonJourneyNotActive  = "journey_not_active"
	reasonNoStage           = "no_stage"
	reasonStageDone         = "stage_done"
	reasonPhysicianMissing  = "physician_missing"
	reasonDepartmentMissing = "department_missing"
	reasonInternalError     = "internal_error"

	active     = "active"
	pending    = "pending"
	inProgress = "in_progress"
	completed  = "completed"
	skipped    = "skipped"
)

// event is a pending event, of its payload only what the rules ask for.
type event = db.EventClaimRow

// facts are what is known of the journeys of some encounters, in the state in which the events
// decided on so far have left them.
type facts struct {
	journeys    map[string][]*journey // by encounter id
	physicians  map[named]uuid.UUID   // by license number
	departments map[named]uuid.UUID   // by code
}

// named is something that is known by its name within a hospital.
type named struct {
	hospital uuid.UUID
	name     string
}

type journey struct {
	db.JourneyClaimRow
	stages []*stage // in their order
}

type stage struct {
	db.StageListOfRow
	completedAt time.Time
	physician   uuid.UUID // whom the event named, uuid.Nil if nobody
	department  uuid.UUID // likewise
}

// outcome is what became of an event.
type outcome struct {
	event            *event
	status           string
	reason           string // blank if processed
	message          string // one sentence for a person, blank if processed
	journey          *journey
	stage            *stage // the one completed or, if something it requires is missing, left open
	completesJourney bool
}

// decide applies the rules to one event and changes the facts accordingly. The checks come in the
// order in which they decide: the first that does not hold is the outcome.
func (f *facts) decide(e *event) outcome {
	o := outcome{event: e}
	candidates := f.journeysOf(e)
	switch len(candidates) {
	case 0:
		return o.end(statusIgnored, reasonNoJourney, "No journey found for encounter %s.", e.EncounterID)
	case 1:
		o.journey = candidates[0]
	default:
		return o.end(statusFailed, reasonAmbiguousJourney, "Encounter %s has a journey in more than one hospital: %s.",
			e.EncounterID, hospitalsOf(candidates))
	}

	if !o.journey.isOf(e.PatientIdentifier) {
		return o.end(statusFailed, reasonPatientMismatch,
			"The patient identifier is neither the MRN nor the national id of the journey's patient.")
	}
	if o.journey.Status != active {
		return o.end(statusIgnored, reasonJourneyNotActive, "Journey is %s.", o.journey.Status)
	}
	triggered, open := o.journey.stageFor(e.EventCode)
	switch {
	case !triggered:
		return o.end(statusIgnored, reasonNoStage, "No stage is triggered by event %s.", e.EventCode)
	case open == nil:
		return o.end(statusIgnored, reasonStageDone,
			"Every stage that is triggered by event %s is completed or skipped already.", e.EventCode)
	}
	o.stage = open

	physician, known := f.physicians[named{o.journey.Hospital, e.PhysicianLicense}]
	if open.RequiresPhysician && !known {
		return o.end(statusFailed, reasonPhysicianMissing, "The stage requires a physician, and %s.",
			missing(e.PhysicianLicense, "physician_license", "physician", "license"))
	}
	department, known := f.departments[named{o.journey.Hospital, e.DepartmentCode}]
	if open.RequiresDepartment && !known {
		return o.end(statusFailed, reasonDepartmentMissing, "The stage requires a department, and %s.",
			missing(e.DepartmentCode, "department_code", "department", "code"))
	}

	open.Status = completed
	open.completedAt = happenedAt(e.HappenedAt, e.ReceivedAt)
	open.physician, open.department = physician, department
	if o.journey.isDone() {
		o.journey.Status = completed
		o.completesJourney = true
	}
	o.status = statusProcessed
	return o
}

func (o outcome) end(status, reason, message string, args ...any) outcome {
	o.status, o.reason, o.message = status, reason, fmt.Sprintf(message, args...)
	return o
}

// missing says why nobody of that name was found.
func missing(name, key, what, by string) string {
	if name == "" {
		return "the payload names none in " + key
	}
	return fmt.Sprintf("no %s of the hospital has the %s “%s”", what, by, name)
}

// journeysOf returns the journeys that the event may mean: those of its encounter, in every hospital
// unless its sender has one.
func (f *facts) journeysOf(e *event) []*journey {
	if e.Hospital == nil {
		return f.journeys[e.EncounterID]
	}
	for _, j := range f.journeys[e.EncounterID] {
		if j.Hospital == *e.Hospital {
			return []*journey{j}
		}
	}
	return nil
}

func hospitalsOf(journeys []*journey) string {
	var b strings.Builder
	for i, j := range journeys {
		switch {
		case i == 0:
		case i < len(journeys)-1:
			b.WriteString(", ")
		default:
			b.WriteString(" and ")
		}
		b.WriteString(j.HospitalName)
	}
	return b.String()
}

// isOf tells whether the journey's patient may be meant. Blank means whoever it is.
func (j *journey) isOf(patient string) bool {
	return patient == "" || patient == j.Mrn || patient == j.NationalID
}

// stageFor returns whether the event triggers any stage, and the first of them that is open or nil.
func (j *journey) stageFor(eventCode string) (triggered bool, open *stage) {
	for _, s := range j.stages {
		if s.TriggerEventCode != eventCode {
			continue
		}
		triggered = true
		if s.Status == pending || s.Status == inProgress {
			return true, s
		}
	}
	return triggered, nil
}

// isDone tells whether nothing required is left to do and something was done.
func (j *journey) isDone() bool {
	some := false
	for _, s := range j.stages {
		if !s.IsOptional && s.Status != completed && s.Status != skipped {
			return false
		}
		some = some || s.Status == completed
	}
	return some
}

// rfc3339 is stricter than time.Parse, which takes "T9:00:00", decimal commas and offsets of days.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// happenedAt is when the thing happened that an event reports: the time it states, or when it was
// received if it states none, a malformed one, or one later than that. In the precision of Postgres.
func happenedAt(stated string, receivedAt time.Time) time.Time {
	happened := receivedAt
	if rfc3339.MatchString(stated) {
		if at, err := time.Parse(time.RFC3339, stated); err == nil && !at.After(receivedAt) {
			happened = at
		}
	}
	return happened.UTC().Truncate(time.Microsecond)
}
