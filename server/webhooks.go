package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/rules/outbound"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

type webhookEndpointRows = resource[api.WebhookEndpoint, api.WebhookEndpointCreate, api.WebhookEndpointCreate, api.WebhookEndpointUpdate, db.WebhookEndpointInsertParams]

// webhookOperations are those that write a secret, or queue messages.
type webhookOperations struct {
	engine    *engine
	endpoints *webhookEndpointRows
	messages  *reader[api.WebhookMessage]
	sealer    rules.Sealer
	created   mapping[api.WebhookEndpointCreated, api.WebhookEndpoint]
}

// mostEndpoints is how many endpoints a hospital can have: each of its events becomes a message to each.
const mostEndpoints = 200

// newWebhookEndpoints makes what answers the operations on single endpoints.
func newWebhookEndpoints(e *engine, guard *outbound.Guard) *webhookEndpointRows {
	check := webhookChecks{guard}.check
	rows := &webhookEndpointRows{
		reader: reader[api.WebhookEndpoint]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.WebhookEndpoint, error) {
			found, err := q.WebhookEndpointGet(ctx, db.WebhookEndpointGetParams(row))
			return api.WebhookEndpoint(found), err
		}},
		noun: "webhook_endpoint",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.WebhookEndpointInsertParams, error) {
			found, err := q.WebhookEndpointLock(ctx, db.WebhookEndpointLockParams(row))
			return db.WebhookEndpointInsertParams(found), err
		},
		insert: (*db.Queries).WebhookEndpointInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.WebhookEndpointInsertParams) error {
			return q.WebhookEndpointUpdate(ctx, db.WebhookEndpointUpdateParams(fields))
		},
		remove:   (*db.Queries).WebhookEndpointDelete,
		defaults: db.WebhookEndpointInsertParams{Status: endpointActive},
		id:       func(fields *db.WebhookEndpointInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.WebhookEndpointInsertParams) *uuid.UUID { return fields.Hospital },
		hooks: hooks[db.WebhookEndpointInsertParams]{
			lockForCreate: func(ctx context.Context, q *db.Queries, stated db.WebhookEndpointInsertParams) error {
				if stated.Hospital == nil {
					return nil
				}
				return lockHospitals(ctx, q, uuid.Nil, *stated.Hospital) // so that two do not both become the last one
			},
			checkCreate: func(ctx context.Context, q *db.Queries, w *write[db.WebhookEndpointInsertParams]) error {
				if err := check(ctx, q, w); err != nil || w.row.Hospital == nil {
					return err
				}
				there, err := q.WebhookEndpointCount(ctx, w.row.Hospital)
				if err == nil && there >= mostEndpoints {
					err = problem.Conflict(fmt.Sprintf("A hospital has %d webhook endpoints at most.", mostEndpoints))
				}
				return err
			},
			checkUpdate: check,
		},
	}
	return rows.bind(e)
}

// newWebhookEndpointResource answers the plain reads and writes.
func newWebhookEndpointResource(e *engine, rows *webhookEndpointRows) api.WebhookEndpointResource {
	return struct {
		list[api.ListWebhookEndpointsParams, api.WebhookEndpointList]
		*webhookEndpointRows
	}{
		newList[api.ListWebhookEndpointsParams](e, (*db.Queries).WebhookEndpointList,
			func(row db.WebhookEndpointListRow) api.WebhookEndpoint { return api.WebhookEndpoint(row) },
			func(p page[api.WebhookEndpoint]) api.WebhookEndpointList { return api.WebhookEndpointList(p) }, "Scope"),
		rows,
	}
}

func newWebhookMessages(e *engine) *reader[api.WebhookMessage] {
	return &reader[api.WebhookMessage]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.WebhookMessage, error) {
		found, err := q.WebhookMessageGet(ctx, db.WebhookMessageGetParams(row))
		return api.WebhookMessage(found), err
	}}
}

// newWebhookMessageResource answers the reads of messages.
func newWebhookMessageResource(e *engine, messages *reader[api.WebhookMessage]) api.WebhookMessageResource {
	return struct {
		list[api.ListWebhookMessagesParams, api.WebhookMessageList]
		*reader[api.WebhookMessage]
	}{
		newList[api.ListWebhookMessagesParams](e, (*db.Queries).WebhookMessageList,
			func(row db.WebhookMessageListRow) api.WebhookMessage { return api.WebhookMessage(row) },
			func(p page[api.WebhookMessage]) api.WebhookMessageList { return api.WebhookMessageList(p) }, "Scope"),
		messages,
	}
}

// Where an endpoint stands: WebhookEndpointStatus of the contract.
const (
	endpointActive   = "active"
	endpointDisabled = "disabled"
)

// webhookChecks refuse what no schema can tell.
type webhookChecks struct{ guard *outbound.Guard }

func (c webhookChecks) check(_ context.Context, _ *db.Queries, w *write[db.WebhookEndpointInsertParams]) error {
	fields := problem.Fields{}
	if w.row.Hospital == nil && !w.principal.IsPXAdmin() {
		fields.Add("hospital", contract.MessageRequired)
	}
	if w.row.URL != w.old.URL && c.guard.CheckURL(w.row.URL) != nil {
		fields.Add("url", "The address must be https and public.")
	}
	if len(slices.Compact(slices.Sorted(slices.Values(w.row.Events)))) < len(w.row.Events) {
		fields.Add("events", "Name each type once.")
	}
	if len(fields) > 0 {
		return problem.Invalid(fields)
	}
	switch {
	case w.row.Status == w.old.Status && w.row.URL == w.old.URL:
	case w.row.Status == endpointActive: // it gets another chance
		w.row.DisabledReason, w.row.FailingSince = "", nil
	case w.row.Status != w.old.Status:
		w.row.DisabledReason = "by_user"
	}
	return nil
}

