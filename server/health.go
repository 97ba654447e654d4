package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/schema"
)

// Where the process tells about itself.
const (
	healthPath = "/healthz/"
	readyPath  = "/readyz/"
)

// healthz answers as long as the process does.
func (s *Server) healthz(c echo.Context) error {
	return s.writeJSON(c, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 200 when requests can be served: the database is there, takes writes, and its schema is no older than
// this program.
func (s *Server) readyz(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.ready.ask(ctx); err != nil {
		s.log.WarnContext(ctx, "not ready", "request_id", requestOf(ctx).id, "error", loggable(err))
		return s.writeJSON(c, http.StatusServiceUnavailable, map[string]string{"status": "unavailable"})
	}
	return s.writeJSON(c, http.StatusOK, map[string]string{"status": "ok"})
}

const (
	readyTimeout = 2 * time.Second
	readyKept    = time.Second
)

// A readiness asks the database whether it is there and takes writes. Anybody may ask this and nothing bounds how often,
// so one check is under way at a time, its answer is kept for a second, and it takes one connection.
type readiness struct {
	check func(context.Context) error

	mu    sync.Mutex
	until time.Time // when err is too old
	err   error
}

func newReadiness(database *queries.DB) *readiness {
	return &readiness{check: func(ctx context.Context) error {
		if err := database.Read(ctx, func(q *db.Queries) error { return q.SessionCheckWrite(ctx) }); err != nil {
			return err
		}
		return schema.Check(ctx, database.Pool)
	}}
}

// ask checks, or returns what a check just said. That of one caller is for all, so it does not end with the
// caller's request.
func (r *readiness) ask(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	r.err = r.check(ctx)
	r.until = time.Now().Add(readyKept)
	return r.err
}

// Health is /healthz and /readyz alone, for a process that works and does not serve.
func Health(database *queries.DB) http.Handler {
	mux, ready := http.NewServeMux(), newReadiness(database)
	answer := func(w http.ResponseWriter, err error) {
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"status":"unavailable"}`))
			return
		}
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, ready.ask(r.Context())) })
	return mux
}
