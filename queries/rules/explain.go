package rules

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// What is checked of an event, in this order: EventCheckName of the contract.
const (
	CheckJourney    = "journey"
	CheckPatient    = "patient"
	CheckStatus     = "journey_status"
	CheckStage      = "stage"
	CheckPhysician  = "physician"
	CheckDepartment = "department"
)

// A Check is one of the rules, and what it found. Passed is nil where an earlier one failed, so that it was not asked.
type Check struct {
	Check  string
	Found  string
	Passed *bool
}

// checkOf says which check an outcome's reason is of.
var checkOf = map[string]string{
	ReasonNoJourney: CheckJourney, ReasonAmbiguousJourney: CheckJourney, ReasonPatientMismatch: CheckPatient, ReasonJourneyNotActive: CheckStatus,
	ReasonNoStage: CheckStage, ReasonStageDone: CheckStage, ReasonPhysicianMissing: CheckPhysician, ReasonDepartmentMissing: CheckDepartment,
}

// Explain decides on an event as Decide does, and tells what each check found. As the outcome is Decide's own, the two
// cannot differ.
func (f *Facts) Explain(e *Event) (Outcome, []Check) {
	o := f.Decide(e)
	failed := checkOf[o.Reason]
	var checks []Check
	for _, name := range []string{CheckJourney, CheckPatient, CheckStatus, CheckStage, CheckPhysician, CheckDepartment} {
		check := Check{Check: name}
		switch {
		case len(checks) > 0 && (checks[len(checks)-1].Passed == nil || !*checks[len(checks)-1].Passed):
		case name == failed:
			check.Passed, check.Found = new(bool), o.Message
		default:
			passed := true
			check.Passed, check.Found = &passed, f.found(name, e, &o)
		}
		checks = append(checks, check)
	}
	return o, checks
}

// found says what a check found that holds.
func (f *Facts) found(check string, e *Event, o *Outcome) string {
	switch check {
	case CheckJourney:
		return fmt.Sprintf("Encounter %s has a journey in %s.", e.EncounterID, o.Journey.HospitalName)
	case CheckPatient:
		if e.PatientIdentifier == "" {
			return "The event names no patient."
		}
		return "The event names the journey's patient."
	case CheckStatus:
		return "The journey is active."
	case CheckStage:
		return fmt.Sprintf("A stage that is triggered by event %s is open.", e.EventCode)
	case CheckPhysician:
		return foundName(e.PhysicianLicense, f.Physicians[Name{o.Journey.Hospital, e.PhysicianLicense}] != uuid.Nil, "physician", "license")
	}
	return foundName(e.DepartmentCode, f.Departments[Name{o.Journey.Hospital, e.DepartmentCode}] != uuid.Nil, "department", "code")
}

// foundName is about a name that the event has or not, where that is enough for the stage.
func foundName(name string, known bool, what, by string) string {
	switch {
	case name != "" && known:
		return fmt.Sprintf("The hospital has a %s with the %s “%s”.", what, by, name)
	case name == "":
		return fmt.Sprintf("The event names no %s, and the stage requires none.", what)
	}
	return fmt.Sprintf("No %s of the hospital has the %s “%s”, and the stage requires none.", what, by, name)
}

// Recorded is what is recorded of an event.
type Recorded struct{ Status, Reason string }

// Since are the times since when what an event lacked is there, nil where it is not.
type Since struct {
	Journey, Physician, Department *time.Time
}

// Advice is what somebody can do about an event, in a sentence.
func Advice(e *Event, recorded Recorded, now Outcome, since Since) string {
	day := func(at *time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") }
	switch {
	case recorded.Status == EventPending:
		return "Nothing is to be done: it waits in the queue."
	case recorded.Status == EventProcessed:
		return "Nothing is to be done: it was processed."
	case now.Status == EventProcessed && recorded.Reason == ReasonPhysicianMissing && since.Physician != nil:
		return fmt.Sprintf("Reprocess it: the physician %s exists since %s.", e.PhysicianLicense, day(since.Physician))
	case now.Status == EventProcessed && recorded.Reason == ReasonDepartmentMissing && since.Department != nil:
		return fmt.Sprintf("Reprocess it: the department %s exists since %s.", e.DepartmentCode, day(since.Department))
	case now.Status == EventProcessed && recorded.Reason == ReasonNoJourney && since.Journey != nil:
		return fmt.Sprintf("Reprocess it: the encounter %s has a journey since %s.", e.EncounterID, day(since.Journey))
	case now.Status == EventProcessed:
		return "Reprocess it: what stood in its way is gone."
	case now.Reason != recorded.Reason:
		return "Reprocessed it would end in " + now.Reason + ". " + adviceFor(e, now)
	}
	return adviceFor(e, now)
}

// adviceFor is what can be done about the reason that an event is not applied now.
func adviceFor(e *Event, now Outcome) string {
	switch now.Reason {
	case ReasonNoJourney:
		return fmt.Sprintf("Create a journey for the encounter %s: the event is then processed by itself.", e.EncounterID)
	case ReasonAmbiguousJourney:
		return "Have the sender name the patient in patient_identifier, or send with the key of one hospital."
	case ReasonPatientMismatch:
		return "Correct the patient's MRN or national id, or the journey, then reprocess it; or have the sender name the right patient."
	case ReasonJourneyNotActive:
		return "Nothing can be done: the journey is " + now.Journey.Status + "."
	case ReasonNoStage:
		return fmt.Sprintf("Add a stage that is triggered by %s to the journey, then reprocess it.", e.EventCode)
	case ReasonStageDone:
		return "Nothing is to be done: the stage is done."
	case ReasonPhysicianMissing:
		if e.PhysicianLicense == "" {
			return "Have the sender name the physician in payload_json.physician_license, and send it again."
		}
		return fmt.Sprintf("Add the physician %s to %s, then reprocess it.", e.PhysicianLicense, now.Journey.HospitalName)
	case ReasonDepartmentMissing:
		if e.DepartmentCode == "" {
			return "Have the sender name the department in payload_json.department_code, and send it again."
		}
		return fmt.Sprintf("Add the department %s to %s, then reprocess it.", e.DepartmentCode, now.Journey.HospitalName)
	}
	return "Reprocess it, and tell those who run the system if it fails again."
}
