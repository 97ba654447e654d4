package server

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

// rowID names a row as the caller may see it: nil scope is every hospital's.
type rowID struct {
	ID    uuid.UUID
	Scope *uuid.UUID
}

// A reader answers the retrieve operation of a noun. Answer is what the API shows of a row.
type reader[Answer any] struct {
	server *Server
	get    func(q *db.Queries, ctx context.Context, row rowID) (Answer, error) // a query, as sqlc generated it
}

// Retrieve answers a row within the caller's scope.
func (r *reader[Answer]) Retrieve(ctx context.Context, id uuid.UUID) (answer Answer, err error) {
	err = r.server.db.Read(ctx, func(q *db.Queries) error {
		answer, err = r.one(ctx, q, id)
		return err
	})
	return answer, err
}

func (r *reader[Answer]) one(ctx context.Context, q *db.Queries, id uuid.UUID) (Answer, error) {
	answer, err := r.get(q, ctx, rowID{id, requestOf(ctx).principal.Scope()})
	if queries.NoRows(err) {
		err = problem.NotFound
	}
	return answer, err
}

// A resource answers the operations on single rows of a noun: what is the same in every create, replace, update and
// delete. Create, Replace and Update are the bodies; Fields are the columns that a client writes, with the row's id.
// What a noun has of its own are its queries and its hooks: what neither the contract nor the schema can express.
type resource[Answer, Create, Replace, Update, Fields any] struct {
	reader[Answer]
	noun     string // in the audit
	lock     func(q *db.Queries, ctx context.Context, row rowID) (Fields, error)
	insert   func(*db.Queries, context.Context, Fields) error
	update   func(*db.Queries, context.Context, Fields) error
	remove   func(*db.Queries, context.Context, uuid.UUID) error
	defaults Fields                   // what a new row has where its body states nothing
	id       func(*Fields) *uuid.UUID // the id among the fields
	hospital func(Fields) *uuid.UUID  // whose row it is, for the audit; nil for no hospital's
	hooks[Fields]

	fromCreate  mapping[Fields, Create]
	fromReplace mapping[Fields, Replace]
	fromUpdate  mapping[Fields, Update]
}

// Hooks of a noun, each optional, in the order in which they are called. stated are the fields that a body states, and
// zero values elsewhere.
type hooks[Fields any] struct {
	// Locks that have to be taken before that of the row: see the lock order in package worker.
	lockForCreate func(ctx context.Context, q *db.Queries, stated Fields) error
	lockForUpdate func(ctx context.Context, q *db.Queries, id uuid.UUID, stated Fields) error
	lockForDelete func(ctx context.Context, q *db.Queries, id uuid.UUID) error
	// What must hold before the row is written. They may change it.
	checkCreate, checkUpdate hook[Fields]
	checkDelete              func(ctx context.Context, q *db.Queries, p auth.Principal, old Fields) error
	// What follows from the row once it is written.
	created, updated hook[Fields]
}

// A hook looks at a row on its way into the database.
type hook[Fields any] func(ctx context.Context, q *db.Queries, w *write[Fields]) error

// A write is a row on its way into the database.
type write[Fields any] struct {
	principal auth.Principal
	id        uuid.UUID
	old       Fields // in the hooks of an update: as it was
	row       Fields // as it will be
	stated    []string
	changed   []string
}

// states tells whether the body has the field with this wire name, be it with the old value or with null.
func (w *write[Fields]) states(name string) bool { return slices.Contains(w.stated, name) }

// bind resolves how bodies become rows. except names fields of bodies that are no columns, by their Go names.
func (r *resource[Answer, Create, Replace, Update, Fields]) bind(c *checks, except ...string) *resource[Answer, Create, Replace, Update, Fields] {
	r.fromCreate = newMapping[Fields, Create](c, present[Create](except)...)
	r.fromReplace = newMapping[Fields, Replace](c, present[Replace](except)...)
	r.fromUpdate = newMapping[Fields, Update](c, present[Update](except)...)
	return r
}

// Create writes a new row.
func (r *resource[Answer, Create, Replace, Update, Fields]) Create(ctx context.Context, body Create) (Answer, error) {
	return r.createWith(ctx, body, nil)
}

// Replace writes what the body states into the row. It differs from Update in the contract alone, which asks for more.
func (r *resource[Answer, Create, Replace, Update, Fields]) Replace(ctx context.Context, id uuid.UUID, body Replace) (Answer, error) {
	return r.replaceWith(ctx, id, body, nil)
}

// Update writes what the body states into the row.
func (r *resource[Answer, Create, Replace, Update, Fields]) Update(ctx context.Context, id uuid.UUID, body Update) (Answer, error) {
	return r.updateWith(ctx, id, body, nil)
}

