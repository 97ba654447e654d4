package queries

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
)

// fakeRows are rows of one value of three bytes.
type fakeRows struct {
	pgx.Rows
	read   int
	closed bool
}

func (r *fakeRows) Next() bool          { r.read++; return r.read <= 4 }
func (r *fakeRows) RawValues() [][]byte { return [][]byte{{1, 2, 3}, nil} }
func (r *fakeRows) Close()              { r.closed = true }
func (r *fakeRows) Err() error          { return nil }

func TestBoundedRowsStopAtTheLimit(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]int{12: 4, 11: 3, 3: 1, 2: 0} {
		rows := &fakeRows{}
		bounded, got := &boundedRows{Rows: rows, left: most}, 0
		for bounded.Next() {
			got++
		}
		cut := want < 4
		if err := bounded.Err(); got != want || errors.Is(err, ErrTooManyBytes) != cut || rows.closed != cut {
			t.Errorf("%d bytes: %d rows, %v, closed: %v", most, got, err, rows.closed)
		}
		if cut && rows.read != want+1 {
			t.Errorf("%d bytes: %d rows were read", most, rows.read)
		}
	}
}
