package server

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// eventOperations are those that put events into the queue.
type eventOperations struct {
	engine   *engine
	batcher  *batcher
	notifier *notifier
}

func newEvents(e *engine) api.EventResource {
	return struct {
		list[api.ListEventsParams, api.EventList]
		*reader[api.Event]
	}{
		newList[api.ListEventsParams](e, (*db.Queries).EventList,
			func(row db.EventListRow) api.Event { return eventOf(db.EventGetRow(row)) },
			func(p page[api.Event]) api.EventList { return api.EventList(p) }, "SenderKey"),
		&reader[api.Event]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Event, error) {
			found, err := q.EventGet(ctx, db.EventGetParams{ID: row.ID, SenderKey: requestOf(ctx).principal.SenderKey()})
			return eventOf(found), err
		}},
	}
}

// eventOf is an event as the API shows it. One that the rules have not decided on has the warnings of its receipt.
func eventOf(row db.EventGetRow) api.Event {
	if row.Status == rules.EventPending || row.Reason == rules.ReasonInternalError {
		row.Warnings = receiptWarnings(row.PayloadJSON, row.ReceivedAt)
	}
	return api.Event{
		ID: row.ID, Attempts: row.Attempts, CreatedAt: row.CreatedAt, EncounterID: row.EncounterID, ErrorMessage: row.ErrorMessage,
		EventCode: row.EventCode, Hospital: row.Hospital, JourneyInstance: row.JourneyInstance, PatientIdentifier: row.PatientIdentifier,
		PayloadJSON: row.PayloadJSON, ProcessedAt: row.ProcessedAt, Reason: row.Reason, ReceivedAt: row.ReceivedAt, SourceEventID: row.SourceEventID,
		SourceSystem: row.SourceSystem, StageInstance: row.StageInstance, Status: row.Status, Survey: row.Survey, UpdatedAt: row.UpdatedAt,
		Warnings: row.Warnings,
	}
}

// receiptWarnings are what can be said of an event without its journey.
func receiptWarnings(payload []byte, receivedAt time.Time) []string {
	_, warning := rules.HappenedAt(rules.TimestampOf(payload), receivedAt, nil)
	return warning.Messages()
}

const messageOtherEvent = "Another event was stored under this source_event_id."

// CreateEvent stores an event. Once it is answered, the event is durable and will be processed.
func (o eventOperations) CreateEvent(ctx context.Context, params api.CreateEventParams, body api.EventCreate) (status int, receipt api.EventReceipt, err error) {
	if wrong := checkSource(requestOf(ctx).principal, body); wrong != nil {
		return 0, receipt, problem.Invalid(wrong)
	}
	insert, err := insertion(ctx, []api.EventCreate{body})
	if err != nil {
		return 0, receipt, err
	}
	answer, err := idempotent(ctx, o, params.IdempotencyKey, func(events eventStore) (int, api.EventReceipt, error) {
		outcomes, err := store(ctx, events, insert)
		if err != nil {
			return 0, api.EventReceipt{}, err
		}
		switch o := outcomes[0]; {
		case o.conflict:
			return 0, api.EventReceipt{}, problem.Conflict(messageOtherEvent)
		case o.duplicate:
			return http.StatusOK, o.receipt, nil
		default:
			return http.StatusCreated, o.receipt, nil
		}
	})
	if err == nil && answer.status == http.StatusCreated {
		o.notifier.notify()
	}
	if answer.body.Warnings == nil { // an answer that was stored by a version without them
		answer.body.Warnings = []string{}
	}
	return answer.status, answer.body, err
}

// BulkCreateEvents stores those events of a list that are valid, each on its own account; the order of the list is the
// order in which they are processed.
func (o eventOperations) BulkCreateEvents(ctx context.Context, params api.BulkCreateEventsParams, body api.EventBulkCreate) (status int, result api.EventBulkResult, err error) {
	refused, good, positions := divideBulk(ctx, body)
	insert, err := insertion(ctx, good)
	if err != nil {
		return 0, result, err
	}
	answer, err := idempotent(ctx, o, params.IdempotencyKey, func(events eventStore) (int, api.EventBulkResult, error) {
		outcomes, err := store(ctx, events, insert)
		if err != nil {
			return 0, api.EventBulkResult{}, err
		}
		result := bulkResult(refused, outcomes, positions)
		if result.Created > 0 {
			return http.StatusCreated, result, nil
		}
		return http.StatusOK, result, nil
	})
	if answer.body.Warnings == nil { // as above
		answer.body.Warnings = []api.EventBulkWarning{}
	}
	switch {
	case err != nil:
		return 0, answer.body, err
	case answer.body.Created > 0:
		o.notifier.notify()
	case answer.body.Duplicates == 0:
		return 0, answer.body, &problem.Problem{Status: http.StatusBadRequest, Body: answer.body}
	}
	return answer.status, answer.body, nil
}

// divideBulk takes the events of a bulk apart: those that are refused by their index, those that are to be stored, and
// the index of each of these.
func divideBulk(ctx context.Context, body api.EventBulkCreate) (refused []api.EventBulkError, good []api.EventCreate, positions []int) {
	r := requestOf(ctx)
	refuse := func(index int, fields problem.Fields) {
		refused = append(refused, api.EventBulkError{Index: int32(index), Errors: map[string]any(fields)})
	}
	for index, fields := range r.body.ItemErrors {
		refuse(index, fields)
	}
	for i, event := range body.Events {
		if wrong := checkSource(r.principal, event); wrong != nil {
			refuse(r.body.Positions[i], wrong)
			continue
		}
		good, positions = append(good, event), append(positions, r.body.Positions[i])
	}
	return refused, good, positions
}

