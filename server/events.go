package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

var events = &collection[api.Event, db.EventListParams]{
	noun: "event",
	list: func(q *db.Queries, ctx context.Context, filter db.EventListParams) ([]api.Event, error) {
		rows, err := q.EventList(ctx, filter)
		return each(rows, err, func(row db.EventListRow) api.Event { return api.Event(row) })
	},
	count: func(q *db.Queries, ctx context.Context, filter db.EventListParams) (int64, error) {
		return q.EventCount(ctx, fill[db.EventCountParams](filter))
	},
}

const (
	messageOtherEvent = "Another event was stored under this source_event_id."
	pending           = "pending"
)

func (s *Server) ListEvents(ctx context.Context, r api.ListEventsRequestObject) (api.ListEventsResponseObject, error) {
	page, err := listPage(ctx, s, events, r.Params)
	return api.ListEvents200JSONResponse(page), err
}

func (s *Server) RetrieveEvent(ctx context.Context, r api.RetrieveEventRequestObject) (api.RetrieveEventResponseObject, error) {
	row, err := retrieve(ctx, s, events, r.ID)
	return api.RetrieveEvent200JSONResponse(row), err
}

// CreateEvent stores an event. Once it is answered, the event is durable and will be processed.
func (s *Server) CreateEvent(ctx context.Context, r api.CreateEventRequestObject) (api.CreateEventResponseObject, error) {
	if wrong := checkSource(requestOf(ctx).principal, *r.Body); wrong != nil {
		return nil, invalid(wrong)
	}
	insert, err := insertion(ctx, []api.EventCreate{*r.Body})
	if err != nil {
		return nil, err
	}
	answer, err := idempotent(ctx, s, r.Params.IdempotencyKey, func(q eventStore) (int, api.EventReceipt, error) {
		outcomes, err := store(ctx, q, insert)
		if err != nil {
			return 0, api.EventReceipt{}, err
		}
		switch o := outcomes[0]; {
		case o.conflict:
			return 0, api.EventReceipt{}, conflict(messageOtherEvent)
		case o.duplicate:
			return http.StatusOK, o.receipt, nil
		default:
			return http.StatusCreated, o.receipt, nil
		}
	})
	if err != nil {
		return nil, err
	}
	if answer.status == http.StatusOK {
		return api.CreateEvent200JSONResponse(answer.body), nil
	}
	s.waker.wake()
	return api.CreateEvent201JSONResponse(answer.body), nil
}

// BulkCreateEvents stores those events of a list that are in order, each on its own account; the
// order of the list is the order in which they are processed.
func (s *Server) BulkCreateEvents(ctx context.Context, r api.BulkCreateEventsRequestObject) (api.BulkCreateEventsResponseObject, error) {
	reading, principal := requestOf(ctx).reading, requestOf(ctx).principal
	result := api.EventBulkResult{Errors: []api.EventBulkError{}}
	refuse := func(index int, errs fieldErrors) {
		result.Failed++
		result.Errors = append(result.Errors, api.EventBulkError{Index: int32(index), Errors: map[string]any(errs)})
	}
	for index, errs := range reading.itemErrors {
		refuse(index, errs)
	}
	var good []api.EventCreate
	var positions []int
	for i, event := range r.Body.Events {
		if wrong := checkSource(principal, event); wrong != nil {
			refuse(reading.positions[i], wrong)
			continue
		}
		good, positions = append(good, event), append(positions, reading.positions[i])
	}
	insert, err := insertion(ctx, good)
	if err != nil {
		return nil, err
	}
	answer, err := idempotent(ctx, s, r.Params.IdempotencyKey, func(q eventStore) (int, api.EventBulkResult, error) {
		result := result // it may run again
		result.Errors = slices.Clone(result.Errors)
		outcomes, err := store(ctx, q, insert)
		if err != nil {
			return 0, result, err
		}
		for i, o := range outcomes {
			switch {
			case o.conflict:
				result.Failed++
				result.Errors = append(result.Errors, api.EventBulkError{Index: int32(positions[i]), Errors: map[string]any{"source_event_id": []string{messageOtherEvent}}})
			case o.duplicate:
				result.Duplicates++
			default:
				result.Created++
			}
		}
		sort.Slice(result.Errors, func(i, j int) bool { return result.Errors[i].Index < result.Errors[j].Index })
		if result.Created > 0 {
			return http.StatusCreated, result, nil
		}
		return http.StatusOK, result, nil
	})
	switch {
	case err != nil:
		return nil, err
	case answer.body.Created > 0:
		s.waker.wake()
		return api.BulkCreateEvents201JSONResponse(answer.body), nil
	case answer.body.Duplicates == 0:
		return nil, &problem{status: http.StatusBadRequest, body: answer.body}
	}
	return api.BulkCreateEvents200JSONResponse(answer.body), nil
}

// checkSource refuses an event whose source system is not the one that the API key stands for.
func checkSource(p auth.Principal, event api.EventCreate) fieldErrors {
	if p.Kind == auth.KindAPIKey && event.SourceSystem != p.SourceSystem {
		return fieldErrors{"source_system": []string{fmt.Sprintf("This API key is for the source system %q.", p.SourceSystem)}}
	}
	return nil
}

