package queries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return fmt.Errorf("store: %w", &pgconn.PgError{Code: code}) }
	for want, list := range map[Verdict][]error{
		Bug:   {nil, errors.New("x"), state("XX000"), state(""), &pgconn.PgError{Code: "23505", ConstraintName: "unknown"}},
		Retry: {state("40001"), state("40P01")},
		Busy: {ErrBusy, state("53300"), state("53200"), state("53100"), state("55P03"), state("25P03"), state("25P04"), state("25006"),
			&pgconn.PgError{Code: "0A000", Routine: "get_relation_info"}},
		TimedOut: {state("57014")},
		Lost: {
			state("08006"), state("08000"), state("57P01"), state("57P02"), state("57P03"), state("57P05"), state("40003"), state("08007"), Committed(ErrBusy), Committed(state("55P03")),
			context.DeadlineExceeded, context.Canceled, io.EOF, fmt.Errorf("read: %w", io.ErrUnexpectedEOF), net.ErrClosed,
			&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, &pgconn.ConnectError{Config: &pgconn.Config{}},
		},
		Unusable:     {state("42601"), state("42P01"), state("42703"), state("0A000"), state("26000"), state("28P01"), state("3D000"), state("58030")},
		InvalidField: {&pgconn.PgError{Code: "23505", ConstraintName: "hospitals_code_key"}, &pgconn.PgError{Code: "23503", ConstraintName: "users_hospital_id_fkey"}, &FieldError{"a", "b"}, &pgconn.PgError{Code: "23514", ConstraintName: "departments_parent_is_another"}},
		InvalidValue: {state("22P05"), state("22021"), state("22003"), state("54000"), &pgconn.PgError{Code: "23514", ConstraintName: "unknown"}},
		Referenced:   {Deleted(state("23503"))},
	} {
		for _, err := range list {
			if got := Judge(err); got != want {
				t.Errorf("%v: verdict %v, want %v", err, got, want)
			}
		}
	}
}

// An update that would take a row away from those of its hospital is about the hospital, whatever the key.
func TestFieldErrorOfTheOtherSideOfACompositeKey(t *testing.T) {
	t.Parallel()
	field, found := FieldErrorOf(&pgconn.PgError{Code: "23503", ConstraintName: "physicians_department_id_fkey", Detail: `Key (hospital_id, id)=(1, 2) is still referenced from table "physicians".`})
	if !found || field.Field != "hospital" {
		t.Errorf("%v, %v", field, found)
	}
}