// bulkResult counts what became of a bulk. Its errors and warnings are in the order of the list.
func bulkResult(refused []api.EventBulkError, outcomes []outcome, positions []int) api.EventBulkResult {
	result := api.EventBulkResult{Errors: append([]api.EventBulkError{}, refused...), Warnings: []api.EventBulkWarning{}}
	for i, o := range outcomes {
		switch {
		case o.conflict:
			result.Errors = append(result.Errors, api.EventBulkError{
				Index: int32(positions[i]), Errors: map[string]any{"source_event_id": []string{messageOtherEvent}},
			})
		case o.duplicate:
			result.Duplicates++
		default:
			result.Created++
		}
		if !o.conflict && len(o.receipt.Warnings) > 0 {
			result.Warnings = append(result.Warnings, api.EventBulkWarning{Index: int32(positions[i]), Warnings: o.receipt.Warnings})
		}
	}
	result.Failed = int32(len(result.Errors))
	sort.Slice(result.Errors, func(i, j int) bool { return result.Errors[i].Index < result.Errors[j].Index })
	return result
}

// checkSource refuses an event whose source system is not the one that the API key stands for.
func checkSource(p auth.Principal, event api.EventCreate) problem.Fields {
	if p.Kind == auth.KindAPIKey && event.SourceSystem != p.SourceSystem {
		return problem.Fields{"source_system": []string{fmt.Sprintf("This API key is for the source system %q.", p.SourceSystem)}}
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
			return db.EventInsertParams{}, problem.Forbidden
		}
	}
	if r.principal.Kind == auth.KindAPIKey {
		kind, sender = "key", r.principal.ConfigID
	}
	insert := db.EventInsertParams{
		Hospitals: []uuid.UUID{hospital}, AmongHospitals: []string{arrayLiteral(r.principal.Hospitals)}, SenderKinds: []string{kind}, SenderIds: []uuid.UUID{sender},
		ClientIps: []string{r.clientIP}, RequestIds: []string{r.id},
	}
	for _, e := range list {
		insert.Ids = append(insert.Ids, newID())
		insert.SourceSystems = append(insert.SourceSystems, e.SourceSystem)
		insert.EventCodes = append(insert.EventCodes, e.EventCode)
		insert.EncounterIds = append(insert.EncounterIds, e.EncounterID)
		insert.PatientIdentifiers = append(insert.PatientIdentifiers, value(e.PatientIdentifier))
		payload := "{}"
		if e.PayloadJSON != nil {
			payload = string(*e.PayloadJSON)
		}
		insert.Payloads = append(insert.Payloads, payload)
		insert.SourceEventIds = append(insert.SourceEventIds, value(e.SourceEventID))
		insert.Requests = append(insert.Requests, 1)
	}
	return insert, nil
}

// arrayLiteral is ids as the text of an array in SQL.
func arrayLiteral(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// store inserts events in one statement, in their order. It may be asked twice for the same ones.
func store(ctx context.Context, q eventStore, insert db.EventInsertParams) ([]outcome, error) {
	if len(insert.Ids) == 0 {
		return nil, nil
	}
	rows, err := q.EventInsert(ctx, insert)
	if err != nil {
		return nil, err
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
			Status: rules.EventPending, ReceivedAt: at, Warnings: receiptWarnings([]byte(insert.Payloads[i]), at),
		}
	}
	err = findStored(ctx, q, insert, known, outcomes)
	if err != nil && len(rows) > 0 { // outside a transaction those are committed
		err = queries.Committed(err)
	}
	return outcomes, err
}

// findStored looks up the events that were stored before, and whether they said the same.
func findStored(ctx context.Context, q eventStore, sent db.EventInsertParams, known []int32, outcomes []outcome) error {
	if len(known) == 0 {
		return nil
	}
	arg := db.EventStoredParams{Hospital: &sent.Hospitals[0], SenderKind: sent.SenderKinds[0], SenderID: sent.SenderIds[0], Positions: known}
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
		receipt := api.EventReceipt{
			ID: row.ID, SourceSystem: row.SourceSystem, EventCode: row.EventCode, EncounterID: row.EncounterID,
			Status: rules.EventPending, ReceivedAt: row.ReceivedAt, Warnings: []string{},
		}
		if row.SameSender { // what became of the event is nobody else's business
			receipt.Status, receipt.Warnings = row.Status, receiptWarnings([]byte(sent.Payloads[row.I]), row.ReceivedAt)
		}
		outcomes[row.I] = outcome{receipt: receipt, duplicate: !row.Own && row.Same, conflict: !row.Same}
	}
	if err == nil && len(rows) != len(known) {
		return fmt.Errorf("%d events were neither stored nor found", len(known)-len(rows))
	}
	return err
}

// ReprocessEvent puts an event back into the queue that failed or was ignored.
func (o eventOperations) ReprocessEvent(ctx context.Context, id uuid.UUID) (answer api.Event, err error) {
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		queued, err := q.EventReprocess(ctx, id)
		if err != nil {
			return auditEntry{}, err
		}
		row, err := q.EventGet(ctx, db.EventGetParams{ID: id})
		switch {
		case queries.NoRows(err):
			return auditEntry{}, problem.NotFound
		case err != nil:
			return auditEntry{}, err
		case queued == 0:
			return auditEntry{}, problem.Conflict("Only failed and ignored events can be reprocessed; this one is " + row.Status + ".")
		}
		answer = eventOf(row)
		return auditEntry{"event", id, row.Hospital, []string{"status"}}, nil
	})
	if err == nil {
		o.notifier.notify()
	}
	return answer, err
}
