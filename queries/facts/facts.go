// Package facts reads what the rules about events need to know, for the worker, which decides on events, and for the server,
// which explains what was decided.
package facts

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
)

// An Event is an event with what the rules ask for of its payload.
type Event = db.EventClaimRow

// A Journey is a journey of one of the events' encounters.
type Journey = db.JourneyClaimRow

// Load reads what the rules need to know of events whose journeys these are.
func Load(ctx context.Context, q *db.Queries, events []Event, rows []Journey) (*rules.Facts, error) {
	known := &rules.Facts{Journeys: make(map[string][]*rules.Journey, len(rows))}
	if len(rows) == 0 {
		return known, nil
	}
	stages, err := q.StageListOf(ctx, Distinct(rows, func(r *Journey) uuid.UUID { return r.ID }))
	if err != nil {
		return nil, err
	}
	stagesByJourney := groupStages(stages)
	journeys := make([]rules.Journey, len(rows))
	for i := range rows {
		j := &journeys[i]
		*j = ruleJourney(&rows[i])
		j.Stages = stagesByJourney[j.ID]
		known.Journeys[rows[i].EncounterID] = append(known.Journeys[rows[i].EncounterID], j)
	}
	return known, loadNames(ctx, q, known, events, Distinct(rows, func(r *Journey) uuid.UUID { return r.Hospital }))
}

// Of is an event as the rules take it.
func Of(e *Event) rules.Event {
	return rules.Event{
		EventCode: e.EventCode, EncounterID: e.EncounterID, PatientIdentifier: e.PatientIdentifier, Hospital: e.Hospital,
		AmongHospitals: e.AmongHospitals, ReceivedAt: e.ReceivedAt, PhysicianLicense: e.PhysicianLicense, DepartmentCode: e.DepartmentCode,
		Timestamp: rules.Timestamp{Type: e.TimestampType, Text: e.Timestamp},
	}
}

func ruleJourney(row *Journey) rules.Journey {
	j := rules.Journey{
		ID: row.ID, Hospital: row.Hospital, HospitalName: row.HospitalName, Status: row.Status,
		MRN: row.Mrn, NationalID: row.NationalID, VisitSurvey: row.HasVisitSurvey,
	}
	if row.StartedAtStated {
		j.StatedStart = &row.StartedAt
	}
	return j
}

func ruleStage(row *db.StageListOfRow) rules.Stage {
	return rules.Stage{
		ID: row.ID, TriggerEventCode: row.TriggerEventCode, Status: row.Status, CompletedAt: row.CompletedAt,
		IsOptional: row.IsOptional, RequiresPhysician: row.RequiresPhysician, RequiresDepartment: row.RequiresDepartment,
		AutoSendSurvey: row.AutoSendSurvey,
	}
}

// groupStages returns the stages of each journey. The rows come one journey after the other.
func groupStages(rows []db.StageListOfRow) map[uuid.UUID][]rules.Stage {
	stages := make([]rules.Stage, len(rows))
	of := map[uuid.UUID][]rules.Stage{}
	for i, first := 0, 0; i < len(rows); i++ {
		stages[i] = ruleStage(&rows[i])
		journey := rows[i].JourneyInstance
		if rows[first].JourneyInstance != journey {
			first = i
		}
		of[journey] = stages[first : i+1]
	}
	return of
}

// loadNames looks up the physicians and departments that the events name.
func loadNames(ctx context.Context, q *db.Queries, known *rules.Facts, events []Event, hospitals []uuid.UUID) error {
	known.Physicians, known.Departments = map[rules.Name]uuid.UUID{}, map[rules.Name]uuid.UUID{}
	if licenses := Distinct(events, func(e *Event) string { return e.PhysicianLicense }); len(licenses) > 0 {
		rows, err := q.PhysicianByLicense(ctx, db.PhysicianByLicenseParams{Hospitals: hospitals, Licenses: licenses})
		if err != nil {
			return err
		}
		for _, row := range rows {
			known.Physicians[rules.Name{Hospital: row.Hospital, Name: row.LicenseNumber}] = row.ID
		}
	}
	if codes := Distinct(events, func(e *Event) string { return e.DepartmentCode }); len(codes) > 0 {
		rows, err := q.DepartmentByCode(ctx, db.DepartmentByCodeParams{Hospitals: hospitals, Codes: codes})
		if err != nil {
			return err
		}
		for _, row := range rows {
			known.Departments[rules.Name{Hospital: row.Hospital, Name: row.Code}] = row.ID
		}
	}
	return nil
}

// Distinct returns what of gives for the rows, each value once and without the zero value.
func Distinct[Row any, Value comparable](rows []Row, of func(*Row) Value) []Value {
	var zero Value
	seen := map[Value]bool{zero: true}
	var values []Value
	for i := range rows {
		if value := of(&rows[i]); !seen[value] {
			seen[value] = true
			values = append(values, value)
		}
	}
	return values
}
