package server

import (
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/gen/api"
)

// encoding is how every answer is written: raw UTF-8, and times with six fraction digits or none, as
// the clients of such APIs parse them (encoding/json would drop the zeros at the end).
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

// respond writes what a handler returned. The generated code would do it one type at a time with
// encoding/json; here all answers are written in one place and one format.
func (s *Server) respond(next api.StrictHandlerFunc, _ string) api.StrictHandlerFunc {
	return func(c echo.Context, request any) (any, error) {
		response, err := next(c, request)
		if err != nil && c.Request().Method != http.MethodGet { // HEAD is GET here
			return nil, attempted{err}
		}
		if err != nil || response == nil {
			return nil, err
		}
		return nil, s.write(c, statusOf(reflect.TypeOf(response)), response)
	}
}

// write encodes body before anything is sent, so that a value that cannot be encoded is still a clean
// error.
func (s *Server) write(c echo.Context, status int, body any) error {
	if status == http.StatusNoContent {
		return c.NoContent(status)
	}
	text, err := json.Marshal(body, encoding)
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	header.Set(echo.HeaderContentLength, strconv.Itoa(len(text)))
	c.Response().WriteHeader(status)
	if _, err = c.Response().Write(text); errors.Is(err, http.ErrBodyNotAllowed) { // HEAD
		return nil
	}
	return err
}

var (
	statuses      sync.Map // reflect.Type to int
	statusPattern = regexp.MustCompile(`(\d{3})(?:JSON)?Response$`)
)

// statusOf is the status that a generated response type stands for: CreatePatient201JSONResponse.
func statusOf(t reflect.Type) int {
	if status, found := statuses.Load(t); found {
		return status.(int)
	}
	match := statusPattern.FindStringSubmatch(t.Name())
	if match == nil {
		panic("server: a response type without a status: " + t.String())
	}
	status, _ := strconv.Atoi(match[1])
	statuses.Store(t, status)
	return status
}
