package server

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// rowID names a row as the caller may see it: a nil scope is every hospital's.
type rowID struct {
	ID    uuid.UUID
	Scope *uuid.UUID
}

// A reader answers the retrieve operation of a noun. Answer is what the API shows of a row.
type reader[Answer any] struct {
	engine *engine
	get    func(q *db.Queries, ctx context.Context, row rowID) (Answer, error)
}

// Retrieve answers a row within the caller's scope.
func (r *reader[Answer]) Retrieve(ctx context.Context, id uuid.UUID) (answer Answer, err error) {
	err = r.engine.db.Read(ctx, func(q *db.Queries) error {
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
	noun string // in the audit
	// Queries, most of them as sqlc generated them: methods of *db.Queries.
	lock   func(q *db.Queries, ctx context.Context, row rowID) (Fields, error)
	insert func(*db.Queries, context.Context, Fields) error
	update func(*db.Queries, context.Context, Fields) error
	remove func(*db.Queries, context.Context, uuid.UUID) error

	defaults Fields                   // what a new row has where its body states nothing
	id       func(*Fields) *uuid.UUID // the id among the fields
	hospital func(Fields) *uuid.UUID  // whose row it is, for the audit; nil for no hospital's
	hooks    hooks[Fields]

	fromCreate  mapping[Fields, Create]
	fromReplace mapping[Fields, Replace]
	fromUpdate  mapping[Fields, Update]
}

// Hooks of a noun, each optional, in the order in which they are called. stated are the fields that a body states, and
// zero values elsewhere.
type hooks[Fields any] struct {
	// Locks that have to be taken before that of the row: see the lock order in package queries.
	lockForCreate func(ctx context.Context, q *db.Queries, stated Fields) error
	lockForUpdate func(ctx context.Context, q *db.Queries, id uuid.UUID, stated Fields) error
	lockForDelete func(ctx context.Context, q *db.Queries, id uuid.UUID) error
	// What must hold before the row is written. They may change it.
	checkCreate, checkUpdate hook[Fields]
	checkDelete              func(ctx context.Context, q *db.Queries, p auth.Principal, old Fields) error
	// What follows from the row once it is written.
	created, updated hook[Fields]
	// What a create or an update sets off once it is committed, outside of the transaction.
	committed func()
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
func (r *resource[A, C, R, U, F]) bind(e *engine, except ...string) *resource[A, C, R, U, F] {
	r.fromCreate = newMapping[F, C](e, present[C](except)...)
	r.fromReplace = newMapping[F, R](e, present[R](except)...)
	r.fromUpdate = newMapping[F, U](e, present[U](except)...)
	return r
}

// Create writes a new row.
func (r *resource[A, C, R, U, F]) Create(ctx context.Context, body C) (A, error) {
	return r.createWith(ctx, body, nil)
}

// Replace writes what the body states into the row. It differs from Update in the contract alone, which asks for more.
func (r *resource[A, C, R, U, F]) Replace(ctx context.Context, id uuid.UUID, body R) (A, error) {
	return r.replaceWith(ctx, id, body, nil)
}

// Update writes what the body states into the row.
func (r *resource[A, C, R, U, F]) Update(ctx context.Context, id uuid.UUID, body U) (A, error) {
	return r.updateWith(ctx, id, body, nil)
}

// createWith is Create with a hook of its own after the noun's check.
func (r *resource[A, C, R, U, F]) createWith(ctx context.Context, body C, extra hook[F]) (answer A, err error) {
	err = r.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if lock := r.hooks.lockForCreate; lock != nil {
			if err := lock(ctx, q, r.fromCreate.convert(body)); err != nil {
				return auditEntry{}, err
			}
		}
		w := &write[F]{principal: requestOf(ctx).principal, id: newID(), row: r.defaults}
		*r.id(&w.row) = w.id
		w.stated, w.changed = r.fromCreate.copy(&w.row, body)
		answer, err = r.save(ctx, q, w, r.hooks.checkCreate, extra, r.stored(r.insert), r.hooks.created)
		return auditEntry{r.noun, w.id, r.hospital(w.row), w.changed}, err
	})
	return answer, err
}

// replaceWith is Replace with a hook of its own after the noun's check.
func (r *resource[A, C, R, U, F]) replaceWith(ctx context.Context, id uuid.UUID, body R, extra hook[F]) (A, error) {
	return updateRow(ctx, r, r.fromReplace, id, body, extra)
}

// updateWith is Update with a hook of its own after the noun's check.
func (r *resource[A, C, R, U, F]) updateWith(ctx context.Context, id uuid.UUID, body U, extra hook[F]) (A, error) {
	return updateRow(ctx, r, r.fromUpdate, id, body, extra)
}

func updateRow[Body, A, C, R, U, F any](
	ctx context.Context, r *resource[A, C, R, U, F], from mapping[F, Body], id uuid.UUID, body Body, extra hook[F],
) (answer A, err error) {
	err = r.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if lock := r.hooks.lockForUpdate; lock != nil {
			if err := lock(ctx, q, id, from.convert(body)); err != nil {
				return auditEntry{}, err
			}
		}
		old, err := r.locked(ctx, q, id)
		if err != nil {
			return auditEntry{}, err
		}
		w := &write[F]{principal: requestOf(ctx).principal, id: id, old: old, row: old}
		w.stated, w.changed = from.copy(&w.row, body)
		answer, err = r.save(ctx, q, w, r.hooks.checkUpdate, extra, r.stored(r.update), r.hooks.updated)
		return auditEntry{r.noun, id, r.hospital(w.row), w.changed}, err
	})
	return answer, err
}

