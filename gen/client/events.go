package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
)

// StoredEvent is an event that the server keeps and will process.
type StoredEvent struct {
	EventReceipt
	// Duplicate is true if the same event was stored before, under its source_event_id.
	Duplicate bool
}

// CreateEvent stores an event durably, to be processed in the order of arrival within its encounter. It carries an
// Idempotency-Key: where the connection is lost, it is sent again and stored once.
//
//	POST /api/integrations/events/
func (c *Client) CreateEvent(ctx context.Context, body EventCreate, options ...CallOption) (*StoredEvent, error) {
	var answer Answer
	receipt, err := send[EventReceipt](ctx, c, createEvent(body), with(options, WithAnswer(&answer)))
	if err != nil {
		return nil, err
	}
	return &StoredEvent{*receipt, answer.Status == http.StatusOK}, nil
}

// BulkCreateEvents stores up to 1,000 events in one request, each on its own account; SendEvents takes any number. That
// every event was refused is a result too, and no error.
//
//	POST /api/integrations/events/bulk_create/
func (c *Client) BulkCreateEvents(ctx context.Context, body EventBulkCreate, options ...CallOption) (*EventBulkResult, error) {
	return sendBulk[EventBulkResult](ctx, c, body, len(body.Events), options)
}

// with is the options and one more, which comes last.
func with(options []CallOption, more ...CallOption) []CallOption { return slices.Concat(options, more) }

var errNotCounted = errors.New("the answer does not count the events that were sent")

// sendBulk makes a request for n events and reads what became of them into T, whose JSON is that of EventBulkResult.
func sendBulk[T any](ctx context.Context, c *Client, body any, n int, options []CallOption) (*T, error) {
	raw, err := send[json.RawMessage](ctx, c, bulkCreateEvents(body), options)
	if err != nil {
		failure, ok := asError[*Error](err)
		if !ok || failure.Status != http.StatusBadRequest || !counts(failure.Body, n) {
			return nil, err
		}
		raw = (*json.RawMessage)(&failure.Body) // every event was refused
		if r, err := c.call(bulkCreateEvents(nil), options); err == nil {
			for _, wanted := range r.answers {
				*wanted = Answer{failure.Status, failure.Header}
			}
		}
	}
	result := new(T)
	if err := json.Unmarshal(*raw, result); err != nil || !counts(*raw, n) {
		r, _ := c.call(bulkCreateEvents(nil), nil)
		failure := r.failed("", errNotCounted)
		failure.Body, failure.MaybeDone = *raw, true
		return nil, failure
	}
	return result, nil
}

// counts tells whether an answer says of n events what became of them.
func counts(body []byte, n int) bool {
	var result EventBulkResult
	return json.Unmarshal(body, &result) == nil && int(result.Created+result.Duplicates+result.Failed) == n
}
