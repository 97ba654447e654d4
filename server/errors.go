package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// A problem is an error that knows its answer. Handlers return it like any error; render writes it.
type problem struct {
	status int
	body   any
	header map[string]string
}

func (p *problem) Error() string { return fmt.Sprintf("%d %v", p.status, p.body) }

// detail is the body of an error that is not about fields.
type detail struct {
	Detail   string         `json:"detail"`
	Code     string         `json:"code,omitempty"`
	Messages []tokenMessage `json:"messages,omitempty"`
}

type tokenMessage struct {
	TokenClass string `json:"token_class"`
	TokenType  string `json:"token_type"`
	Message    string `json:"message"`
}

// fieldErrors are messages by field: lists of strings, or, where an object nests, fieldErrors again.
type fieldErrors map[string]any

// wholeObject is the key of messages that concern no single field.
const wholeObject = "non_field_errors"

func (f fieldErrors) add(field string, messages ...string) {
	have, _ := f[field].([]string)
	f[field] = append(have, messages...)
}

func failed(status int, text string) *problem {
	return &problem{status: status, body: detail{Detail: text}}
}

func invalid(errs fieldErrors) *problem { return &problem{status: http.StatusBadRequest, body: errs} }

func invalidField(field, message string) *problem {
	return invalid(fieldErrors{field: []string{message}})
}

func conflict(text string) *problem { return failed(http.StatusConflict, text) }

func unsupported(mediaType string) *problem {
	return failed(http.StatusUnsupportedMediaType, fmt.Sprintf("Unsupported media type %q in request.", mediaType))
}

var (
	errNotFound      = failed(http.StatusNotFound, "Not found.")
	errInvalidPage   = failed(http.StatusNotFound, "Invalid page.")
	errForbidden     = failed(http.StatusForbidden, "You do not have permission to perform this action.")
	errNotAcceptable = failed(http.StatusNotAcceptable, "Could not satisfy the request Accept header.")
	errURLTooLong    = failed(http.StatusRequestURITooLong, "The URL is too long.")
	errTooLarge      = failed(http.StatusRequestEntityTooLarge, "Request body too large.")
	errServer        = failed(http.StatusInternalServerError, "A server error occurred.")
)

// unauthorized is a 401; every 401 says how to authenticate.
func unauthorized(body detail) *problem {
	return &problem{http.StatusUnauthorized, body, map[string]string{"WWW-Authenticate": `Bearer realm="api"`}}
}

// busy is a 503 that tells when to come back; the wait is spread so that not everybody does at once.
func busy() *problem {
	return &problem{http.StatusServiceUnavailable, detail{Detail: "The server is busy. Try again later."},
		map[string]string{"Retry-After": strconv.Itoa(1 + rand.IntN(4))}}
}

// codeOutcomeUnknown tells clients that to repeat the request may do it twice.
const codeOutcomeUnknown = "outcome_unknown"

// outcomeUnknown is busy where the request may be done all the same: nobody heard what became of it.
func outcomeUnknown() *problem {
	p := busy()
	p.body = detail{Detail: "The server does not know whether this was done. Look before you send it again.", Code: codeOutcomeUnknown}
	return p
}

// attempted is the error of an operation that writes, once its handler has begun.
type attempted struct{ error }

func (a attempted) Unwrap() error { return a.error }

// explain finds the answer to an error that a handler or the framework returned.
func explain(err error) *problem {
	var known *problem
	var field *queries.FieldError
	var pg *pgconn.PgError
	var framework *echo.HTTPError
	var tooLarge *http.MaxBytesError
	var tried attempted
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(queries.Violation(err), &field):
		return invalidField(field.Field, field.Message)
	case errors.Is(err, queries.ErrReferenced):
		return conflict("Others refer to this, so it cannot be deleted.")
	case errors.Is(err, queries.ErrBusy), errors.Is(err, auth.ErrBusy):
		return busy()
	case cutOff(err) && errors.As(err, &tried):
		return outcomeUnknown()
	case cutOff(err):
		return busy()
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.As(err, &pg):
		return explainSQLState(pg.Code)
	case errors.As(err, &framework):
		return explainFramework(framework.Code)
	}
	return errServer
}

// cutOff tells whether time or a connection ran out before the database said what it did: a change that
// was under way is then made or not. Of every other error it is known that it rolled the change back.
func cutOff(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || queries.Lost(err) || pgconn.Timeout(err)
}

// explainSQLState is the last line: what the validation in front of the database should have caught
// is still the caller's mistake, and what the database cannot do now is a reason to come back.
func explainSQLState(code string) *problem {
	in := func(class string) bool { return strings.HasPrefix(code, class) }
	switch {
	case in("22"), in("54"):
		return failed(http.StatusBadRequest, "The request has a value that cannot be stored.")
	case in("53"), code == "55P03", code == "57014", code == "40001", code == "40P01", code == "25P03":
		return busy()
	}
	return errServer
}

// explainFramework answers what the router and the generated code refuse. Their own words name Go's types.
func explainFramework(status int) *problem {
	switch status {
	case http.StatusNotFound:
		return errNotFound
	case http.StatusBadRequest:
		return failed(status, "The request could not be read.")
	}
	return errServer
}

// render writes the answer to an error; it is echo's HTTPErrorHandler, so every error ends here.
func (s *Server) render(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := explain(err)
	ctx := c.Request().Context()
	if p.status >= http.StatusInternalServerError && !errors.Is(ctx.Err(), context.Canceled) {
		s.log.ErrorContext(ctx, "request failed", "request_id", requestOf(ctx).id, "error", logged(err))
	}
	for name, value := range p.header {
		c.Response().Header().Set(name, value)
	}
	if err := s.write(c, p.status, p.body); err != nil {
		s.log.WarnContext(ctx, "answer not written", "request_id", requestOf(ctx).id, "error", err)
	}
}

// logged is an error as it may stand in a log: of the database's, the state and the constraint, but
// not the message, which quotes values.
func logged(err error) slog.Value {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return slog.StringValue(fmt.Sprintf("SQLSTATE %s %s %s", pg.Code, pg.TableName, pg.ConstraintName))
	}
	return slog.StringValue(err.Error())
}
