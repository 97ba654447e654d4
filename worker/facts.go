package worker

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
)

// event is a pending event as it is claimed.
type event = db.EventClaimRow

// decide applies the rules to one event.
func decide(facts *rules.Facts, e *event) rules.Outcome {
	of := ruleEvent(e)
	return facts.Decide(&of)
}

func ruleEvent(e *event) rules.Event {
	return rules.Event{
		EventCode: e.EventCode, EncounterID: e.EncounterID, PatientIdentifier: e.PatientIdentifier, Hospital: e.Hospital,
		AmongHospitals: e.AmongHospitals, ReceivedAt: e.ReceivedAt, PhysicianLicense: e.PhysicianLicense, DepartmentCode: e.DepartmentCode,
		Timestamp: rules.Timestamp{Type: e.TimestampType, Text: e.Timestamp},
	}
}

func ruleJourney(row *db.JourneyClaimRow) rules.Journey {
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

// loadFacts locks the journeys of the batch's encounters and reads what the rules need to know. The events of a
// journey that another transaction has locked are left for later.
func (b *batch) loadFacts(ctx context.Context, q *db.Queries) (*rules.Facts, error) {
	rows, err := q.JourneyClaim(ctx, distinct(b.events, func(e *event) string { return e.EncounterID }))
	if err != nil {
		return nil, err
	}
	b.leaveLocked(rows)
	facts := &rules.Facts{Journeys: make(map[string][]*rules.Journey, len(rows))}
	if len(rows) == 0 {
		return facts, nil
	}
	stages, err := q.StageListOf(ctx, distinct(rows, func(r *db.JourneyClaimRow) uuid.UUID { return r.ID }))
	if err != nil {
		return nil, err
	}
	stagesByJourney := groupStages(stages)
	journeys := make([]rules.Journey, len(rows))
	for i := range rows {
		j := &journeys[i]
		*j = ruleJourney(&rows[i])
		j.Stages = stagesByJourney[j.ID]
		facts.Journeys[rows[i].EncounterID] = append(facts.Journeys[rows[i].EncounterID], j)
	}
	return facts, loadNames(ctx, q, facts, b.events, distinct(rows, func(r *db.JourneyClaimRow) uuid.UUID { return r.Hospital }))
}

// leaveLocked takes the events out of the batch whose encounter has a journey that another transaction has locked.
func (b *batch) leaveLocked(rows []db.JourneyClaimRow) {
	locked := map[string]bool{}
	for i := range rows {
		if !rows[i].IsOwned {
			locked[rows[i].EncounterID] = true
		}
	}
	b.filter(func(e *event) bool { return !locked[e.EncounterID] })
	b.locked = b.locked || len(locked) > 0
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
func loadNames(ctx context.Context, q *db.Queries, facts *rules.Facts, events []event, hospitals []uuid.UUID) error {
	facts.Physicians, facts.Departments = map[rules.Name]uuid.UUID{}, map[rules.Name]uuid.UUID{}
	if licenses := distinct(events, func(e *event) string { return e.PhysicianLicense }); len(licenses) > 0 {
		rows, err := q.PhysicianByLicense(ctx, db.PhysicianByLicenseParams{Hospitals: hospitals, Licenses: licenses})
		if err != nil {
			return err
		}
		for _, row := range rows {
			facts.Physicians[rules.Name{Hospital: row.Hospital, Name: row.LicenseNumber}] = row.ID
		}
	}
	if codes := distinct(events, func(e *event) string { return e.DepartmentCode }); len(codes) > 0 {
		rows, err := q.DepartmentByCode(ctx, db.DepartmentByCodeParams{Hospitals: hospitals, Codes: codes})
		if err != nil {
			return err
		}
		for _, row := range rows {
			facts.Departments[rules.Name{Hospital: row.Hospital, Name: row.Code}] = row.ID
		}
	}
	return nil
}

// distinct returns what of gives for the rows, each value once and without the zero value.
func distinct[Row any, Value comparable](rows []Row, of func(*Row) Value) []Value {
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
