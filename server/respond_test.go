package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// closedConnection is the ResponseWriter of a client that closed the connection.
type closedConnection struct{ *httptest.ResponseRecorder }

func (closedConnection) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestFailedWriteIsLoggedWithTheRequestID(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newServerWithoutDatabase(t, func(o *Options) { o.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	w := closedConnection{httptest.NewRecorder()}
	s.ServeHTTP(w, httptest.NewRequest("GET", "/nothing/", nil))
	line, _, _ := strings.Cut(log.String(), "\n")
	if id := w.Header().Get("X-Request-ID"); id == "" || !strings.Contains(line, "answer not written") || !strings.Contains(line, id) {
		t.Errorf("the request %s is logged as %s", id, log.String())
	}
}

// The texts of database errors can quote patient data.
func TestLoggable(t *testing.T) {
	t.Parallel()
	const secret = "Ahmad has diabetes"
	err := fmt.Errorf("store: %w", &pgconn.PgError{Code: "22P05", Message: secret, Detail: secret, Hint: secret, Where: secret})
	if text := loggable(err).String(); strings.Contains(text, secret) || !strings.Contains(text, "22P05") {
		t.Errorf("logged as %s", text)
	}
}
