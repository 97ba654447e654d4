package server

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

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
	return s.write(c, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 200 when requests can be served: the database is there and its schema is no older
// than this program.
func (s *Server) readyz(c echo.Context) error {
	if err := ready(c.Request().Context(), s.db); err != nil {
		s.log.WarnContext(c.Request().Context(), "not ready", "error", logged(err))
		return s.write(c, http.StatusServiceUnavailable, map[string]string{"status": "unavailable"})
	}
	return s.write(c, http.StatusOK, map[string]string{"status": "ok"})
}

func ready(ctx context.Context, database *queries.DB) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return schema.Check(ctx, database.Pool)
}

// Health is /healthz and /readyz alone, for a process that works and does not serve.
func Health(database *queries.DB) http.Handler {
	mux := http.NewServeMux()
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
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, ready(r.Context(), database)) })
	return mux
}
