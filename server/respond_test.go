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

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

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

// What the database says of an error quotes values, which are patients'.
func TestLoggable(t *testing.T) {
	t.Parallel()
	const secret = "Ahmad has diabetes"
	err := fmt.Errorf("store: %w", &pgconn.PgError{Code: "22P05", Message: secret, Detail: secret, Hint: secret, Where: secret})
	if text := loggable(err).String(); strings.Contains(text, secret) || !strings.Contains(text, "22P05") {
		t.Errorf("logged as %s", text)
	}
}

// Too many passwords being hashed is a reason to come back, and nothing was done.
func TestBusyHashing(t *testing.T) {
	t.Parallel()
	p := problem.Of(problem.Writing(busyIfHashing(auth.ErrBusy)))
	if body, _ := p.Body.(problem.Detail); p.Status != 503 || p.Header["Retry-After"] == "" || body.Code != "" {
		t.Errorf("%d %v %v", p.Status, p.Body, p.Header)
	}
}
