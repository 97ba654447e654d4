package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

// An auditEntry says what a change did: to which object of which hospital, nil for none, and which of its fields
// changed, by their wire names.
type auditEntry struct {
	noun     string
	id       uuid.UUID
	hospital *uuid.UUID
	fields   []string
}

// change runs f in a transaction that also writes the audit entry of what f did. f may run again: see queries.InTx.
func (s *Server) change(ctx context.Context, f func(*db.Queries) (auditEntry, error)) error {
	return s.changeAs(ctx, requestOf(ctx).principal, f)
}

// changeAs is change for an operation whose request is anonymous: a token in the body tells who acts.
func (s *Server) changeAs(ctx context.Context, actor auth.Principal, f func(*db.Queries) (auditEntry, error)) error {
	r := requestOf(ctx)
	by := db.AuditInsertParams{
		ActorKind: "user", ActorID: &actor.UserID, ActorName: actor.Username, Operation: r.operation.ID, ClientIP: r.clientIP, RequestID: r.id,
	}
	if actor.Kind == auth.KindAPIKey {
		by.ActorKind, by.ActorID = "key", &actor.ConfigID
	}
	return s.record(ctx, by, f)
}

// command is change for the px360 program itself: no request, no user.
func (s *Server) command(ctx context.Context, operation string, f func(*db.Queries) (auditEntry, error)) error {
	return s.record(ctx, db.AuditInsertParams{ActorKind: "command", ActorName: "px360", Operation: operation}, f)
}

func (s *Server) record(ctx context.Context, by db.AuditInsertParams, f func(*db.Queries) (auditEntry, error)) error {
	return s.db.InTx(ctx, func(q *db.Queries) error {
		e, err := f(q)
		if err != nil {
			return err
		}
		entry := by
		entry.ObjectType, entry.ObjectID, entry.Hospital, entry.ChangedFields = e.noun, e.id, e.hospital, append([]string{}, e.fields...)
		return q.AuditInsert(ctx, entry)
	})
}

func (s *Server) newAudit(c *checks) api.AuditEntryResource {
	return newList[api.ListAuditEntriesParams](s, c, (*db.Queries).AuditList, (*db.Queries).AuditCount,
		func(row db.AuditListRow) api.AuditEntry { return api.AuditEntry(row) },
		func(p page[api.AuditEntry]) api.AuditEntryList { return api.AuditEntryList(p) }, "Self")
}