// createWith is Create with a hook of its own after the noun's.
func (r *resource[Answer, Create, Replace, Update, Fields]) createWith(ctx context.Context, body Create, extra hook[Fields]) (answer Answer, err error) {
	err = r.server.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if r.lockForCreate != nil {
			if err := r.lockForCreate(ctx, q, r.fromCreate.convert(body)); err != nil {
				return auditEntry{}, err
			}
		}
		w := &write[Fields]{principal: requestOf(ctx).principal, id: newID(), row: r.defaults}
		*r.id(&w.row) = w.id
		w.stated, w.changed = r.fromCreate.copy(&w.row, body)
		answer, err = r.save(ctx, q, w, r.insert, r.checkCreate, extra, r.created)
		return auditEntry{r.noun, w.id, r.hospital(w.row), w.changed}, err
	})
	return answer, err
}

func (r *resource[Answer, Create, Replace, Update, Fields]) replaceWith(ctx context.Context, id uuid.UUID, body Replace, extra hook[Fields]) (Answer, error) {
	return updateRow(ctx, r, r.fromReplace, id, body, extra)
}

func (r *resource[Answer, Create, Replace, Update, Fields]) updateWith(ctx context.Context, id uuid.UUID, body Update, extra hook[Fields]) (Answer, error) {
	return updateRow(ctx, r, r.fromUpdate, id, body, extra)
}

func updateRow[Body, Answer, Create, Replace, Update, Fields any](
	ctx context.Context, r *resource[Answer, Create, Replace, Update, Fields], from mapping[Fields, Body], id uuid.UUID, body Body, extra hook[Fields],
) (answer Answer, err error) {
	err = r.server.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if r.lockForUpdate != nil {
			if err := r.lockForUpdate(ctx, q, id, from.convert(body)); err != nil {
				return auditEntry{}, err
			}
		}
		old, err := r.locked(ctx, q, id)
		if err != nil {
			return auditEntry{}, err
		}
		w := &write[Fields]{principal: requestOf(ctx).principal, id: id, old: old, row: old}
		w.stated, w.changed = from.copy(&w.row, body)
		answer, err = r.save(ctx, q, w, r.update, r.checkUpdate, extra, r.updated)
		return auditEntry{r.noun, id, r.hospital(w.row), w.changed}, err
	})
	return answer, err
}

// save checks a row, writes it, does what follows from it, and reads it as the API answers it.
func (r *resource[Answer, Create, Replace, Update, Fields]) save(
	ctx context.Context, q *db.Queries, w *write[Fields], store func(*db.Queries, context.Context, Fields) error, check, extra, after hook[Fields],
) (answer Answer, err error) {
	if err := checkBody(ctx, q); err != nil {
		return answer, err
	}
	stored := func(ctx context.Context, q *db.Queries, w *write[Fields]) error { return store(q, ctx, w.row) }
	for _, step := range []hook[Fields]{check, extra, stored, after} {
		if step == nil {
			continue
		}
		if err := step(ctx, q, w); err != nil {
			return answer, err
		}
	}
	return r.one(ctx, q, w.id)
}

// Delete deletes a row that nothing refers to.
func (r *resource[Answer, Create, Replace, Update, Fields]) Delete(ctx context.Context, id uuid.UUID) error {
	return r.server.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if r.lockForDelete != nil {
			if err := r.lockForDelete(ctx, q, id); err != nil {
				return auditEntry{}, err
			}
		}
		old, err := r.locked(ctx, q, id)
		if err == nil && r.checkDelete != nil {
			err = r.checkDelete(ctx, q, requestOf(ctx).principal, old)
		}
		if err != nil {
			return auditEntry{}, err
		}
		return auditEntry{r.noun, id, r.hospital(old), nil}, queries.Deleted(r.remove(q, ctx, id))
	})
}

// locked reads and locks the row, for a change to start from.
func (r *resource[Answer, Create, Replace, Update, Fields]) locked(ctx context.Context, q *db.Queries, id uuid.UUID) (Fields, error) {
	row, err := r.lock(q, ctx, rowID{id, requestOf(ctx).principal.Scope()})
	if queries.NoRows(err) {
		err = problem.NotFound
	}
	return row, err
}

// missingReferences are the positions of those references that lead nowhere as far as the caller may see.
func missingReferences(ctx context.Context, q *db.Queries, p auth.Principal, references []contract.Reference) ([]int32, error) {
	if len(references) == 0 {
		return nil, nil
	}
	arg := db.ReferenceMissingParams{Scope: p.Scope(), Self: &p.UserID}
	for i, ref := range references {
		arg.Positions = append(arg.Positions, int32(i))
		arg.Nouns = append(arg.Nouns, ref.Noun)
		arg.Ids = append(arg.Ids, ref.ID)
	}
	return q.ReferenceMissing(ctx, arg)
}
