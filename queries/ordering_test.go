package queries

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestOrderTakesThePlaceOfTheMarker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		order Order
		want  string
	}{
		{nil, "SELECT 1 ORDER BY  name, id"},
		{Order{{Name: "code"}}, `SELECT 1 ORDER BY "code",  name, id`},
		{Order{{Name: "code", Descending: true}, {Name: "order"}}, `SELECT 1 ORDER BY "code" DESC, "order",  name, id`},
		{Order{{Name: `a"; DROP TABLE users; --`}}, `SELECT 1 ORDER BY "a""; DROP TABLE users; --",  name, id`},
	} {
		sent := &recorder{}
		_, _ = listing{sent, test.order, 1}.Query(t.Context(), "SELECT 1 ORDER BY "+orderingMarker+" name, id", 7)
		if sent.sql != test.want {
			t.Errorf("%v: sent %s, want %s", test.order, sent.sql, test.want)
		}
		if want := []any{pgx.QueryExecModeCacheDescribe, 7}; !slices.Equal(sent.args, want) {
			t.Errorf("%v: arguments %v, want %v", test.order, sent.args, want)
		}
	}
}

// recorder keeps what it was asked.
type recorder struct {
	sql  string
	args []any
}

func (r *recorder) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.sql, r.args = sql, args
	return nil, nil
}

func (r *recorder) QueryRow(context.Context, string, ...any) pgx.Row { return nil }

func (r *recorder) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, nil
}