// CreateWebhookEndpoint makes an endpoint, and shows its secret in this one answer.
func (o webhookOperations) CreateWebhookEndpoint(ctx context.Context, body api.WebhookEndpointCreate) (api.WebhookEndpointCreated, error) {
	secret, text := rules.NewWebhookSecret()
	row, err := o.endpoints.createWith(ctx, body, func(_ context.Context, _ *db.Queries, w *write[db.WebhookEndpointInsertParams]) error {
		w.row.Secret = o.sealer.Seal(secret, w.id[:])
		return nil
	})
	answer := o.created.convert(row)
	answer.Secret = text
	return answer, err
}

// defaultOverlap is for how many hours a secret signs beside the next one.
const defaultOverlap = 24

// RotateWebhookSecret makes another secret. For a while the one before signs too.
func (o webhookOperations) RotateWebhookSecret(ctx context.Context, id uuid.UUID, body api.WebhookSecretRotation) (api.WebhookSecret, error) {
	secret, text := rules.NewWebhookSecret()
	answer := api.WebhookSecret{ID: id, Secret: text}
	_, err := o.endpoints.updateWith(ctx, id, api.WebhookEndpointUpdate{}, func(ctx context.Context, q *db.Queries, w *write[db.WebhookEndpointInsertParams]) error {
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if w.row.PreviousUntil != nil && now.Before(*w.row.PreviousUntil) {
			return problem.Conflict("The secret before signs until " + w.row.PreviousUntil.Format(time.RFC3339) + ".")
		}
		overlap := int32(defaultOverlap)
		if body.OverlapHours != nil {
			overlap = *body.OverlapHours
		}
		until := now.Add(time.Duration(overlap) * time.Hour)
		w.row.PreviousSecret, w.row.PreviousUntil, w.row.Secret = w.row.Secret, &until, o.sealer.Seal(secret, w.id[:])
		w.changed = append(w.changed, "secret")
		answer.PreviousSecretUntil = until
		return nil
	})
	return answer, err
}

// TestWebhookEndpoint queues a message that tells of nothing.
func (o webhookOperations) TestWebhookEndpoint(ctx context.Context, id uuid.UUID) (answer api.WebhookMessage, err error) {
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		endpoint, err := o.active(ctx, q, id)
		if err != nil {
			return auditEntry{}, err
		}
		message := newID()
		if err := q.WebhookTest(ctx, db.WebhookTestParams{ID: message, Endpoint: id}); err != nil {
			return auditEntry{}, err
		}
		answer, err = o.messages.one(ctx, q, message)
		return auditEntry{"webhook_endpoint", id, endpoint.Hospital, []string{}}, err
	})
	return answer, err
}

// active locks an endpoint that must be active.
func (o webhookOperations) active(ctx context.Context, q *db.Queries, id uuid.UUID) (db.WebhookEndpointInsertParams, error) {
	endpoint, err := o.endpoints.locked(ctx, q, id)
	if err == nil && endpoint.Status != endpointActive {
		err = problem.Conflict("The endpoint is disabled.")
	}
	return endpoint, err
}

// mostReplayed is how many events a replay queues at most.
const mostReplayed = 10_000

// ReplayWebhookEvents queues the events of a time again.
func (o webhookOperations) ReplayWebhookEvents(ctx context.Context, id uuid.UUID, body api.WebhookReplay) (answer api.WebhookReplayResult, err error) {
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		endpoint, err := o.endpoints.locked(ctx, q, id)
		if err != nil {
			return auditEntry{}, err
		}
		until, err := q.Now(ctx)
		if err != nil {
			return auditEntry{}, err
		}
		if body.Until != nil {
			until = *body.Until
		}
		if !body.Since.Before(until) {
			return auditEntry{}, problem.InvalidField("until", "It must be after since.")
		}
		answer.Queued, err = q.WebhookReplay(ctx, db.WebhookReplayParams{
			Endpoint: id, Hospital: endpoint.Hospital, Events: endpoint.Events, Since: body.Since, Until: until, OnlyFailed: value(body.OnlyFailed), Most: mostReplayed,
		})
		answer.IsComplete = answer.Queued < mostReplayed
		return auditEntry{"webhook_endpoint", id, endpoint.Hospital, []string{}}, err
	})
	return answer, err
}

// RedeliverWebhookMessage queues a message again.
func (o webhookOperations) RedeliverWebhookMessage(ctx context.Context, id uuid.UUID) (answer api.WebhookMessage, err error) {
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		message, err := o.messages.one(ctx, q, id)
		if err != nil {
			return auditEntry{}, err
		}
		endpoint, err := o.active(ctx, q, message.Endpoint)
		if err != nil {
			return auditEntry{}, err
		}
		if err := q.WebhookRedeliver(ctx, id); err != nil {
			return auditEntry{}, err
		}
		answer, err = o.messages.one(ctx, q, id)
		return auditEntry{"webhook_message", id, endpoint.Hospital, []string{"status"}}, err
	})
	return answer, err
}
