package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

// An audit is the entry that a change leaves behind, in its own transaction.
type audit struct {
	entry db.AuditInsertParams
}

// object says what was changed.
func (a *audit) object(noun string, id uuid.UUID, hospital *uuid.UUID, fields []string) {
	a.entry.ObjectType, a.entry.ObjectID, a.entry.Hospital = noun, id, hospital
	if fields != nil {
		a.entry.ChangedFields = fields
	}
}

// change runs f in a transaction that also writes the audit entry of what f did.
func (s *Server) change(ctx context.Context, f func(*db.Queries, *audit) error) error {
	r := requestOf(ctx)
	return s.db.InTx(ctx, func(q *db.Queries) error {
		a := &audit{db.AuditInsertParams{
			ActorKind: "user", ActorID: &r.principal.UserID, ActorName: r.principal.Username,
			Operation: r.operation.id, ClientIP: r.clientIP, RequestID: r.id, ChangedFields: []string{},
		}}
		if r.principal.Kind == auth.KindAPIKey {
			a.entry.ActorKind, a.entry.ActorID = "key", &r.principal.ConfigID
		}
		if err := f(q, a); err != nil {
			return err
		}
		return q.AuditInsert(ctx, a.entry)
	})
}

// command is change for the px360 program itself: no request, no user.
func (s *Server) command(ctx context.Context, operation string, f func(*db.Queries, *audit) error) error {
	return s.db.InTx(ctx, func(q *db.Queries) error {
		a := &audit{db.AuditInsertParams{ActorKind: "command", ActorName: "px360", Operation: operation, ChangedFields: []string{}}}
		if err := f(q, a); err != nil {
			return err
		}
		return q.AuditInsert(ctx, a.entry)
	})
}

var auditEntries = &collection[api.AuditEntry, db.AuditListParams]{
	noun: "audit entry",
	list: func(q *db.Queries, ctx context.Context, filter db.AuditListParams) ([]api.AuditEntry, error) {
		rows, err := q.AuditList(ctx, filter)
		return each(rows, err, func(row db.AuditListRow) api.AuditEntry { return api.AuditEntry(row) })
	},
	count: func(q *db.Queries, ctx context.Context, filter db.AuditListParams) (int64, error) {
		return q.AuditCount(ctx, fill[db.AuditCountParams](filter))
	},
}

func (s *Server) ListAuditEntries(ctx context.Context, r api.ListAuditEntriesRequestObject) (api.ListAuditEntriesResponseObject, error) {
	page, err := listPage(ctx, s, auditEntries, r.Params)
	return api.ListAuditEntries200JSONResponse(page), err
}
