// Package rules says what an event does to a patient's journey and when a journey is complete. It is pure: no
// database, no clock, no HTTP. Server and worker both decide by it, each with its own rows converted to the types here.
//
// Each rule names its source. "The contract" is the OpenAPI document; where it is silent, the rule says so. The
// reference model in tests/hospitalday states the same rules a second time, independently, to be compared with.
package rules

import (
	"time"

	"github.com/google/uuid"
)

// What may become of an event: EventStatus of the contract.
const (
	EventPending   = "pending"
	EventProcessed = "processed"
	EventIgnored   = "ignored" // nothing is wrong with it, and nothing follows from it
	EventFailed    = "failed"  // somebody has to put something in order, then it can be reprocessed
)

// Why an event was ignored or failed: "reason" of the contract's Event.
const (
	ReasonNoJourney         = "no_journey"
	ReasonAmbiguousJourney  = "ambiguous_journey"
	ReasonPatientMismatch   = "patient_mismatch"
	ReasonJourneyNotActive  = "journey_not_active"
	ReasonNoStage           = "no_stage"
	ReasonStageDone         = "stage_done"
	ReasonPhysicianMissing  = "physician_missing"
	ReasonDepartmentMissing = "department_missing"
	ReasonInternalError     = "internal_error"
)

// Where a journey stands: JourneyStatus of the contract.
const (
	JourneyActive    = "active"
	JourneyCompleted = "completed"
	JourneyCancelled = "cancelled"
)

// Where a stage stands: StageStatus of the contract.
const (
	StagePending    = "pending"
	StageInProgress = "in_progress"
	StageCompleted  = "completed"
	StageSkipped    = "skipped"
)

// Event is a pending event, of its payload only what the rules ask for.
type Event struct {
	EventCode         string
	EncounterID       string
	PatientIdentifier string      // MRN or national id; blank if the sender names no patient
	Hospital          *uuid.UUID  // the sender's; nil if the sender stands for all
	AmongHospitals    []uuid.UUID // if the sender stands for all: those that its config is restricted to; none: every one
	ReceivedAt        time.Time

	// The payload's top-level members of these names; the texts are blank if missing or no text.
	PhysicianLicense string
	DepartmentCode   string
	Timestamp        Timestamp
}

// Journey is a journey of a patient.
type Journey struct {
	ID           uuid.UUID
	Hospital     uuid.UUID
	HospitalName string
	Status       string
	MRN          string     // the patient's
	NationalID   string     // the patient's, may be blank
	StatedStart  *time.Time // started_at, nil unless a client stated it
	VisitSurvey  bool       // completing it schedules one survey, and completing its stages none
	Stages       []Stage    // all of them, by order, then code
}

// Stage is a stage of a journey. IsComplete, CompletedAt and CompletionPercentage look at Status, IsOptional and
// CompletedAt only.
type Stage struct {
	ID                 uuid.UUID
	TriggerEventCode   string
	Status             string
	CompletedAt        *time.Time // not nil exactly if Status is StageCompleted
	IsOptional         bool
	RequiresPhysician  bool
	RequiresDepartment bool
	AutoSendSurvey     bool
}

// Facts are what is known of the journeys of some encounters, in the state in which the events decided on so far have
// left them.
type Facts struct {
	Journeys    map[string][]*Journey // by encounter id, at most one of each hospital
	Physicians  map[Name]uuid.UUID    // by license number
	Departments map[Name]uuid.UUID    // by code
}

// Name is what something is called within a hospital.
type Name struct {
	Hospital uuid.UUID
	Name     string
}

// Outcome is what became of an event.
type Outcome struct {
	Status  string
	Reason  string   // blank if processed
	Message string   // one sentence for a person, blank if processed
	Journey *Journey // nil if none or several were found
	Stage   *Stage   // the one completed or, if something it requires is missing, left open; else nil
	Warning Warning  // what of the event was not taken as it was sent

	// What else a processed event does.
	Physician          uuid.UUID // whom the event names, uuid.Nil if nobody known
	Department         uuid.UUID // likewise
	CompletesJourney   bool
	JourneyCompletedAt time.Time // if it completes the journey
}