// An outcome is what storing one event came to.
type outcome struct {
	receipt   api.EventReceipt
	duplicate bool // the same event was stored before
	conflict  bool // another event was stored under the same source id
}

// insertion is what storing the events takes. Their ids are made here, once, so that storing them again
// stores nothing twice.
func insertion(ctx context.Context, list []api.EventCreate) (db.EventInsertParams, error) {
	r := requestOf(ctx)
	hospital, kind, sender := uuid.Nil, "user", r.principal.UserID
	if scope := r.principal.Scope(); scope != nil {
		hospital = *scope
		if hospital == uuid.Nil { // in a scope that is no hospital, in an event every one
			return db.EventInsertParams{}, errForbidden
		}
	}
	if r.principal.Kind == auth.KindAPIKey {
		kind, sender = "key", r.principal.ConfigID
	}
	insert := db.EventInsertParams{
		Hospitals: []uuid.UUID{hospital}, SenderKinds: []string{kind}, SenderIds: []uuid.UUID{sender},
		ClientIps: []string{r.clientIP}, RequestIds: []string{r.id},
	}
	for _, e := range list {
		insert.Ids = append(insert.Ids, newID())
		insert.SourceSystems = append(insert.SourceSystems, e.SourceSystem)
		insert.EventCodes = append(insert.EventCodes, e.EventCode)
		insert.EncounterIds = append(insert.EncounterIds, e.EncounterID)
		insert.PatientIdentifiers = append(insert.PatientIdentifiers, text(e.PatientIdentifier))
		payload := "{}"
		if e.PayloadJSON != nil {
			payload = string(*e.PayloadJSON)
		}
		insert.Payloads = append(insert.Payloads, payload)
		insert.SourceEventIds = append(insert.SourceEventIds, text(e.SourceEventID))
		insert.Requests = append(insert.Requests, 1)
	}
	return insert, nil
}

// store inserts events in one statement, in their order. It may be asked twice for the same ones.
func store(ctx context.Context, q eventStore, insert db.EventInsertParams) ([]outcome, error) {
	if len(insert.Ids) == 0 {
		return nil, nil
	}
	rows, err := q.EventInsert(ctx, insert)
	if err != nil {
		return nil, queries.Violation(err)
	}
	received := make(map[uuid.UUID]time.Time, len(rows))
	for _, row := range rows {
		received[row.ID] = row.ReceivedAt
	}
	outcomes := make([]outcome, len(insert.Ids))
	var known []int32
	for i, id := range insert.Ids {
		at, stored := received[id]
		if !stored {
			known = append(known, int32(i))
			continue
		}
		outcomes[i].receipt = api.EventReceipt{
			ID: id, SourceSystem: insert.SourceSystems[i], EventCode: insert.EventCodes[i], EncounterID: insert.EncounterIds[i],
			Status: pending, ReceivedAt: at,
		}
	}
	return outcomes, findStored(ctx, q, insert, known, outcomes)
}

// findStored looks up the events that were stored before, and whether they said the same.
func findStored(ctx context.Context, q eventStore, sent db.EventInsertParams, known []int32, outcomes []outcome) error {
	if len(known) == 0 {
		return nil
	}
	arg := db.EventStoredParams{Hospital: &sent.Hospitals[0], Positions: known}
	if sent.Hospitals[0] == uuid.Nil {
		arg.Hospital = nil
	}
	for _, i := range known {
		arg.Ids = append(arg.Ids, sent.Ids[i])
		arg.SourceSystems = append(arg.SourceSystems, sent.SourceSystems[i])
		arg.EventCodes = append(arg.EventCodes, sent.EventCodes[i])
		arg.EncounterIds = append(arg.EncounterIds, sent.EncounterIds[i])
		arg.PatientIdentifiers = append(arg.PatientIdentifiers, sent.PatientIdentifiers[i])
		arg.Payloads = append(arg.Payloads, sent.Payloads[i])
		arg.SourceEventIds = append(arg.SourceEventIds, sent.SourceEventIds[i])
	}
	rows, err := q.EventStored(ctx, arg)
	for _, row := range rows {
		outcomes[row.I] = outcome{receipt: fill[api.EventReceipt](row), duplicate: !row.Own && row.Same, conflict: !row.Same}
	}
	if err == nil && len(rows) != len(known) {
		return fmt.Errorf("%d events were neither stored nor found", len(known)-len(rows))
	}
	return err
}

// ReprocessEvent queues an event again that failed or was ignored.
func (s *Server) ReprocessEvent(ctx context.Context, r api.ReprocessEventRequestObject) (api.ReprocessEventResponseObject, error) {
	var row api.Event
	err := s.change(ctx, func(q *db.Queries, record *audit) error {
		queued, err := q.EventReprocess(ctx, r.ID)
		if err != nil {
			return err
		}
		if row, err = events.one(ctx, q, s.scope(ctx), r.ID); err != nil {
			return err
		}
		if queued == 0 {
			return conflict("Only failed and ignored events can be reprocessed; this one is " + row.Status + ".")
		}
		record.object("event", r.ID, row.Hospital, []string{"status"})
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.waker.wake()
	return api.ReprocessEvent200JSONResponse(row), nil
}
