package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/facts"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/problem"
)

// ExplainEvent tells what was recorded of an event, and what the worker's rules say of it as things are now.
func (o eventOperations) ExplainEvent(ctx context.Context, id uuid.UUID) (answer api.EventExplanation, err error) {
	err = o.engine.db.Read(ctx, func(q *db.Queries) error {
		recorded, err := q.EventGet(ctx, db.EventGetParams{ID: id})
		if queries.NoRows(err) {
			return problem.NotFound
		}
		if err != nil {
			return err
		}
		now, checks, advice, err := explain(ctx, q, recorded)
		answer = api.EventExplanation{
			ID: id, Recorded: api.EventVerdict{Status: recorded.Status, Reason: recorded.Reason, Message: recorded.ErrorMessage},
			Now: api.EventVerdict{Status: now.Status, Reason: now.Reason, Message: now.Message}, Advice: advice,
			Checks: each(checks, func(c rules.Check) api.EventCheck { return api.EventCheck(c) }),
		}
		return err
	})
	return answer, err
}

// explain decides on an event as the worker would, and changes nothing.
func explain(ctx context.Context, q *db.Queries, recorded db.EventGetRow) (now rules.Outcome, checks []rules.Check, advice string, err error) {
	row, err := q.EventFacts(ctx, recorded.ID)
	if err != nil {
		return now, nil, "", err
	}
	found, err := q.JourneyOfEncounter(ctx, row.EncounterID)
	if err != nil {
		return now, nil, "", err
	}
	event := facts.Event(row)
	known, err := facts.Load(ctx, q, []facts.Event{event}, each(found, func(j db.JourneyOfEncounterRow) facts.Journey { return facts.Journey(j) }))
	if err != nil {
		return now, nil, "", err
	}
	of := facts.Of(&event)
	now, checks = known.Explain(&of)
	var ids db.CreatedAtParams
	if now.Journey != nil {
		ids = db.CreatedAtParams{Journey: &now.Journey.ID, Physician: &now.Physician, Department: &now.Department}
	}
	since, err := q.CreatedAt(ctx, ids)
	return now, checks, rules.Advice(&of, rules.Recorded{Status: recorded.Status, Reason: recorded.Reason}, now, rules.Since(since)), err
}

// mostReprocessed is how many events a bulk queues at most.
const mostReprocessed = 10_000

// BulkReprocessEvents puts events back into the queue that failed or were ignored.
func (o eventOperations) BulkReprocessEvents(ctx context.Context, body api.EventBulkReprocess) (answer api.EventBulkReprocessResult, err error) {
	filter := db.EventBulkMatchedParams{
		Status: body.Filter.Status, Reason: body.Filter.Reason, SourceSystem: body.Filter.SourceSystem, EventCode: body.Filter.EventCode,
		ReceivedAfter: body.Filter.ReceivedAfter, ReceivedBefore: body.Filter.ReceivedBefore,
	}
	count := func(q *db.Queries) (err error) {
		answer.Matched, err = q.EventBulkMatched(ctx, filter)
		return err
	}
	if value(body.DryRun) {
		return answer, o.engine.db.Read(ctx, count)
	}
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if err := count(q); err != nil {
			return auditEntry{}, err
		}
		var err error
		answer.Reprocessed, err = q.EventBulkReprocess(ctx, db.EventBulkReprocessParams{
			Status: filter.Status, Reason: filter.Reason, SourceSystem: filter.SourceSystem, EventCode: filter.EventCode,
			ReceivedAfter: filter.ReceivedAfter, ReceivedBefore: filter.ReceivedBefore, Most: mostReprocessed,
		})
		answer.Remaining = max(answer.Matched-answer.Reprocessed, 0)
		return auditEntry{"event", uuid.Nil, nil, []string{"status"}}, err // of many events
	})
	if err == nil && answer.Reprocessed > 0 {
		o.notifier.notify()
	}
	return answer, err
}
