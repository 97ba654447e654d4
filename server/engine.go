package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// An engine is what the operations of all nouns work with: the database, and changes that leave an audit entry. It
// knows no noun.
type engine struct {
	db        *queries.DB
	publicURL string // base of the links between pages
	cursors   cursors
	checks    checks // of the generated code, while the server is made
}

// An auditEntry says what a change did: to which object of which hospital, nil for none, and which of its fields
// changed, by their wire names.
type auditEntry struct {
	noun     string
	id       uuid.UUID
	hospital *uuid.UUID
	fields   []string
}

// change runs f in a transaction that also writes the audit entry of what f did. f may run again: see queries.InTx.
func (e *engine) change(ctx context.Context, f func(*db.Queries) (auditEntry, error)) error {
	return e.changeAs(ctx, requestOf(ctx).principal, f)
}

// changeAs is change for an operation whose request is anonymous: a token in the body tells who acts.
func (e *engine) changeAs(ctx context.Context, actor auth.Principal, f func(*db.Queries) (auditEntry, error)) error {
	r := requestOf(ctx)
	by := db.AuditInsertParams{
		ActorKind: "user", ActorID: &actor.UserID, ActorName: actor.Username, Operation: r.operation.ID, ClientIP: r.clientIP, RequestID: r.id,
	}
	if actor.Kind == auth.KindAPIKey {
		by.ActorKind, by.ActorID = "key", &actor.ConfigID
	}
	return e.record(ctx, by, f)
}

// command is change for the px360 program itself: no request, no user.
func (e *engine) command(ctx context.Context, operation string, f func(*db.Queries) (auditEntry, error)) error {
	return e.record(ctx, db.AuditInsertParams{ActorKind: "command", ActorName: "px360", Operation: operation}, f)
}

func (e *engine) record(ctx context.Context, by db.AuditInsertParams, f func(*db.Queries) (auditEntry, error)) error {
	return e.db.InTx(ctx, func(q *db.Queries) error {
		did, err := f(q)
		if err != nil {
			return err
		}
		entry := by
		entry.ObjectType, entry.ObjectID, entry.Hospital, entry.ChangedFields = did.noun, did.id, did.hospital, append([]string{}, did.fields...)
		return q.AuditInsert(ctx, entry)
	})
}
