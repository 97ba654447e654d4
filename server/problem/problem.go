// Package problem is what an error answer is: its status, its body in the form of Django REST Framework ({"detail": …}
// or messages by field) and its headers; and which answer each error has. It knows the verdicts on errors of the
// database, but no request, no operation and no noun.
package problem

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/queries"
)

// A Problem is an error that knows its answer. Handlers return it like any other error.
type Problem struct {
	Status int
	Body   any // what is rendered as JSON: a Detail, Fields, or an answer of its own
	Header map[string]string
}

func (p *Problem) Error() string { return fmt.Sprintf("%d %v", p.Status, p.Body) }

// A Detail is the body of an error that is not about fields.
type Detail struct {
	Detail   string         `json:"detail"`
	Code     string         `json:"code,omitempty"`
	Messages []TokenMessage `json:"messages,omitempty"`
}

// A TokenMessage says what is wrong with a token, in the form of SimpleJWT.
type TokenMessage struct {
	TokenClass string `json:"token_class"`
	TokenType  string `json:"token_type"`
	Message    string `json:"message"`
}

// Fields are messages by field: lists of strings or, where an object nests, Fields again.
type Fields map[string]any

// NonField is the key of messages that concern no single field.
const NonField = "non_field_errors"

// Add appends messages about a field.
func (f Fields) Add(field string, messages ...string) {
	have, _ := f[field].([]string)
	f[field] = append(have, messages...)
}

// CodeOutcomeUnknown tells clients that repeating the request may do it twice.
const CodeOutcomeUnknown = "outcome_unknown"

// Answers that are the same wherever they are given.
var (
	NotFound      = New(http.StatusNotFound, "Not found.")
	InvalidPage   = New(http.StatusNotFound, "Invalid page.")
	Forbidden     = New(http.StatusForbidden, "You do not have permission to perform this action.")
	NotAcceptable = New(http.StatusNotAcceptable, "Could not satisfy the request Accept header.")
	URLTooLong    = New(http.StatusRequestURITooLong, "The URL is too long.")
	BodyTooLarge  = New(http.StatusRequestEntityTooLarge, "Request body too large.")
	ServerError   = New(http.StatusInternalServerError, "A server error occurred.")
)

// New is an answer with a detail.
func New(status int, detail string) *Problem {
	return &Problem{Status: status, Body: Detail{Detail: detail}}
}

// BadRequest is a 400 with a detail.
func BadRequest(detail string) *Problem { return New(http.StatusBadRequest, detail) }

// Invalid is a 400 with messages by field.
func Invalid(fields Fields) *Problem { return &Problem{Status: http.StatusBadRequest, Body: fields} }

// InvalidField is a 400 about one field.
func InvalidField(field, message string) *Problem {
	return Invalid(Fields{field: []string{message}})
}

// MaxExcerpt is how many characters of a client's own text a message quotes.
const MaxExcerpt = 100

// Excerpt is a client's text as a message quotes it: cut after MaxExcerpt characters, with an ellipsis in their place.
func Excerpt(text string) string {
	count := 0
	for i := range text {
		if count == MaxExcerpt {
			return text[:i] + "…"
		}
		count++
	}
	return text
}

// Conflict is a 409: the request is valid, but the state of the object forbids it.
func Conflict(detail string) *Problem { return New(http.StatusConflict, detail) }

// UnsupportedMediaType is a 415 that names the media type.
func UnsupportedMediaType(mediaType string) *Problem {
	return New(http.StatusUnsupportedMediaType, fmt.Sprintf("Unsupported media type %q in request.", Excerpt(mediaType)))
}

// MethodNotAllowed is a 405. Allow lists the methods that the path has.
func MethodNotAllowed(method, allow string) *Problem {
	return &Problem{http.StatusMethodNotAllowed, Detail{Detail: `Method "` + Excerpt(method) + `" not allowed.`}, map[string]string{"Allow": allow}}
}

// Unauthorized is a 401; every 401 says how to authenticate (RFC 9110, section 11.6.1).
func Unauthorized(body Detail) *Problem {
	return &Problem{http.StatusUnauthorized, body, map[string]string{"WWW-Authenticate": `Bearer realm="api"`}}
}

// Busy is a 503 for a request of which nothing was done. Retry-After is 1 to 4 s at random, so that clients do not all
// come back at once.
func Busy() *Problem {
	return &Problem{http.StatusServiceUnavailable, Detail{Detail: "The server is busy. Try again later."},
		map[string]string{"Retry-After": strconv.Itoa(1 + rand.IntN(4))}}
}

// OutcomeUnknown is a 503 for a request that may have been done: the connection was lost before the database answered.
func OutcomeUnknown() *Problem {
	p := Busy()
	p.Body = Detail{Detail: "The server does not know whether this was done. Look before you send it again.", Code: CodeOutcomeUnknown}
	return p
}

// CodeQueryTooSlow tells clients that repeating the request would take as long.
const CodeQueryTooSlow = "query_too_slow"

// QueryTooSlow is a 503 for a list that takes too long, without Retry-After: the request has to change. advice says how.
func QueryTooSlow(advice string) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Body: Detail{Detail: "The query takes too long. " + advice, Code: CodeQueryTooSlow}}
}

// Writing marks the error of an operation that writes, once its handler has run: if the connection was lost, the
// change may have been committed.
func Writing(err error) error { return writing{err} }

type writing struct{ error }

func (w writing) Unwrap() error { return w.error }

// Of finds the answer to an error that a handler, the router or the generated code returned.
func Of(err error) *Problem {
	var known *Problem
	if errors.As(err, &known) {
		return known
	}
	switch queries.Judge(err) {
	case queries.InvalidField:
		field, _ := queries.FieldErrorOf(err)
		return InvalidField(field.Field, field.Message)
	case queries.InvalidValue: // what the validation in front of the database should have caught
		return BadRequest("The request has a value that cannot be stored.")
	case queries.Referenced:
		return Conflict("Others refer to this, so it cannot be deleted.")
	case queries.Retry, queries.Busy, queries.TimedOut:
		return Busy()
	case queries.Lost:
		var written writing
		if errors.As(err, &written) {
			return OutcomeUnknown()
		}
		return Busy()
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return BodyTooLarge
	}
	var framework *echo.HTTPError
	if errors.As(err, &framework) { // its own words name Go's types
		switch framework.Code {
		case http.StatusNotFound:
			return NotFound
		case http.StatusBadRequest:
			return BadRequest("The request could not be read.")
		}
	}
	return ServerError
}
