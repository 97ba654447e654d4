package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/server/problem"
)

// encoding is how every answer is written: raw UTF-8, and times with six fraction digits or none, as Django REST
// Framework writes them (encoding/json would drop the zeros at the end).
var encoding = json.JoinOptions(
	json.WithMarshalers(json.MarshalToFunc(func(out *jsontext.Encoder, t time.Time) error {
		layout := "2006-01-02T15:04:05.000000Z"
		if t.Nanosecond()/1000 == 0 {
			layout = "2006-01-02T15:04:05Z"
		}
		return out.WriteToken(jsontext.String(t.UTC().Format(layout)))
	})),
	json.Deterministic(true),
	jsontext.AllowInvalidUTF8(true), // what Postgres holds is valid; nothing here is worth failing for
)

// respond writes what an operation returned. Its status is the contract's.
func (s *Server) respond(c echo.Context, status int, answer any, err error) error {
	switch {
	case err != nil && c.Request().Method != http.MethodGet: // HEAD is GET here
		return problem.Writing(err)
	case err != nil:
		return err
	}
	if o := requestOf(c.Request().Context()).operation; o != nil && o.IsList() {
		return s.writePage(c, status, answer)
	}
	return s.writeJSON(c, status, answer)
}

// writeJSON encodes body before anything is sent, so that a value that cannot be encoded is still a clean error.
func (s *Server) writeJSON(c echo.Context, status int, body any) error {
	if status == http.StatusNoContent {
		r := requestOf(c.Request().Context())
		s.dropBody(c, r.place)
		r.place.leave()
		return c.NoContent(status)
	}
	text, err := json.Marshal(body, encoding)
	if err != nil {
		return err
	}
	return s.writeText(c, status, echo.MIMEApplicationJSON, text)
}

// writePage is writeJSON of a page, which is encoded only as far as it may go.
func (s *Server) writePage(c echo.Context, status int, page any) error {
	var text pageBuffer
	if err := json.MarshalWrite(&text, page, encoding); err != nil {
		return err
	}
	return s.writeText(c, status, echo.MIMEApplicationJSON, text)
}

// A pageBuffer holds up to maxPageBytes. To write more is errPageTooLarge.
type pageBuffer []byte

func (b *pageBuffer) Write(part []byte) (int, error) {
	if len(*b)+len(part) > maxPageBytes {
		return 0, errPageTooLarge
	}
	*b = append(*b, part...)
	return len(part), nil
}

// writeText sends the text of an answer, and gives the request's place back before a client can be slow to read.
func (s *Server) writeText(c echo.Context, status int, mediaType string, text []byte) error {
	r := requestOf(c.Request().Context())
	s.dropBody(c, r.place)
	r.place.leave()
	lease, err := s.answering(c, int64(len(text)))
	if err != nil {
		return err
	}
	defer lease.Release()
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, mediaType)
	header.Set(echo.HeaderContentLength, strconv.Itoa(len(text)))
	c.Response().WriteHeader(status)
	out := io.Writer(c.Response())
	// For a small answer the timeout of the HTTP server is enough, unless a slow body has used it up: it fits into the
	// buffers of the connection, and setting a deadline wakes the network poller.
	if len(text) >= largeAnswer || time.Since(r.began) > slowRequest {
		out = s.pacedWriter(c)
	}
	if _, err = out.Write(text); errors.Is(err, http.ErrBodyNotAllowed) { // HEAD
		return nil
	}
	return err
}

// writeError writes the answer to an error; it is echo's HTTPErrorHandler, so every error ends here.
func (s *Server) writeError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := problem.Of(err)
	ctx := c.Request().Context()
	if p.Status >= http.StatusInternalServerError && !errors.Is(ctx.Err(), context.Canceled) {
		s.log.ErrorContext(ctx, "request failed", "request_id", requestOf(ctx).id, "error", loggable(err))
	}
	for name, value := range p.Header {
		c.Response().Header().Set(name, value)
	}
	if err := s.writeJSON(c, p.Status, p.Body); err != nil {
		s.log.WarnContext(ctx, "answer not written", "request_id", requestOf(ctx).id, "error", err)
	}
}

// logPanic writes the stack of a panic to the log. The answer is a 500 that says nothing of it.
func (s *Server) logPanic(c echo.Context, err error, stack []byte) error {
	s.log.ErrorContext(c.Request().Context(), "panic", "request_id", requestOf(c.Request().Context()).id, "error", err, "stack", string(stack))
	return problem.ServerError
}

// loggable is an error as it may stand in a log: of the database's, the state and the constraint, but not the message,
// which quotes values.
func loggable(err error) slog.Value {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return slog.StringValue(fmt.Sprintf("SQLSTATE %s %s %s", pg.Code, pg.TableName, pg.ConstraintName))
	}
	return slog.StringValue(err.Error())
}
