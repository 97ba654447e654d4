package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/hospitalday"
)

// send sends the day's events in their order, one request after the other, so that they arrive in
// it, and makes the late journeys where they come between.
func (p *player) send(ctx context.Context) error {
	p.progress.start("events", len(p.day.Events))
	begun := time.Now()
	p.summary.sendBegun = begun
	late, made := p.lateJourneys(), 0
	for start, batch := range p.day.Batches(batchSize) {
		report, err := p.sendBatch(ctx, batch)
		if err != nil {
			return fmt.Errorf("send events %d to %d: %w", start+1, start+len(batch), err)
		}
		p.summary.count(report)
		var due []hospitalday.Encounter
		for i := range batch {
			due = append(due, late[start+i]...)
		}
		created, err := p.journeys.ensure(ctx, due, func(int) {})
		if err != nil {
			return err
		}
		made += created
		p.progress.add(len(batch))
	}
	p.summary.SendTime = time.Since(begun)
	p.countLate(late, made)
	p.progress.finish("%d accepted, %d sent before, %d refused", p.summary.Accepted, p.summary.Duplicates, p.summary.Refused)
	return nil
}

// lateJourneys are the encounters whose journey is made after events were sent, by the last of these.
func (p *player) lateJourneys() map[int][]hospitalday.Encounter {
	late := map[int][]hospitalday.Encounter{}
	for i, encounter := range p.day.Encounters {
		_, planned := p.plan.Template(encounter.JourneyType)
		if after := p.day.CreateAfter(i); planned && after >= 0 {
			late[after] = append(late[after], encounter)
		}
	}
	return late
}

func (p *player) countLate(late map[int][]hospitalday.Encounter, made int) {
	total := 0
	for _, encounters := range late {
		total += len(encounters)
	}
	p.summary.Catalogue = append(p.summary.Catalogue, Made{"journeys, after some of their events", made, total - made})
}

// sendBatch sends events in one request. Its Idempotency-Key lets the client repeat it when the answer got lost, without
// counting the events as duplicates then.
func (p *player) sendBatch(ctx context.Context, batch []hospitalday.Event) (client.BulkReport, error) {
	events := make([]client.EventCreate, len(batch))
	for i, event := range batch {
		events[i] = client.EventCreate{
			SourceSystem: event.SourceSystem, EventCode: event.EventCode, EncounterID: event.EncounterID,
			PatientIdentifier: &event.PatientIdentifier, PayloadJSON: event.PayloadJSON, SourceEventID: &event.SourceEventID,
		}
	}
	return p.api.SendEvents(ctx, events)
}

// count adds what became of one batch's events.
func (s *Summary) count(report client.BulkReport) {
	s.Accepted += report.Created
	s.Duplicates += report.Duplicates
	s.Refused += report.Refused
	if s.RefusedFor == nil {
		s.RefusedFor = map[string]int{}
	}
	for _, event := range report.Events {
		if event.Outcome != client.OutcomeRefused {
			continue
		}
		var reasons []string
		for _, field := range slices.Sorted(maps.Keys(event.Fields)) {
			reasons = append(reasons, field+": "+strings.Join(event.Fields[field], " "))
		}
		s.RefusedFor[strings.Join(reasons, ", ")]++
	}
}

// awaitOutcomes waits until no event that was stored by now is pending any more. Others may go on to
// send: theirs are newer, and do not count.
func (p *player) awaitOutcomes(ctx context.Context) error {
	newest, _, err := p.events(ctx, client.ListEventsParams{Ordering: order("-received_at")})
	if err != nil || newest == nil {
		return err
	}
	pending := client.Ptr(client.EventStatusPending)
	var shown bool
	var least int
	var head client.ID
	moved := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		oldest, count, err := p.events(ctx, client.ListEventsParams{Status: pending, Ordering: order("received_at")})
		if err != nil {
			return err
		}
		if oldest == nil || oldest.ReceivedAt.After(newest.ReceivedAt) {
			break
		}
		if !shown {
			p.progress.start("events being applied", count)
			shown, least = true, count
		}
		if count < least || oldest.ID != head {
			p.progress.add(max(0, least-count))
			least, head, moved = min(least, count), oldest.ID, time.Now()
		}
		if time.Since(moved) > stall {
			return fmt.Errorf("%d events are pending and none was applied for %v: is a worker running? `px360 work` starts one", count, stall)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	p.summary.ApplyTime = time.Since(p.summary.sendBegun)
	p.progress.close()
	return nil
}

func order(term client.ListEventsParamsOrdering) []client.ListEventsParamsOrdering {
	return []client.ListEventsParamsOrdering{term}
}

// events returns the first event of a list, nil if it is empty, and how many there are in it.
func (p *player) events(ctx context.Context, params client.ListEventsParams) (*client.Event, int, error) {
	params.PageSize = client.Ptr(client.PageSize(1))
	list, err := p.api.ListEvents(ctx, &params)
	if err != nil {
		return nil, 0, fmt.Errorf("look at the events: %w", err)
	}
	if len(list.Results) == 0 {
		return nil, int(list.Count), nil
	}
	return &list.Results[0], int(list.Count), nil
}

// countOutcomes reads what became of the day's events and journeys.
func (p *player) countOutcomes(ctx context.Context) error {
	sender, err := p.sender(ctx)
	if err != nil {
		return err
	}
	missing := p.sentIDs()
	p.progress.start("outcomes", len(missing))
	p.summary.Outcomes = map[Outcome]int{}
	newestFirst := p.api.AllEvents(ctx, &client.ListEventsParams{Ordering: order("-received_at")})
	for event, err := range newestFirst {
		if err != nil {
			return fmt.Errorf("look at the events: %w", err)
		}
		id := sourceID{event.SourceSystem, event.SourceEventID}
		if !missing[id] || !sameID(event.Hospital, sender) {
			continue
		}
		delete(missing, id)
		p.progress.add(1)
		p.summary.Outcomes[Outcome{string(event.Status), event.Reason}]++
		if event.Survey != nil {
			p.summary.Surveys++
		}
		if len(missing) == 0 {
			break // what follows is older than the day
		}
	}
	p.progress.close()
	return p.countJourneys(ctx)
}

// sourceID is what tells an event from every other of the same sender.
type sourceID struct{ system, id string }

// sentIDs are the events that are stored: all but those without an encounter, which are refused.
func (p *player) sentIDs() map[sourceID]bool {
	ids := map[sourceID]bool{}
	for _, event := range p.day.Events {
		if event.EncounterID != "" {
			ids[sourceID{event.SourceSystem, event.SourceEventID}] = true
		}
	}
	return ids
}

// sender is the hospital that the events carry: the user's, nil if the user has none.
func (p *player) sender(ctx context.Context) (*client.ID, error) {
	me, err := p.api.RetrieveMe(ctx)
	if err != nil {
		return nil, err
	}
	return me.Hospital, nil
}

func sameID(a, b *client.ID) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (p *player) countJourneys(ctx context.Context) error {
	p.summary.Journeys = map[string]int{}
	for _, status := range []client.JourneyStatus{
		client.JourneyStatusActive, client.JourneyStatusCompleted, client.JourneyStatusCancelled,
	} {
		list, err := p.api.ListJourneyInstances(ctx, &client.ListJourneyInstancesParams{
			Hospital: &p.hospital, Status: &status, PageSize: client.Ptr(client.PageSize(1)),
		})
		if err != nil {
			return fmt.Errorf("count the journeys: %w", err)
		}
		if list.Count > 0 {
			p.summary.Journeys[string(status)] = int(list.Count)
		}
	}
	return nil
}
