package problem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/queries"
)

// Every database error maps to a status, and its text, which can quote patient data, is not sent.
func TestOf(t *testing.T) {
	t.Parallel()
	const secret = "Ahmad has diabetes"
	state := func(code string) error {
		return fmt.Errorf("store: %w", &pgconn.PgError{Code: code, Message: secret, Detail: secret, Hint: secret, Where: secret})
	}
	for status, list := range map[int][]error{
		http.StatusBadRequest: {
			state("22P05"), state("22021"), state("22003"), state("54000"), echo.NewHTTPError(http.StatusBadRequest, secret),
			&pgconn.PgError{Code: "23505", ConstraintName: "hospitals_code_key", Detail: secret},
		},
		http.StatusNotFound: {echo.ErrNotFound},
		http.StatusServiceUnavailable: {
			state("40001"), state("40P01"), state("55P03"), state("57014"), state("53300"), state("53200"), state("57P01"), state("57P03"), state("08006"), state("25P03"),
			queries.ErrBusy, context.DeadlineExceeded, fmt.Errorf("read: %w", io.ErrUnexpectedEOF), io.EOF,
			&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, &pgconn.ConnectError{Config: &pgconn.Config{}},
		},
		http.StatusInternalServerError: {state("42601"), state("42P01"), state("XX000"), state(""), errors.New(secret), echo.NewHTTPError(http.StatusTeapot, secret)},
	} {
		for _, err := range list {
			p := Of(err)
			if p.Status != status {
				t.Errorf("%v: %d, want %d", err, p.Status, status)
			}
			if strings.Contains(fmt.Sprint(p.Body), secret) {
				t.Errorf("%v: answered %v", err, p.Body)
			}
			if (p.Header["Retry-After"] != "") != (status == http.StatusServiceUnavailable) {
				t.Errorf("%v: Retry-After is %q", err, p.Header["Retry-After"])
			}
		}
	}
	for _, test := range []struct {
		err  error
		code string
	}{
		{Writing(io.EOF), CodeOutcomeUnknown},
		{Writing(state("08006")), CodeOutcomeUnknown},
		{Writing(state("57P01")), CodeOutcomeUnknown},
		{Writing(fmt.Errorf("store: %w", context.DeadlineExceeded)), CodeOutcomeUnknown},
		{Writing(context.Canceled), CodeOutcomeUnknown},
		{io.EOF, ""}, // outside of a write
		{context.DeadlineExceeded, ""},
		{Writing(queries.ErrBusy), ""},
		{Writing(state("55P03")), ""},
		{Writing(state("57014")), ""},
		{Writing(state("40001")), ""},
		{Writing(state("40P01")), ""},
		{Writing(state("53300")), ""},
	} {
		p := Of(test.err)
		if body, _ := p.Body.(Detail); p.Status != http.StatusServiceUnavailable || p.Header["Retry-After"] == "" || body.Code != test.code {
			t.Errorf("%v: %d %v, want 503 and code %q", test.err, p.Status, p.Body, test.code)
		}
	}
}
