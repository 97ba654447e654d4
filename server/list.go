package server

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

// A page of a list, as the API answers it.
type page[Row any] struct {
	Count    int64   `json:"count"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []Row   `json:"results"`
}

// maxPageBytes is how much JSON a page may be. A larger one is refused, so that it is never cut: the client must not
// take it for the whole. The rows are counted as Postgres sends them, which stops a query before all of them are in
// memory, and the JSON as it is written, which is exact. Postgres's own form of a JSON value has at most half as many
// bytes again, for the spaces after commas and colons, so rows get that much more.
const maxPageBytes = 8 << 20

// errPageTooLarge refuses a page of more than maxPageBytes.
var errPageTooLarge = problem.InvalidField("page_size", "Ask for fewer rows.")

// scoped are the parameters that list queries have beside the filters of the contract.
type scoped struct {
	Scope, Self, SenderKey *uuid.UUID
	PageSize, PageOffset   int32
}

// A list answers the list operation of a noun: Params are its parameters in the contract, List its answer.
type list[Params, List any] struct {
	answer func(context.Context, Params) (List, error)
}

// List answers a page of the rows that the filters of params leave, within the caller's scope.
func (l list[Params, List]) List(ctx context.Context, params Params) (List, error) {
	return l.answer(ctx, params)
}

// newList makes a list from two generated queries, one for the rows of a page and one for the count of all. Every
// filter of the contract must be a parameter of both. narrowed names the parameters of scoped that keep a caller to the
// rows they may see: Scope, for users Self, for events SenderKey. The queries have these and no other of them.
func newList[Params, List, Row, Found, Filter, CountFilter any](
	e *engine,
	find func(*db.Queries, context.Context, Filter) ([]Found, error),
	count func(*db.Queries, context.Context, CountFilter) (int64, error),
	convert func(Found) Row, wrap func(page[Row]) List, narrowed ...string,
) list[Params, List] {
	filters := newMapping[Filter, Params](e, present[Params]([]string{"Page", "PageSize", "Ordering"})...)
	unused := slices.DeleteFunc([]string{"Scope", "Self", "SenderKey"}, func(name string) bool { return slices.Contains(narrowed, name) })
	scope := newMapping[Filter, scoped](e, unused...)
	counted := newMapping[CountFilter, Filter](e, "PageSize", "PageOffset")
	checkSources[Filter](e, append(fieldNames[Params](), append(narrowed, "PageSize", "PageOffset")...))
	checkSources[CountFilter](e, fieldNames[Filter]())

	return list[Params, List]{func(ctx context.Context, params Params) (answer List, err error) {
		r := requestOf(ctx)
		filter, offset := filters.convert(params), r.page.Offset()
		scope.copy(&filter, scoped{
			Scope: r.principal.Scope(), Self: &r.principal.UserID, SenderKey: r.principal.SenderKey(),
			PageSize: int32(r.page.Size), PageOffset: offset,
		})
		var total int64
		var found []Found
		err = e.db.List(ctx, order(r.page.Order), maxPageBytes*3/2, func(q, lists *db.Queries) (err error) {
			if err = checkFilters(ctx, q, r.page.References); err != nil {
				return err
			}
			if total, err = count(lists, ctx, counted.convert(filter)); err != nil || int64(offset) >= total {
				return err
			}
			found, err = find(lists, ctx, filter)
			return err
		})
		switch {
		case errors.Is(err, queries.ErrTooManyBytes):
			return answer, errPageTooLarge
		case err != nil:
			return answer, err
		case r.page.Number > 1 && int64(offset) >= total:
			return answer, problem.InvalidPage
		}
		return wrap(newPage(e, r, total, each(found, convert))), nil
	}}
}

// pageOf is the page that a request asks for of a list that is part of one object.
func pageOf[Found, Row any](
	ctx context.Context, e *engine,
	count func(q *db.Queries, scope *uuid.UUID) (int64, error),
	find func(q *db.Queries, scope *uuid.UUID, size, offset int32) ([]Found, error),
	convert func(Found) Row,
) (answer page[Row], err error) {
	r := requestOf(ctx)
	scope, offset := r.principal.Scope(), r.page.Offset()
	var total int64
	var found []Found
	err = e.db.List(ctx, order(r.page.Order), maxPageBytes*3/2, func(_, lists *db.Queries) (err error) {
		if total, err = count(lists, scope); err != nil || int64(offset) >= total {
			return err
		}
		found, err = find(lists, scope, int32(r.page.Size), offset)
		return err
	})
	switch {
	case errors.Is(err, queries.ErrTooManyBytes):
		return answer, errPageTooLarge
	case err != nil:
		return answer, err
	case r.page.Number > 1 && int64(offset) >= total:
		return answer, problem.InvalidPage
	}
	return newPage(e, r, total, each(found, convert)), nil
}

// newPage puts rows together with the links to the pages before and after.
func newPage[Row any](e *engine, r request, total int64, rows []Row) page[Row] {
	p := page[Row]{Count: total, Results: rows}
	base := e.publicURL + r.path
	if int64(r.page.Offset())+int64(r.page.Size) < total {
		p.Next = r.page.Link(base, r.page.Number+1)
	}
	if r.page.Number > 1 {
		p.Previous = r.page.Link(base, r.page.Number-1)
	}
	return p
}

// order is an ordering of the contract's as queries take it.
func order(terms []contract.Term) queries.Order {
	columns := make(queries.Order, len(terms))
	for i, term := range terms {
		columns[i] = queries.Column{Name: term.Field, Descending: term.Descending}
	}
	return columns
}

// each converts the rows of a query to what the API answers.
func each[From, To any](rows []From, convert func(From) To) []To {
	to := make([]To, len(rows))
	for i, row := range rows {
		to[i] = convert(row)
	}
	return to
}
