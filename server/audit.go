package server

import (
	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
)

func newAudit(e *engine) api.AuditEntryResource {
	return newList[api.ListAuditEntriesParams](e, (*db.Queries).AuditList,
		func(row db.AuditListRow) api.AuditEntry { return api.AuditEntry(row) },
		func(p page[api.AuditEntry]) api.AuditEntryList { return api.AuditEntryList(p) }, "Scope")
}
