package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Decide applies the rules to one event and changes the facts accordingly, for the next event to see. The first check
// that does not hold is the outcome. Source: the reasons in the contract's Event, in the order in which it lists them.
func (f *Facts) Decide(e *Event) Outcome {
	candidates := f.candidates(e)
	var start *time.Time
	if len(candidates) == 1 {
		start = candidates[0].StatedStart
	}
	happenedAt, warning := HappenedAt(e.Timestamp, e.ReceivedAt, start)
	o := f.decide(e, candidates, happenedAt)
	o.Warning = warning
	return o
}

func (f *Facts) decide(e *Event, candidates []*Journey, happenedAt time.Time) Outcome {
	var o Outcome
	switch len(candidates) {
	case 0:
		return o.end(EventIgnored, ReasonNoJourney, "No journey found for encounter %s.", e.EncounterID)
	case 1:
		o.Journey = candidates[0]
	default:
		return o.end(EventFailed, ReasonAmbiguousJourney, "Encounter %s has a journey in more than one hospital: %s.",
			e.EncounterID, hospitalsOf(candidates))
	}

	if !o.Journey.isOf(e.PatientIdentifier) {
		return o.end(EventFailed, ReasonPatientMismatch,
			"The patient identifier is neither the MRN nor the national id of the journey's patient.")
	}
	if o.Journey.Status != JourneyActive {
		return o.end(EventIgnored, ReasonJourneyNotActive, "Journey is %s.", o.Journey.Status)
	}
	triggered, open := o.Journey.stageFor(e.EventCode)
	switch {
	case !triggered:
		return o.end(EventIgnored, ReasonNoStage, "No stage is triggered by event %s.", e.EventCode)
	case open == nil:
		return o.end(EventIgnored, ReasonStageDone,
			"Every stage that is triggered by event %s is completed or skipped already.", e.EventCode)
	}
	o.Stage = open

	// Source: requires_physician and requires_department of the contract's StageTemplate. One that is named and known
	// is recorded although the stage does not require it: the contract is silent on that.
	physician, known := f.Physicians[Name{o.Journey.Hospital, e.PhysicianLicense}]
	if open.RequiresPhysician && !known {
		return o.end(EventFailed, ReasonPhysicianMissing, "The stage requires a physician, and %s.",
			missing(e.PhysicianLicense, "physician_license", "physician", "license"))
	}
	department, known := f.Departments[Name{o.Journey.Hospital, e.DepartmentCode}]
	if open.RequiresDepartment && !known {
		return o.end(EventFailed, ReasonDepartmentMissing, "The stage requires a department, and %s.",
			missing(e.DepartmentCode, "department_code", "department", "code"))
	}

	open.Status, open.CompletedAt = StageCompleted, &happenedAt
	o.Status, o.Physician, o.Department = EventProcessed, physician, department
	o.JourneyCompletedAt, o.CompletesJourney = CompletedAt(o.Journey.Stages)
	if o.CompletesJourney {
		o.Journey.Status = JourneyCompleted
	}
	return o
}

// InternalError is the outcome of an event that could not be decided on or stored, so often. Source: internal_error
// among the reasons in the contract's Event; how often is tried is the worker's choice.
func InternalError(tries int) Outcome {
	return Outcome{}.end(EventFailed, ReasonInternalError,
		"The event could not be processed because of an internal error. It was tried %d times.", tries)
}

func (o Outcome) end(status, reason, message string, args ...any) Outcome {
	o.Status, o.Reason, o.Message = status, reason, fmt.Sprintf(message, args...)
	return o
}

// missing says why nobody of that name was found.
func missing(name, key, what, by string) string {
	if name == "" {
		return "the payload names none in " + key
	}
	return fmt.Sprintf("no %s of the hospital has the %s “%s”", what, by, name)
}

// candidates are the journeys that the event may mean: those of its encounter, in the sender's hospital or, if the
// sender stands for all, in every hospital or in those that its config names. Of several it is the one whose patient the
// event names, if that is one.
// Source: encounter_id, patient_identifier and hospital of the contract's Event.
func (f *Facts) candidates(e *Event) []*Journey {
	journeys := f.Journeys[e.EncounterID]
	if e.Hospital == nil {
		if len(e.AmongHospitals) > 0 {
			journeys = slices.DeleteFunc(slices.Clone(journeys), func(j *Journey) bool { return !slices.Contains(e.AmongHospitals, j.Hospital) })
		}
		if of := journeysOf(e.PatientIdentifier, journeys); len(of) == 1 {
			return of
		}
		return journeys
	}
	for i, j := range journeys {
		if j.Hospital == *e.Hospital {
			return journeys[i : i+1]
		}
	}
	return nil
}

// journeysOf are those whose patient may be meant.
func journeysOf(patient string, journeys []*Journey) (of []*Journey) {
	for _, j := range journeys {
		if j.isOf(patient) {
			of = append(of, j)
		}
	}
	return of
}

func hospitalsOf(journeys []*Journey) string {
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

// isOf tells whether the journey's patient may be meant. Upper and lower case differ, and blank means whoever it is.
// Source: patient_identifier of the contract's Event, "MRN or national id; where given, it must be the journey's
// patient".
func (j *Journey) isOf(patient string) bool {
	return patient == "" || patient == j.MRN || patient == j.NationalID
}

// stageFor tells whether the event code triggers any stage of the journey, and returns the first of them that is
// pending or in progress, or nil. So of several stages with one code each event completes one. Source:
// trigger_event_code of the contract's StageTemplate; the contract is silent on several.
func (j *Journey) stageFor(eventCode string) (triggered bool, open *Stage) {
	for i := range j.Stages {
		s := &j.Stages[i]
		if s.TriggerEventCode != eventCode {
			continue
		}
		triggered = true
		if s.Status == StagePending || s.Status == StageInProgress {
			return true, s
		}
	}
	return triggered, nil
}
