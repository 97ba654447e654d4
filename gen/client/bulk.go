package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// The server takes 1,000 events, 5 MiB, and 500,000 names and values in one request.
const (
	maxBulkEvents = 1000
	maxBulkBytes  = 5_000_000
	maxBulkTokens = 490_000
)

// tokensOf is how many names, values and brackets there are in JSON, or more, as it does not tell texts apart.
func tokensOf(body []byte) int {
	tokens := 1
	for _, c := range body {
		switch c {
		case ',', ':':
			tokens++
		case '{', '[':
			tokens += 3 // with its end, and the first value
		}
	}
	return tokens
}

// BulkReport says what became of the events given to SendEvents.
type BulkReport struct {
	// Created were stored, Duplicates had been stored before, Refused are wrong, of Unknown nobody knows whether they
	// were stored, and Unsent were not sent. Together they are as many as the events given.
	Created, Duplicates, Refused, Unknown, Unsent int
	// Events has an outcome for each event, at the event's index.
	Events []EventOutcome
}

// EventOutcome says what became of one event.
type EventOutcome struct {
	Outcome Outcome
	// Fields has the messages by field of a refused event.
	Fields map[string][]string
	// Warnings are what the server remarks on an event that it stored.
	Warnings []string
}

// Outcome is what became of an event.
type Outcome string

// The outcomes of an event.
const (
	OutcomeCreated   Outcome = "created"   // stored
	OutcomeDuplicate Outcome = "duplicate" // stored before, under its source_event_id
	OutcomeStored    Outcome = "stored"    // one of the two: the server counts them, and does not say which is which
	OutcomeRefused   Outcome = "refused"   // wrong, and not stored
	OutcomeUnknown   Outcome = "unknown"   // sent, and nobody knows whether it was stored
	OutcomeUnsent    Outcome = "unsent"    // not stored, because an error came before
)

// Resume is the index to go on from after an error: that of the first event which is unknown or unsent.
func (r BulkReport) Resume() int {
	for i, event := range r.Events {
		if event.Outcome == OutcomeUnknown || event.Outcome == OutcomeUnsent {
			return i
		}
	}
	return len(r.Events)
}

// set gives an event its outcome; it was unsent, or unknown, before.
func (r *BulkReport) set(index int, outcome EventOutcome) {
	r.Unsent--
	switch outcome.Outcome {
	case OutcomeRefused:
		r.Refused++
	case OutcomeUnknown:
		r.Unknown++
	}
	r.Events[index] = outcome
}

// SendEvents stores any number of events, in order, in requests as large as the server takes. Each request has an
// Idempotency-Key and is made again where that is safe, as described for the package. It ends with the first request
// that fails for good; the report says of every event what became of it by then. That events are refused is no error:
// look at the report's Refused.
//
// The rate limit of events can ask to wait for an hour, which takes a client made WithMaxWait of more than that.
//
// With WithIdempotencyKey, each request has a key that begins with the given one, and the same call may be made again.
func (c *Client) SendEvents(ctx context.Context, events []EventCreate, options ...CallOption) (BulkReport, error) {
	b := &bulk{client: c, options: options}
	b.report.Unsent, b.report.Events = len(events), make([]EventOutcome, len(events))
	for i := range events {
		b.report.Events[i].Outcome = OutcomeUnsent
	}
	var part []bulkItem
	size, tokens := 0, 0
	for i, event := range events {
		body, err := json.Marshal(event)
		if err != nil {
			b.refuse(i, err.Error())
			continue
		}
		more := tokensOf(body)
		if len(part) == maxBulkEvents || len(part) > 0 && (size+len(body) > maxBulkBytes || tokens+more > maxBulkTokens) {
			if err := b.send(ctx, part); err != nil {
				return b.report, err
			}
			part, size, tokens = nil, 0, 0
		}
		part = append(part, bulkItem{i, body, event.SourceEventID != nil && *event.SourceEventID != ""})
		size, tokens = size+len(body)+1, tokens+more
	}
	return b.report, b.send(ctx, part)
}

// bulk is a SendEvents in progress.
type bulk struct {
	client  *Client
	options []CallOption
	report  BulkReport
}

// bulkItem is an event to send.
type bulkItem struct {
	index int
	body  []byte
	hasID bool // a source_event_id, without which it is no duplicate
}

// bulkAnswer is EventBulkResult and the warnings, where the server gives any.
type bulkAnswer struct {
	EventBulkResult
	Warnings []struct {
		Index    int      `json:"index"`
		Warnings []string `json:"warnings"`
	} `json:"warnings"`
}

// send sends some of the events in one request; in several if that is too large for the server, or for a proxy.
func (b *bulk) send(ctx context.Context, part []bulkItem) error {
	if len(part) == 0 {
		return nil
	}
	bodies := make([][]byte, len(part))
	for i, item := range part {
		bodies[i] = item.body
	}
	body := slices.Concat([]byte(`{"events":[`), bytes.Join(bodies, []byte(",")), []byte("]}"))
	answer, err := sendBulk[bulkAnswer](ctx, b.client, json.RawMessage(body), len(part), b.optionsOf(part))
	if err == nil {
		b.count(part, answer)
		return nil
	}
	failure, _ := asError[*Error](err)
	tooLarge := failure != nil && failure.Status == http.StatusRequestEntityTooLarge
	if half := len(part) / 2; tooLarge && half > 0 {
		if err := b.send(ctx, part[:half]); err != nil {
			return err
		}
		return b.send(ctx, part[half:])
	}
	if tooLarge {
		b.refuse(part[0].index, failure.Error())
		return nil
	}
	if failure != nil && failure.MaybeDone {
		for _, item := range part {
			b.report.set(item.index, EventOutcome{Outcome: OutcomeUnknown})
		}
	}
	return fmt.Errorf("send events %d to %d: %w", part[0].index, part[len(part)-1].index, err)
}

// optionsOf makes a key for the request out of the caller's.
func (b *bulk) optionsOf(part []bulkItem) []CallOption {
	r := &call{header: http.Header{}}
	for _, option := range b.options {
		option(r)
	}
	if r.key == "" {
		return b.options
	}
	return with(b.options, WithIdempotencyKey(fmt.Sprintf("%s/%d-%d", r.key, part[0].index, part[len(part)-1].index)))
}

func (b *bulk) refuse(index int, message string) {
	b.report.set(index, EventOutcome{Outcome: OutcomeRefused, Fields: map[string][]string{NonFieldErrors: {message}}})
}

// count takes what became of the events of one request.
func (b *bulk) count(part []bulkItem, answer *bulkAnswer) {
	b.report.Created += int(answer.Created)
	b.report.Duplicates += int(answer.Duplicates)
	refused, warnings := map[int]map[string][]string{}, map[int][]string{}
	for _, e := range answer.Errors {
		fields := map[string][]string{}
		flatten(fields, "", map[string]any(e.Errors))
		refused[int(e.Index)] = fields
	}
	for _, w := range answer.Warnings {
		warnings[w.Index] = w.Warnings
	}
	withID := 0
	for i, item := range part {
		if refused[i] == nil && item.hasID {
			withID++
		}
	}
	for i, item := range part {
		outcome := EventOutcome{Outcome: OutcomeStored, Warnings: warnings[i]}
		switch {
		case refused[i] != nil:
			outcome = EventOutcome{Outcome: OutcomeRefused, Fields: refused[i]}
		case !item.hasID || answer.Duplicates == 0:
			outcome.Outcome = OutcomeCreated
		case int(answer.Duplicates) == withID:
			outcome.Outcome = OutcomeDuplicate
		}
		b.report.set(item.index, outcome)
	}
}
