package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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
	for _, test := range []struct {
		err  error
		code string
	}{
		{attempted{io.EOF}, codeOutcomeUnknown},
		{attempted{state("08006")}, codeOutcomeUnknown},
		{attempted{state("57P01")}, codeOutcomeUnknown},
		{attempted{fmt.Errorf("store: %w", context.DeadlineExceeded)}, codeOutcomeUnknown},
		{attempted{context.Canceled}, codeOutcomeUnknown},
		{io.EOF, ""}, // before the handler, or one that reads
		{context.DeadlineExceeded, ""},
		{attempted{queries.ErrBusy}, ""},
		{attempted{auth.ErrBusy}, ""},
		{attempted{state("55P03")}, ""},
		{attempted{state("57014")}, ""},
		{attempted{state("40001")}, ""},
		{attempted{state("40P01")}, ""},
		{attempted{state("53300")}, ""},
	} {
		p := explain(test.err)
		if body, _ := p.body.(detail); p.status != http.StatusServiceUnavailable || p.header["Retry-After"] == "" || body.Code != test.code {
			t.Errorf("%v: %d %v, want 503 and code %q", test.err, p.status, p.body, test.code)
		}
	}
	if text := logged(state("22P05")).String(); strings.Contains(text, secret) || !strings.Contains(text, "22P05") {
		t.Errorf("logged as %s", text)
	}
}

// hungUp is a client that left before its answer.
type hungUp struct{ *httptest.ResponseRecorder }

func (hungUp) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAnswerNotWrittenIsLoggedWithItsRequest(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := apart(t, func(o *Options) { o.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	w := hungUp{httptest.NewRecorder()}
	s.ServeHTTP(w, httptest.NewRequest("GET", "/nothing/", nil))
	line, _, _ := strings.Cut(log.String(), "\n")
	if id := w.Header().Get("X-Request-ID"); id == "" || !strings.Contains(line, "answer not written") || !strings.Contains(line, id) {
		t.Errorf("the request %s is logged as %s", id, log.String())
	}
}

// What an earlier try left unknown, a later one that comes to nothing does not make known.
func TestAgainTellsOfLostTries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		tries  []error
		status int
		code   string
	}{
		{[]error{io.EOF, nil}, 0, ""},
		{[]error{io.EOF, queries.ErrBusy}, http.StatusServiceUnavailable, codeOutcomeUnknown},
		{[]error{queries.ErrBusy}, http.StatusServiceUnavailable, ""},
		{[]error{io.EOF, io.EOF, &pgconn.PgError{Code: "40P01"}}, http.StatusServiceUnavailable, codeOutcomeUnknown},
		{[]error{io.EOF, conflict("it was there")}, http.StatusConflict, ""},
	} {
		try := -1
		err := again(context.Background(), func() error { try++; return test.tries[try] })
		if try != len(test.tries)-1 {
			t.Errorf("%v: %d tries", test.tries, try+1)
		}
		if err == nil {
			continue
		}
		p := explain(attempted{err})
		if code := p.body.(detail).Code; p.status != test.status || code != test.code {
			t.Errorf("%v: %d %q, want %d %q", test.tries, p.status, code, test.status, test.code)
		}
	}
}
