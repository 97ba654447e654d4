package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/hospitalday"
)

// send sends the day's events sequentially, so that they arrive in order, and creates the late
// journeys in between.
func (p *runner) send(ctx context.Context) error {
	p.progress.start("events", len(p.day.Events))
	begun := time.Now()
	p.summary.sendBegun = begun
	late, made := p.lateJourneys(), 0
	for start, batch := range p.day.Batches(batchSize) {
		result, err := p.sendBatch(ctx, batch)
		if err != nil {
			return fmt.Errorf("send events %d to %d: %w", start+1, start+len(batch), err)
		}
		p.summary.count(result)
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

// lateJourneys are the encounters whose journey is created after some of their events, by the index
// of the last of these.
func (p *runner) lateJourneys() map[int][]hospitalday.Encounter {
	late := map[int][]hospitalday.Encounter{}
	for i, encounter := range p.day.Encounters {
		_, planned := p.plan.Template(encounter.JourneyType)
		if after := p.day.CreateAfter(i); planned && after >= 0 {
			late[after] = append(late[after], encounter)
		}
	}
	return late
}

func (p *runner) countLate(late map[int][]hospitalday.Encounter, made int) {
	total := 0
	for _, encounters := range late {
		total += len(encounters)
	}
	p.summary.Catalogue = append(p.summary.Catalogue, Made{"journeys, after some of their events", made, total - made})
}

// sendBatch sends events in one request. Its Idempotency-Key makes a retry safe, and keeps it from
// counting the events as duplicates.
func (p *runner) sendBatch(ctx context.Context, batch []hospitalday.Event) (*client.EventBulkResult, error) {
	body := client.EventBulkCreate{Events: make([]client.EventCreate, len(batch))}
	for i, event := range batch {
		body.Events[i] = client.EventCreate{
			SourceSystem: event.SourceSystem, EventCode: event.EventCode, EncounterID: event.EncounterID,
			PatientIdentifier: &event.PatientIdentifier, PayloadJSON: &event.PayloadJSON, SourceEventID: &event.SourceEventID,
		}
	}
	sent, err := p.api.BulkCreateEventsWithResponse(ctx, &client.BulkCreateEventsParams{IdempotencyKey: ptr(rand.Text())}, body)
	if err != nil {
		return nil, err
	}
	var result client.EventBulkResult
	if err := client.Check(sent.HTTPResponse, sent.Body); err != nil && sent.StatusCode() != http.StatusBadRequest {
		return nil, err
	}
	// A bulk of which every event is refused is answered with 400, with the same counts.
	if json.Unmarshal(sent.Body, &result) == nil && int(result.Created+result.Duplicates+result.Failed) == len(batch) {
		return &result, nil
	}
	if err := client.Check(sent.HTTPResponse, sent.Body); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the answer does not count the %d events sent: %s", len(batch), sent.Body)
}

// count adds the result of one request.
func (s *Summary) count(result *client.EventBulkResult) {
	s.Accepted += int(result.Created)
	s.Duplicates += int(result.Duplicates)
	s.Refused += int(result.Failed)
	if s.RefusedFor == nil {
		s.RefusedFor = map[string]int{}
	}
	for _, refused := range result.Errors {
		var reasons []string
		for _, field := range slices.Sorted(maps.Keys(refused.Errors)) {
			messages := strings.Trim(fmt.Sprint(refused.Errors[field]), "[]")
			reasons = append(reasons, field+": "+messages)
		}
		s.RefusedFor[strings.Join(reasons, ", ")]++
	}
}

// awaitOutcomes waits until all events that are stored now are processed. Newer events of other
// senders do not matter.
func (p *runner) awaitOutcomes(ctx context.Context) error {
	newest, _, err := p.events(ctx, client.ListEventsParams{Ordering: order("-received_at")})
	if err != nil || newest == nil {
		return err
	}
	pending := ptr(client.EventStatusPending)
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
		if time.Since(moved) > stallTimeout {
			return fmt.Errorf("%d events are pending and none was applied for %v: is a worker running? `px360 work` starts one", count, stallTimeout)
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

// events returns the first event of a list, nil if it is empty, and the length of the list.
func (p *runner) events(ctx context.Context, params client.ListEventsParams) (*client.Event, int, error) {
	params.PageSize = ptr(client.PageSize(1))
	answer, err := p.api.ListEventsWithResponse(ctx, &params)
	if err != nil {
		return nil, 0, fmt.Errorf("look at the events: %w", err)
	}
	list, err := value(answer.JSON200, answer.HTTPResponse, answer.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("look at the events: %w", err)
	}
	if len(list.Results) == 0 {
		return nil, int(list.Count), nil
	}
	return &list.Results[0], int(list.Count), nil
}

// countOutcomes counts the outcomes of the day's events, and its journeys.
func (p *runner) countOutcomes(ctx context.Context) error {
	sender, err := p.sender(ctx)
	if err != nil {
		return err
	}
	missing := p.sentIDs()
	p.progress.start("outcomes", len(missing))
	p.summary.Outcomes = map[Outcome]int{}
	newestFirst := client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListEventsResponse, error) {
		return p.api.ListEventsWithResponse(ctx, &client.ListEventsParams{
			Ordering: order("-received_at"), Page: page, PageSize: pageSize,
		})
	})
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
			break // the remaining events are older than the day
		}
	}
	p.progress.close()
	return p.countJourneys(ctx)
}

// sourceID identifies an event of a sender.
type sourceID struct{ system, id string }

// sentIDs are the ids of the events that are stored, which excludes those without an encounter.
func (p *runner) sentIDs() map[sourceID]bool {
	ids := map[sourceID]bool{}
	for _, event := range p.day.Events {
		if event.EncounterID != "" {
			ids[sourceID{event.SourceSystem, event.SourceEventID}] = true
		}
	}
	return ids
}

// sender is the user's hospital, which their events get; nil if the user has none.
func (p *runner) sender(ctx context.Context) (*client.ID, error) {
	answer, err := p.api.RetrieveMeWithResponse(ctx)
	if err != nil {
		return nil, err
	}
	me, err := value(answer.JSON200, answer.HTTPResponse, answer.Body)
	if err != nil {
		return nil, err
	}
	return me.Hospital, nil
}

func sameID(a, b *client.ID) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (p *runner) countJourneys(ctx context.Context) error {
	p.summary.Journeys = map[string]int{}
	for _, status := range []client.JourneyStatus{
		client.JourneyStatusActive, client.JourneyStatusCompleted, client.JourneyStatusCancelled,
	} {
		answer, err := p.api.ListJourneyInstancesWithResponse(ctx, &client.ListJourneyInstancesParams{
			Hospital: &p.hospital, Status: &status, PageSize: ptr(client.PageSize(1)),
		})
		if err != nil {
			return fmt.Errorf("count the journeys: %w", err)
		}
		list, err := value(answer.JSON200, answer.HTTPResponse, answer.Body)
		if err != nil {
			return fmt.Errorf("count the journeys: %w", err)
		}
		if list.Count > 0 {
			p.summary.Journeys[string(status)] = int(list.Count)
		}
	}
	return nil
}