// change is the engine's, and what the noun sets off by it.
func (r *resource[A, C, R, U, F]) change(ctx context.Context, f func(*db.Queries) (auditEntry, error)) error {
	err := r.engine.change(ctx, f)
	if err == nil && r.hooks.committed != nil {
		r.hooks.committed()
	}
	return err
}

// save checks what the body refers to, runs the steps that there are, and reads the row as the API answers it.
func (r *resource[A, C, R, U, F]) save(ctx context.Context, q *db.Queries, w *write[F], steps ...hook[F]) (answer A, err error) {
	if err := checkBody(ctx, q); err != nil {
		return answer, err
	}
	for _, step := range steps {
		if step == nil {
			continue
		}
		if err := step(ctx, q, w); err != nil {
			return answer, err
		}
	}
	return r.one(ctx, q, w.id)
}

// stored is the step that writes the row.
func (r *resource[A, C, R, U, F]) stored(query func(*db.Queries, context.Context, F) error) hook[F] {
	return func(ctx context.Context, q *db.Queries, w *write[F]) error { return query(q, ctx, w.row) }
}

// Delete deletes a row that nothing refers to.
func (r *resource[A, C, R, U, F]) Delete(ctx context.Context, id uuid.UUID) error {
	return r.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		if lock := r.hooks.lockForDelete; lock != nil {
			if err := lock(ctx, q, id); err != nil {
				return auditEntry{}, err
			}
		}
		old, err := r.locked(ctx, q, id)
		if err == nil && r.hooks.checkDelete != nil {
			err = r.hooks.checkDelete(ctx, q, requestOf(ctx).principal, old)
		}
		if err != nil {
			return auditEntry{}, err
		}
		return auditEntry{r.noun, id, r.hospital(old), nil}, queries.Deleted(r.remove(q, ctx, id))
	})
}

// locked reads and locks the row, for a change to start from.
func (r *resource[A, C, R, U, F]) locked(ctx context.Context, q *db.Queries, id uuid.UUID) (F, error) {
	row, err := r.lock(q, ctx, rowID{id, requestOf(ctx).principal.Scope()})
	if queries.NoRows(err) {
		err = problem.NotFound
	}
	return row, err
}
