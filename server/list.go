package server

import (
	"context"
	"reflect"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/problem"
)

// A page of a list, as the API answers it.
type page[Row any] struct {
	Count    int64   `json:"count"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  []Row   `json:"results"`
}

// scoped are the parameters that list queries have beside the filters of the contract.
type scoped struct {
	Scope, Self          *uuid.UUID
	PageSize, PageOffset int32
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
// filter of the contract must be a parameter of both. without names the parameters of scoped that the queries do not
// have: Self for all nouns but users, Scope for what every caller sees in full.
func newList[Params, List, Row, Found, Filter, CountFilter any](
	e *engine,
	find func(*db.Queries, context.Context, Filter) ([]Found, error),
	count func(*db.Queries, context.Context, CountFilter) (int64, error),
	convert func(Found) Row, wrap func(page[Row]) List, without ...string,
) list[Params, List] {
	l := lister[Row, Params, Filter, CountFilter]{
		engine: e, count: count,
		find: func(q *db.Queries, ctx context.Context, filter Filter) ([]Row, error) {
			found, err := find(q, ctx, filter)
			return each(found, err, convert)
		},
		filters:   newMapping[Filter, Params](e, present[Params]([]string{"Page", "PageSize", "Ordering"})...),
		scoped:    newMapping[Filter, scoped](e, without...),
		countable: newMapping[CountFilter, Filter](e, "PageSize", "PageOffset"),
	}
	checkSources[Filter](e, reflect.TypeFor[Params](), reflect.TypeFor[scoped]())
	checkSources[CountFilter](e, reflect.TypeFor[Filter]())
	return list[Params, List]{func(ctx context.Context, params Params) (List, error) {
		p, err := l.page(ctx, params)
		return wrap(p), err
	}}
}

// A lister is what newList puts together.
type lister[Row, Params, Filter, CountFilter any] struct {
	engine    *engine
	find      func(*db.Queries, context.Context, Filter) ([]Row, error)
	count     func(*db.Queries, context.Context, CountFilter) (int64, error)
	filters   mapping[Filter, Params]
	scoped    mapping[Filter, scoped]
	countable mapping[CountFilter, Filter]
}

func (l lister[Row, Params, Filter, CountFilter]) page(ctx context.Context, params Params) (page[Row], error) {
	r := requestOf(ctx)
	filter := l.filters.convert(params)
	offset := r.page.Offset()
	l.scoped.copy(&filter, scoped{Scope: r.principal.Scope(), Self: &r.principal.UserID, PageSize: int32(r.page.Size), PageOffset: offset})

	var count int64
	rows := []Row{}
	err := l.engine.db.List(ctx, r.page.Order, func(q, lists *db.Queries) (err error) {
		if err = checkFilters(ctx, q, r.page.References); err != nil {
			return err
		}
		if count, err = l.count(lists, ctx, l.countable.convert(filter)); err != nil || int64(offset) >= count {
			return err
		}
		rows, err = l.find(lists, ctx, filter)
		return err
	})
	switch {
	case err != nil:
		return page[Row]{}, err
	case r.page.Number > 1 && int64(offset) >= count:
		return page[Row]{}, problem.InvalidPage
	}
	p := page[Row]{Count: count, Results: rows}
	base := l.engine.publicURL + r.path
	if int64(offset)+int64(r.page.Size) < count {
		p.Next = r.page.Link(base, r.page.Number+1)
	}
	if r.page.Number > 1 {
		p.Previous = r.page.Link(base, r.page.Number-1)
	}
	return p, nil
}

// each converts the rows of a query to what the API answers.
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
