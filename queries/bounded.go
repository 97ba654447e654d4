package queries

import (
	"errors"

	"github.com/jackc/pgx/v5"
)

// ErrTooManyBytes says that the rows of a list query have more bytes than it may have.
var ErrTooManyBytes = errors.New("the rows have too many bytes")

// boundedRows ends a query as soon as its rows have more bytes than are left, before they are all in memory.
type boundedRows struct {
	pgx.Rows
	left int
	err  error
}

func (r *boundedRows) Next() bool {
	if r.err != nil || !r.Rows.Next() {
		return false
	}
	for _, value := range r.RawValues() {
		r.left -= len(value)
	}
	if r.left < 0 {
		r.err = ErrTooManyBytes
		r.Close()
		return false
	}
	return true
}

func (r *boundedRows) Err() error {
	if r.err != nil {
		return r.err
	}
	return r.Rows.Err()
}
