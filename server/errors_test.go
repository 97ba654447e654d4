package server

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
	"github.com/px360/px360/server/auth"
)

// Every failure of the database has a status; what it says stays here.
func TestExplain(t *testing.T) {
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
			queries.ErrBusy, auth.ErrBusy, context.DeadlineExceeded, fmt.Errorf("read: %w", io.ErrUnexpectedEOF), io.EOF,
			&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, &pgconn.ConnectError{Config: &pgconn.Config{}},
		},
		http.StatusInternalServerError: {state("42601"), state("42P01"), state("XX000"), state(""), errors.New(secret), echo.NewHTTPError(http.StatusTeapot, secret)},
	} {
		for _, err := range list {
			p := explain(err)
			if p.status != status {
				t.Errorf("%v: %d, want %d", err, p.status, status)
			}
			if strings.Contains(fmt.Sprint(p.body), secret) {
				t.Errorf("%v: answered %v", err, p.body)
			}
			if (p.header["Retry-After"] != "") != (status == http.StatusServiceUnavailable) {
				t.Errorf("%v: Retry-After is %q", err, p.header["Retry-After"])
			}
		}
	}
	if text := logged(state("22P05")).String(); strings.Contains(text, secret) || !strings.Contains(text, "22P05") {
		t.Errorf("logged as %s", text)
	}
}
