package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// normalize gives a request the path and method that the routes have: with a trailing slash, and GET for HEAD, whose
// body the HTTP server leaves out.
func normalize(r *http.Request) *http.Request {
	if strings.HasSuffix(r.URL.Path, "/") && r.Method != http.MethodHead {
		return r
	}
	again := *r
	at := *r.URL
	again.URL = &at
	if !strings.HasSuffix(at.Path, "/") {
		at.Path += "/"
		if at.RawPath != "" {
			at.RawPath += "/"
		}
	}
	if r.Method == http.MethodHead {
		again.Method = http.MethodGet
	}
	return &again
}

// identify gives each request its id, the headers that every answer has, and a deadline: above the statement timeout,
// so that it is the database that gives up first, with a reason.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := request{id: newID().String(), clientIP: c.RealIP(), path: c.Request().URL.Path, actor: &auth.Principal{}}
		ctx, cancel := context.WithTimeout(r.in(c.Request().Context()), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		header := c.Response().Header()
		header.Set("X-Request-ID", r.id)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		return next(c)
	}
}

// logRequest writes one line for each request when it is over. Query strings and bodies stay out of it: they name
// patients.
func (s *Server) logRequest(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		method := c.Request().Method
		if err := next(c); err != nil {
			c.Error(err) // so that the status is known here
		}
		r := requestOf(c.Request().Context())
		status, elapsed := c.Response().Status, time.Since(start)
		s.metrics.request(c.Path(), method, status, elapsed)
		s.log.InfoContext(c.Request().Context(), "request", "request_id", r.id, "method", truncated(method), "path", truncated(c.Request().URL.Path),
			"status", status, "bytes", c.Response().Size, "ms", float64(elapsed.Microseconds())/1000, "ip", r.clientIP, "caller", r.caller())
		return nil
	}
}

// truncated is text of a client's as it goes to the log: enough of it to recognize it.
func truncated(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// limitInFlight refuses a request at once with 503 when too many are in flight. Whether the process is alive and ready
// is answered all the same: a busy process must not be taken for a dead one.
func (s *Server) limitInFlight(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if path := c.Path(); path == healthPath || path == readyPath {
			return next(c)
		}
		event := false
		if path, declared := s.contract.Paths[c.Path()]; declared {
			o := path.Operations[c.Request().Method]
			event = o != nil && o.TakesEvents()
		}
		leave, ok := s.inFlight.Enter(event)
		if !ok {
			return problem.Busy()
		}
		defer leave()
		return next(c)
	}
}
