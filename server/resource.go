package server

import (
	"context"
	"reflect"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// What is the same in every list, create, update and delete is here, once. A resource says what is
// its own: its queries, and the rules that the contract and the schema cannot express.

// A collection can be listed and read. Row is what the API answers, Filter the parameters of its
// list query.
type collection[Row, Filter any] struct {
	noun  string
	list  func(*db.Queries, context.Context, Filter) ([]Row, error)
	count func(*db.Queries, context.Context, Filter) (int64, error)
}

// A resource can also be written. Fields are the columns that a client writes, with the row's id.
type resource[Row, Filter, Fields any] struct {
	collection[Row, Filter]
	// lock, insert, update and remove are queries, most of them as sqlc generated them.
	lock   func(q *db.Queries, ctx context.Context, id uuid.UUID, scope *uuid.UUID) (Fields, error)
	insert func(*db.Queries, context.Context, Fields) error
	update func(*db.Queries, context.Context, Fields) error
	remove func(*db.Queries, context.Context, uuid.UUID) error

	fresh   Fields                                                                       // the values of what a new row's body leaves out
	claim   func(ctx context.Context, q *db.Queries, id uuid.UUID, body any) error       // before anything is locked; for a new row id is the nil UUID
	check   func(ctx context.Context, q *db.Queries, w *writing[Fields]) error           // before the row is written
	written func(ctx context.Context, q *db.Queries, w *writing[Fields]) error           // after it
	removed func(ctx context.Context, q *db.Queries, p auth.Principal, row Fields) error // before it is deleted
}

// A writing is one row on its way into the database.
type writing[Fields any] struct {
	principal auth.Principal
	id        uuid.UUID
	old       *Fields // nil for a new row
	row       *Fields // as it will be; rules may change it
	changed   []string
	body      any // what the client sent
}

// A page of a list, as the API answers it.
type page[Row any] struct {
	Count    int64   `json:"count"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []Row   `json:"results"`
}

// scoped are the parameters that every list query has.
type scoped struct {
	Scope, Self          *uuid.UUID
	ID                   *uuid.UUID
	PageSize, PageOffset int32
}

func (s *Server) scope(ctx context.Context) scoped {
	p := requestOf(ctx).principal
	return scoped{Scope: p.Scope(), Self: &p.UserID}
}

// listPage answers a list: the filters of params, within the caller's scope.
func listPage[Row, Filter any](ctx context.Context, s *Server, c *collection[Row, Filter], params any) (page[Row], error) {
	l := requestOf(ctx).listing
	filter := fill[Filter](params)
	scope := s.scope(ctx)
	scope.PageSize, scope.PageOffset = int32(l.size), int32((l.page-1)*l.size)
	assign(&filter, scope)

	var count int64
	var rows []Row
	err := s.db.List(ctx, l.order, func(q *db.Queries) (err error) {
		if err = s.checkFilters(ctx, q, l.references); err != nil {
			return err
		}
		if count, err = c.count(q, ctx, filter); err != nil || int64(scope.PageOffset) >= count {
			return err
		}
		rows, err = c.list(q, ctx, filter)
		return err
	})
	switch {
	case err != nil:
		return page[Row]{}, err
	case l.page > 1 && int64(scope.PageOffset) >= count:
		return page[Row]{}, errInvalidPage
	}
	p := page[Row]{Count: count, Results: rows}
	if rows == nil {
		p.Results = []Row{}
	}
	base := s.publicURL + requestOf(ctx).path
	if int64(scope.PageOffset)+int64(l.size) < count {
		p.Next = l.link(base, l.page+1)
	}
	if l.page > 1 {
		p.Previous = l.link(base, l.page-1)
	}
	return p, nil
}

// retrieve answers one row, if it is in the caller's scope.
func retrieve[Row, Filter any](ctx context.Context, s *Server, c *collection[Row, Filter], id uuid.UUID) (row Row, err error) {
	err = s.db.Read(ctx, func(q *db.Queries) error {
		row, err = c.one(ctx, q, s.scope(ctx), id)
		return err
	})
	return row, err
}

// one reads a row by its id through the list's query, so that a row looks the same wherever it is
// answered.
func (c *collection[Row, Filter]) one(ctx context.Context, q *db.Queries, scope scoped, id uuid.UUID) (row Row, err error) {
	scope.ID, scope.PageSize = &id, 1
	rows, err := c.list(q, ctx, fill[Filter](scope))
	switch {
	case err != nil:
		return row, err
	case len(rows) == 0:
		return row, errNotFound
	}
	return rows[0], nil
}

// create writes a new row from body.
func create[Row, Filter, Fields any](ctx context.Context, s *Server, r *resource[Row, Filter, Fields], body any) (row Row, err error) {
	err = s.change(ctx, func(q *db.Queries, record *audit) error {
		if err := r.begin(ctx, q, uuid.Nil, body); err != nil {
			return err
		}
		fields := r.fresh
		w := &writing[Fields]{principal: requestOf(ctx).principal, id: newID(), row: &fields, body: body}
		assign(&fields, struct{ ID uuid.UUID }{w.id})
		w.changed = assign(&fields, body)
		if err := save(ctx, s, q, r, w, r.insert); err != nil {
			return err
		}
		record.object(r.noun, w.id, hospitalOf(r.noun, &fields, w.id), w.changed)
		row, err = r.one(ctx, q, s.scope(ctx), w.id)
		return err
	})
	return row, err
}

// update writes what body says into the row; replace and update differ in the contract alone, which
// asks more of the body of a replace.
func update[Row, Filter, Fields any](ctx context.Context, s *Server, r *resource[Row, Filter, Fields], id uuid.UUID, body any) (row Row, err error) {
	err = s.change(ctx, func(q *db.Queries, record *audit) error {
		if err := r.begin(ctx, q, id, body); err != nil {
			return err
		}
		old, err := r.lock(q, ctx, id, s.scope(ctx).Scope)
		if queries.NoRows(err) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		fields := old
		w := &writing[Fields]{principal: requestOf(ctx).principal, id: id, old: &old, row: &fields, body: body}
		w.changed = assign(&fields, body)
		if err := save(ctx, s, q, r, w, r.update); err != nil {
			return err
		}
		record.object(r.noun, id, hospitalOf(r.noun, &fields, id), w.changed)
		row, err = r.one(ctx, q, s.scope(ctx), id)
		return err
	})
	return row, err
}

func (r *resource[Row, Filter, Fields]) begin(ctx context.Context, q *db.Queries, id uuid.UUID, body any) error {
	if r.claim == nil {
		return nil
	}
	return r.claim(ctx, q, id, body)
}

// save checks a row and writes it.
func save[Row, Filter, Fields any](ctx context.Context, s *Server, q *db.Queries, r *resource[Row, Filter, Fields], w *writing[Fields], write func(*db.Queries, context.Context, Fields) error) error {
	if err := s.checkReferences(ctx, q); err != nil {
		return err
	}
	if r.check != nil {
		if err := r.check(ctx, q, w); err != nil {
			return err
		}
	}
	if err := write(q, ctx, *w.row); err != nil {
		return queries.Violation(err)
	}
	if r.written != nil {
		return r.written(ctx, q, w)
	}
	return nil
}

// remove deletes a row that nothing refers to.
func remove[Row, Filter, Fields any](ctx context.Context, s *Server, r *resource[Row, Filter, Fields], id uuid.UUID) error {
	return s.change(ctx, func(q *db.Queries, record *audit) error {
		if err := r.begin(ctx, q, id, nil); err != nil {
			return err
		}
		row, err := r.lock(q, ctx, id, s.scope(ctx).Scope)
		if queries.NoRows(err) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		if r.removed != nil {
			if err := r.removed(ctx, q, requestOf(ctx).principal, row); err != nil {
				return err
			}
		}
		record.object(r.noun, id, hospitalOf(r.noun, &row, id), nil)
		return queries.Referenced(r.remove(q, ctx, id))
	})
}

// hospitalOf is the hospital that a row belongs to, for the audit.
func hospitalOf(noun string, fields any, id uuid.UUID) *uuid.UUID {
	if noun == "hospital" {
		return &id
	}
	v := reflect.ValueOf(fields).Elem()
	for _, name := range []string{"Hospital", "PrimaryHospital"} {
		switch hospital := v.FieldByName(name); {
		case !hospital.IsValid():
		case hospital.Kind() == reflect.Pointer:
			return hospital.Interface().(*uuid.UUID)
		default:
			id := hospital.Interface().(uuid.UUID)
			return &id
		}
	}
	return nil
}

// each maps the rows of a query to what the API answers.
func each[From, To any](rows []From, err error, convert func(From) To) ([]To, error) {
	if err != nil {
		return nil, err
	}
	to := make([]To, len(rows))
	for i, row := range rows {
		to[i] = convert(row)
	}
	return to, nil
}

// checkReferences asks, in one query, whether everything that the body refers to is there for the
// caller. All that is missing is told at once.
func (s *Server) checkReferences(ctx context.Context, q *db.Queries) error {
	r := requestOf(ctx)
	if r.reading == nil { // no body
		return nil
	}
	missing, err := missingReferences(ctx, q, r.principal, r.reading.references)
	if err != nil || len(missing) == 0 {
		return err
	}
	errs := fieldErrors{}
	for _, i := range missing {
		ref := r.reading.references[i]
		errs.add(ref.field, messageNoObject(ref.text))
	}
	return invalid(errs)
}

// checkFilters does the same for the filters of a list.
func (s *Server) checkFilters(ctx context.Context, q *db.Queries, references []reference) error {
	missing, err := missingReferences(ctx, q, requestOf(ctx).principal, references)
	if err != nil || len(missing) == 0 {
		return err
	}
	errs := fieldErrors{}
	for _, i := range missing {
		errs.add(references[i].field, "Select a valid choice. That choice is not one of the available choices.")
	}
	return invalid(errs)
}

func missingReferences(ctx context.Context, q *db.Queries, p auth.Principal, references []reference) ([]int32, error) {
	if len(references) == 0 {
		return nil, nil
	}
	arg := db.ReferenceMissingParams{Scope: p.Scope(), Self: &p.UserID}
	for i, ref := range references {
		arg.Positions = append(arg.Positions, int32(i))
		arg.Nouns = append(arg.Nouns, ref.noun)
		arg.Ids = append(arg.Ids, uuid.MustParse(ref.text))
	}
	return q.ReferenceMissing(ctx, arg)
}
