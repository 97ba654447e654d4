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
	Count    *int64  `json:"count"` // nil where a cursor is followed
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
}

// A list answers the list operation of a noun: Params are its parameters in the contract, List its answer.
type list[Params, List any] struct {
	answer func(context.Context, Params) (List, error)
}

// List answers a page of the rows that the filters of params leave, within the caller's scope.
func (l list[Params, List]) List(ctx context.Context, params Params) (List, error) {
	return l.answer(ctx, params)
}

// newList makes a list from a generated query. Every filter of the contract must be a parameter of it. narrowed names the
// parameters of scoped that keep a caller to the rows they may see: Scope, for users and actions Self too, for events
// SenderKey. The query has these and no other of them.
func newList[Params, List, Row, Found, Filter any](
	e *engine,
	find func(*db.Queries, context.Context, Filter) ([]Found, error),
	convert func(Found) Row, wrap func(page[Row]) List, narrowed ...string,
) list[Params, List] {
	filters := newMapping[Filter, Params](e, present[Params]([]string{"Page", "PageSize", "Ordering", "Cursor"})...)
	unused := slices.DeleteFunc([]string{"Scope", "Self", "SenderKey"}, func(name string) bool { return slices.Contains(narrowed, name) })
	scope := newMapping[Filter, scoped](e, unused...)
	checkSources[Filter](e, append(fieldNames[Params](), narrowed...))

	return list[Params, List]{func(ctx context.Context, params Params) (answer List, err error) {
		r := requestOf(ctx)
		filter := filters.convert(params)
		scope.copy(&filter, scoped{Scope: r.principal.Scope(), Self: &r.principal.UserID, SenderKey: r.principal.SenderKey()})
		// Where there are rows, there is their hospital: it is only asked for where there are none.
		before, after := r.page.References, []contract.Reference(nil)
		if !slices.ContainsFunc(before, func(ref contract.Reference) bool { return ref.Noun != "hospital" }) {
			before, after = nil, before
		}
		if err := e.checkFilters(ctx, before); err != nil {
			return answer, err
		}
		rows, err := pageOf(ctx, e,
			func(ctx context.Context, q *db.Queries) ([]Found, error) { return find(q, ctx, filter) }, convert)
		if err == nil && len(rows.Results) == 0 || errors.Is(err, problem.InvalidPage) {
			if missing := e.checkFilters(ctx, after); missing != nil {
				return answer, missing
			}
		}
		return wrap(rows), err
	}}
}

// pageOf is the page that a request asks for of what a list query finds.
func pageOf[Found, Row any](
	ctx context.Context, e *engine,
	find func(context.Context, *db.Queries) ([]Found, error),
	convert func(Found) Row,
) (answer page[Row], err error) {
	r := requestOf(ctx)
	wanted := queries.Page{Order: order(r.page.Order), Size: r.page.Size, Offset: int64(r.page.Offset()), MaxBytes: maxPageBytes * 3 / 2, Caller: r.caller()}
	if r.page.Cursor != nil {
		wanted.Offset = 0
		if wanted.Position, err = e.cursors.read(r, *r.page.Cursor); err != nil {
			return answer, err
		}
	}
	found, err := queries.List(ctx, e.db, wanted, find)
	switch {
	case errors.Is(err, queries.ErrTooManyBytes):
		return answer, errPageTooLarge
	case errors.Is(err, queries.ErrPosition):
		return answer, errInvalidCursor
	case errors.Is(err, queries.ErrTooSlow):
		return answer, tooSlow(r.page)
	case err != nil:
		return answer, err
	case wanted.Offset > 0 && len(found.Rows) == 0:
		return answer, problem.InvalidPage
	}
	answer.Results = each(found.Rows, convert)
	base := e.publicURL + r.path
	if wanted.Position == nil {
		answer.Count = &found.Total
		if found.IsEstimated {
			r.header.Set(headerCountEstimated, "true")
		}
		if found.After {
			answer.Next = r.page.Link(base, r.page.Number+1)
		}
		if found.Before {
			answer.Previous = r.page.Link(base, r.page.Number-1)
		}
		return answer, nil
	}
	if found.After {
		answer.Next = r.page.CursorLink(base, e.cursors.write(r, queries.Position{Values: found.Last}))
	}
	if found.Before {
		answer.Previous = r.page.CursorLink(base, e.cursors.write(r, queries.Position{Values: found.First, Backward: true}))
	}
	return answer, nil
}

// headerCountEstimated tells that count is what Postgres expects.
const headerCountEstimated = "X-Count-Estimated"

// tooSlow says what makes a list faster.
func tooSlow(p contract.Page) *problem.Problem {
	advice := "Narrow the list by a filter or a longer search term"
	switch {
	case len(p.Order) > 0 && p.Cursor == nil && p.Number > 1:
		advice += ", leave out the ordering, or follow cursors instead of page numbers"
	case len(p.Order) > 0:
		advice += ", or leave out the ordering"
	case p.Cursor == nil && p.Number > 1:
		advice += ", or follow cursors instead of page numbers"
	}
	return problem.QueryTooSlow(advice + ".")
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
