package queries

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/db"
)

const (
	// listTimeout is how long a list may hold a connection.
	listTimeout = 2 * time.Second
	// exactCount is how many rows are counted for every request; more are counted once for all who ask.
	exactCount = 10_000
)

// ErrTooSlow says that a list took more than listTimeout.
var ErrTooSlow = errors.New("the list takes too long")

// A Listed is a page of a list.
type Listed[Row any] struct {
	Rows          []Row
	Before, After bool // there are rows before and after these

	// Total is how many rows the list has: exact up to exactCount, and above as of at most countAge ago, unless it
	// IsEstimated. Without a Position only, and not of a page beyond the end.
	Total       int64
	IsEstimated bool

	// First and Last tell where the page begins and ends. With a Position only.
	First, Last []*string
}

// List reads a page of a list: find is to call one generated list query. Rows that have more than p.MaxBytes are
// ErrTooManyBytes, a list that takes too long is ErrTooSlow.
func List[Row any](ctx context.Context, d *DB, p Page, find func(context.Context, *db.Queries) ([]Row, error)) (list Listed[Row], err error) {
	leave, err := d.listShares.take(ctx, p.Caller, d.acquire)
	if err != nil {
		return list, err
	}
	conn, err := d.connectionFrom(ctx, d.lists)
	if err != nil {
		leave()
		return list, err
	}
	held, release := context.WithTimeoutCause(ctx, listTimeout, ErrTooSlow)
	l := &listing{DBTX: unpreparedConn{conn}, page: p, columns: columnsOf[Row](), counts: d.counts}
	if d.lists != d.Pool {
		l.DBTX = conn // which plans prepared statements for their parameters
	}
	counted := false
	func() {
		defer leave() // before the count of a long list is waited for
		defer conn.Release()
		defer release()
		if list.Rows, err = find(held, db.New(l)); err == nil {
			err = list.complete(l)
		}
		if err == nil && p.Position == nil && list.Total == 0 && list.After {
			list.Total, counted, err = l.count(held)
		}
	}()
	if err != nil {
		if Judge(err) == TimedOut || errors.Is(context.Cause(held), ErrTooSlow) {
			err = ErrTooSlow
		}
		return list, err
	}
	if p.Position == nil && list.After && !counted && list.Total == 0 {
		list.Total, list.IsEstimated, err = d.counts.of(ctx, d, l.statement)
		list.Total = max(list.Total, p.Offset+int64(len(list.Rows))+1, exactCount+1)
	}
	return list, err
}

// complete takes away the row that only shows that there are more, and puts rows into the order that was asked for.
func (list *Listed[Row]) complete(l *listing) (err error) {
	p := l.page
	backward := p.Position != nil && p.Position.Backward
	more := len(list.Rows) > p.Size
	if more {
		list.Rows = list.Rows[:p.Size]
	}
	if backward || l.fromEnd > 0 {
		slices.Reverse(list.Rows)
	}
	switch {
	case backward:
		list.Before, list.After = more, true
	case p.Position != nil:
		list.Before, list.After = len(p.Position.Values) > 0, more
	case l.fromEnd > 0:
		list.Before, list.Total = true, l.fromEnd
		list.After = p.Offset+int64(len(list.Rows)) < l.fromEnd
	default:
		list.Before, list.After = p.Offset > 0, more
		if !more && (len(list.Rows) > 0 || p.Offset == 0) { // the end is on the page
			list.Total = p.Offset + int64(len(list.Rows))
		}
	}
	if p.Position == nil {
		return nil
	}
	if len(list.Rows) == 0 {
		list.First, list.Last = p.Position.Values, p.Position.Values
		return nil
	}
	if list.First, err = l.columns.position(list.Rows[0], l.order); err == nil {
		list.Last, err = l.columns.position(list.Rows[len(list.Rows)-1], l.order)
	}
	return err
}

// A listing sends the one query of a list: for the rows of a page. Postgres plans each call with its parameters: filters that
// are not in use, ($1 IS NULL OR …), fold away, and which index to read depends on the values. A generic plan would read whole
// tables.
type listing struct {
	db.DBTX
	page    Page
	columns columns
	counts  *counts

	statement statement
	order     Order
	fromEnd   int64 // how many rows the list has, if the page was read from its end
}

func (l *listing) Query(ctx context.Context, sql string, args ...any) (rows pgx.Rows, err error) {
	if l.statement, err = newStatement(sql, args); err != nil {
		return nil, err
	}
	l.order = l.statement.ordered(l.page.Order)
	page, order, limit := l.page, l.order, l.page.Size+1
	if page.Position != nil && len(page.Position.Values) == 0 { // the start
		page.Position = nil
	}
	if page.Offset > 0 {
		// What lies behind the middle of a long list is read from its end.
		if known, fresh := l.counts.known(l.statement); fresh && page.Offset > known/2 && page.Offset < known {
			limit = min(page.Size, int(known-page.Offset))
			page.Offset, order, l.fromEnd = known-page.Offset-int64(limit), order.reversed(), known
		}
	}
	text, args, err := l.statement.rows(order, page, limit, l.columns.nullable)
	if err != nil {
		return nil, err
	}
	if rows, err = l.DBTX.Query(ctx, text, args...); err != nil {
		return nil, err
	}
	return &boundedRows{Rows: rows, left: l.page.MaxBytes}, nil
}

// count counts the rows of the list, unless there are too many.
func (l *listing) count(ctx context.Context) (total int64, ok bool, err error) {
	if l.page.Offset+int64(l.page.Size) >= exactCount {
		return 0, false, nil
	}
	if _, fresh := l.counts.known(l.statement); fresh {
		return 0, false, nil
	}
	err = l.DBTX.QueryRow(ctx, l.statement.counted(exactCount+1), l.statement.args...).Scan(&total)
	if total > exactCount {
		return 0, false, err
	}
	return total, err == nil, err
}

// estimate is how many rows Postgres expects.
func (s statement) estimate(ctx context.Context, conn db.DBTX) (int64, error) {
	var text []byte
	if err := conn.QueryRow(ctx, s.estimated(), unprepared(s.args)...).Scan(&text); err != nil {
		return 0, err
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) != 1 {
		return 0, errors.Join(errors.New("EXPLAIN has no plan"), err)
	}
	return int64(plans[0].Plan.Rows), nil
}

// unprepared sends a statement without a name: pgx keeps its description, Postgres keeps no plan, and makes one for the
// parameters.
func unprepared(args []any) []any { return append([]any{pgx.QueryExecModeCacheDescribe}, args...) }

type unpreparedConn struct{ db.DBTX }

func (c unpreparedConn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return c.DBTX.Query(ctx, sql, unprepared(args)...)
}

func (c unpreparedConn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return c.DBTX.QueryRow(ctx, sql, unprepared(args)...)
}
