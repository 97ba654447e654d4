package worker

import (
	"context"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/facts"
	"github.com/px360/px360/queries/rules"
)

// event is a pending event as it is claimed.
type event = facts.Event

// decide applies the rules to one event.
func decide(known *rules.Facts, e *event) rules.Outcome {
	of := facts.Of(e)
	return known.Decide(&of)
}

// loadFacts locks the journeys of the batch's encounters and reads what the rules need to know. The events of a
// journey that another transaction has locked are left for later.
func (b *batch) loadFacts(ctx context.Context, q *db.Queries) (*rules.Facts, error) {
	rows, err := q.JourneyClaim(ctx, facts.Distinct(b.events, func(e *event) string { return e.EncounterID }))
	if err != nil {
		return nil, err
	}
	b.leaveLocked(rows)
	return facts.Load(ctx, q, b.events, rows)
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
