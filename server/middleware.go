package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/server/auth"
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

// identify gives each request its id and the headers that every answer has.
//
// After a request with Transfer-Encoding the connection is closed: with a Content-Length beside it, a proxy may see the request end
// elsewhere (RFC 9112, section 6.1). net/http hides whether there was one, and ignores Transfer-Encoding in HTTP/1.0.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := request{id: newID().String(), began: time.Now(), clientIP: c.RealIP(), path: c.Request().URL.Path, header: c.Response().Header(), actor: &auth.Principal{}}
		c.SetRequest(c.Request().WithContext(r.in(c.Request().Context())))
		header := c.Response().Header()
		if len(c.Request().TransferEncoding) > 0 || !c.Request().ProtoAtLeast(1, 1) {
			header.Set("Connection", "close")
		}
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
		s.log.InfoContext(c.Request().Context(), "request", "request_id", r.id, "method", truncated(method), "path", loggablePath(c.Request().URL.Path),
			"status", status, "bytes", c.Response().Size, "ms", float64(elapsed.Microseconds())/1000, "ip", r.clientIP, "caller", r.caller())
		return nil
	}
}

// loggablePath is a path as it goes to the log: without what follows the paths where tokens stand, which are keys to what
// patients answer.
func loggablePath(path string) string {
	for _, secret := range []string{surveyPath, "/api/surveys/public/"} {
		if strings.HasPrefix(path, secret) {
			return secret + "…"
		}
	}
	return truncated(path)
}

// truncated is text of a client's as it goes to the log: enough of it to recognize it.
func truncated(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
