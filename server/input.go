package server

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

// An input is what a request says, checked against the contract and in canonical form.
type input struct {
	id    *uuid.UUID // in the path
	query url.Values
	page  contract.Page
	body  contract.Body
}

// read reads the request once: the id in the path, the query string of a list, headers and body.
func (a *admission) read() error {
	if a.input == nil && a.inputErr == nil {
		a.input, a.inputErr = a.readOnce()
	}
	return a.inputErr
}

func (a *admission) readOnce() (*input, error) {
	c, o, in := a.c, a.operation, &input{}
	if slices.Contains(c.ParamNames(), "id") {
		id, ok := contract.ParseUUID(c.Param("id"))
		if !ok {
			return nil, problem.NotFound
		}
		in.id = &id
	}
	var err error
	if o.IsList() {
		if in.query, in.page, err = o.ReadQuery(c.Request().URL.RawQuery); err != nil {
			return nil, err
		}
	}
	if err := o.ReadHeader(c.Request().Header); err != nil {
		return nil, err
	}
	if !o.HasBody() {
		return in, nil
	}
	raw, err := a.rawBody()
	if err == nil {
		raw, err = checkBodyHeaders(c.Request(), raw)
	}
	if err != nil {
		return nil, err
	}
	if in.body, err = o.ReadBody(c.Request().Context(), raw); err != nil {
		return nil, err
	}
	return in, nil
}

// bind puts the canonical form in the place of what was sent, for the generated code to bind: so what was checked is
// what is bound, to the byte.
func (in *input) bind(c echo.Context) {
	if in.id != nil {
		c.SetParamValues(in.id.String())
	}
	r := c.Request()
	r.URL.RawQuery = in.query.Encode()
	if in.body.JSON != nil {
		r.Header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		r.Body = io.NopCloser(bytes.NewReader(in.body.JSON))
		r.ContentLength = int64(len(in.body.JSON))
	}
}

// checkBodyHeaders refuses what is no JSON by its headers. Without any bytes the body is nil, whatever its type.
func checkBodyHeaders(r *http.Request, raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if encoding := strings.Join(r.Header.Values("Content-Encoding"), ","); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, problem.New(http.StatusUnsupportedMediaType, "Unsupported content encoding in request.")
	}
	contentType := strings.Join(r.Header.Values("Content-Type"), ", ")
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" || parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return nil, problem.UnsupportedMediaType(contentType)
	}
	return raw, nil
}
