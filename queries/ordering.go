package queries

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/gen/db"
)

// An Order is what a list is ordered by before its own default: output columns, which the caller checked against the
// contract.
type Order []Column

// A Column of a list's output, ascending unless Descending.
type Column struct {
	Name       string
	Descending bool
}

// orderingMarker stands in the ORDER BY of every list query, before the list's own order. sqlc has no way to say
// ORDER BY a parameter, and a CASE for each column and direction would keep Postgres from using any index.
const orderingMarker = "/* ordering */"

// sql is the order as it takes the place of the marker: quoted names, each with a comma behind it.
func (o Order) sql() string {
	var text strings.Builder
	for _, c := range o {
		text.WriteString(pgx.Identifier{c.Name}.Sanitize())
		if c.Descending {
			text.WriteString(" DESC")
		}
		text.WriteString(", ")
	}
	return text.String()
}

// A listing sends the queries of a list: with the order in the place of the marker, and unprepared. Postgres then
// plans each call with its parameters: filters that are not in use, ($1 IS NULL OR …), fold away, and which index to
// read depends on the values. A prepared statement would get a generic plan that reads whole tables.
type listing struct {
	db.DBTX
	order     Order
	mostBytes int // of the values of the rows of one query
}

func (l listing) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := l.DBTX.Query(ctx, l.ordered(sql), unprepared(args)...)
	if err != nil {
		return nil, err
	}
	return &boundedRows{Rows: rows, left: l.mostBytes}, nil
}

func (l listing) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return l.DBTX.QueryRow(ctx, l.ordered(sql), unprepared(args)...)
}

func (l listing) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return l.DBTX.Exec(ctx, sql, args...)
}

func (l listing) ordered(sql string) string {
	return strings.Replace(sql, orderingMarker, l.order.sql(), 1)
}

// unprepared sends a statement without a name: pgx keeps its description, Postgres keeps no plan.
func unprepared(args []any) []any { return append([]any{pgx.QueryExecModeCacheDescribe}, args...) }
