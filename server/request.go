package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

// A request is what the gate learned of a request before its handler runs. Handlers see only a
// context.Context, and find it there.
type request struct {
	id        string
	path      string
	clientIP  string
	header    http.Header // of the answer
	principal auth.Principal
	operation *operation
	listing   *listing
	reading   *reading
	body      []byte // as it was checked

	credential credential
	place      string // the credential's, among the requests in flight; empty while it has none
	unread     bool   // the call will be counted when its body tells what for
}

type requestKey struct{}

// requestOf is the request that ctx belongs to; an empty one outside of any.
func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

// begin gives each request its id, its context and a deadline: above the statement timeout, so that
// it is the database that gives up first, with a reason.
func (s *Server) begin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := &request{id: newID().String(), path: c.Request().URL.Path, clientIP: c.RealIP(), header: c.Response().Header()}
		ctx, cancel := context.WithTimeout(context.WithValue(c.Request().Context(), requestKey{}, r), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		header := c.Response().Header()
		header.Set("X-Request-ID", r.id)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		return next(c)
	}
}

// gate decides on a request before its handler sees it, in the order that clients of Django REST
// Framework know: the path, OPTIONS, what is acceptable, who is asking, whether they may, the
// method, the object, the body.
func (s *Server) gate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if len(c.Request().RequestURI) > maxURLBytes {
			return errURLTooLong
		}
		item, found := s.contract.paths[c.Path()]
		if !found {
			if s.static[c.Path()] {
				return next(c)
			}
			return errNotFound
		}
		r, method := requestOf(c.Request().Context()), c.Request().Method
		if method == http.MethodOptions {
			c.Response().Header().Set("Allow", item.allow)
			return c.NoContent(http.StatusNoContent)
		}
		if !acceptsJSON(c.Request().Header.Values("Accept")) {
			return errNotAcceptable
		}
		r.operation = item.operations[method] // nil if there is none
		read := sync.OnceValue(func() error { return s.readRequest(c, r) })
		defer s.inFlight.leaveAs(r)
		if err := s.admit(c, r, item, read); err != nil {
			return err
		}
		if r.operation == nil {
			return &problem{http.StatusMethodNotAllowed, detail{Detail: `Method "` + method + `" not allowed.`}, map[string]string{"Allow": item.allow}}
		}
		refused := read()
		if r.unread {
			r.unread = false
			if err := s.limiter.charge(c.Request().Context(), r, s.limiter.charges(r, policyEvents, r.principal)); err != nil {
				return err
			}
		}
		if refused != nil {
			return s.hideUnknown(c, r, refused)
		}
		return next(c)
	}
}

// smallBody is how large a body may be, in bytes, that is read before its sender is known to be welcome.
const smallBody = 16 << 10

// admit authenticates the caller, checks the permission of the operation, or, for a method that the path
// does not have, of any of the path's, and counts the call against its rate limits.
func (s *Server) admit(c echo.Context, r *request, item *pathItem, read func() error) error {
	ctx, o, limit := c.Request().Context(), r.operation, item.limit(r.operation)
	s.limiter.declare(r.header, limit)
	if o != nil && o.public() || o == nil && item.open(auth.Principal{}) {
		if limit != policyAuth {
			return nil
		}
		return s.limiter.chargeAddress(ctx, r)
	}
	began := time.Now()
	var err error
	if r.credential, err = s.credential(c.Request().Header, item); err != nil {
		return err
	}
	since(s.metrics.credential, began)
	if !s.inFlight.enterAs(r) {
		return busy()
	}
	if o != nil && limit == policyEvents && r.credential.key == "" {
		// Which source systems the call counts for, its body says, and an API key by itself. A small body is
		// read first, and what is wrong with it told in its turn. A stranger does not get here, as the token was
		// signed by this server; but who was thrown out a moment ago does.
		if size := c.Request().ContentLength; 0 <= size && size <= smallBody {
			_ = read()
		} else {
			r.unread = true
		}
	}
	began = time.Now()
	left, err := s.identify(ctx, r, limit)
	if err != nil {
		return err
	}
	since(s.metrics.principal, began)
	throttled := s.limiter.settle(ctx, r, left...)
	switch {
	case o != nil && !r.principal.May(o.permission), o == nil && !item.open(r.principal):
		s.log.InfoContext(ctx, "denied", "request_id", r.id, "user", r.principal.Username, "method", shortened(c.Request().Method), "path", c.Path())
		return errForbidden
	}
	return throttled
}

// sources are the source systems that the call counts for, sorted: an API key stands for one, whatever the
// body says; others name theirs there.
func (r *request) sources(p auth.Principal) []string {
	switch {
	case p.Kind == auth.KindAPIKey:
		return []string{p.SourceSystem}
	case r.reading == nil:
		return nil
	}
	slices.Sort(r.reading.countedBy)
	return slices.Compact(r.reading.countedBy)
}

// readRequest checks the id in the path, the query string of a list, and the body, and leaves them in
// one spelling for the generated code to bind.
func (s *Server) readRequest(c echo.Context, r *request) error {
	if text := c.Param("id"); text != "" || hasParam(c, "id") {
		id, ok := parseUUID(text)
		if !ok {
			return errNotFound
		}
		c.SetParamValues(id.String())
	}
	if r.operation.query != nil {
		bind, l, err := readQuery(r.operation.query, c.Request().URL.RawQuery)
		if err != nil {
			return err
		}
		r.listing = l
		c.Request().URL.RawQuery = bind.Encode()
	} else {
		c.Request().URL.RawQuery = ""
	}
	if err := readHeader(r.operation.headers, c.Request().Header); err != nil {
		return err
	}
	if r.operation.body == nil {
		return nil
	}
	raw, err := readAll(c, r.operation.bodyLimit)
	if err != nil {
		return err
	}
	body, reading, err := readBody(r.operation.body, raw)
	var malformed *parseError
	switch {
	case errors.As(err, &malformed):
		return failed(http.StatusBadRequest, malformed.Error())
	case err != nil:
		return err
	}
	r.body, r.reading = body, reading
	c.Request().Header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	c.Request().Body = io.NopCloser(bytes.NewReader(body))
	c.Request().ContentLength = int64(len(body))
	return nil
}

func hasParam(c echo.Context, name string) bool {
	for _, have := range c.ParamNames() {
		if have == name {
			return true
		}
	}
	return false
}

// readAll reads a body of JSON up to limit bytes.
func readAll(c echo.Context, limit int64) ([]byte, error) {
	req := c.Request()
	raw, err := io.ReadAll(http.MaxBytesReader(c.Response(), req.Body, limit))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, errTooLarge
		}
		return nil, failed(http.StatusBadRequest, "The request body could not be read.")
	}
	if len(raw) == 0 {
		return nil, nil
	}
	if encoding := strings.Join(req.Header.Values("Content-Encoding"), ","); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, failed(http.StatusUnsupportedMediaType, "Unsupported content encoding in request.")
	}
	contentType := strings.Join(req.Header.Values("Content-Type"), ", ")
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" || parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return nil, unsupported(contentType)
	}
	return raw, nil
}

// hideUnknown turns a refused body into 404 when the object that it was for does not exist as far as
// the caller may see: a mistake in the body must not tell one from the other.
func (s *Server) hideUnknown(c echo.Context, r *request, refused error) error {
	id, ok := parseUUID(c.Param("id"))
	if r.operation.object == "" || !ok {
		return refused
	}
	var missing []int32
	err := s.db.Read(c.Request().Context(), func(q *db.Queries) error {
		var err error
		missing, err = missingReferences(c.Request().Context(), q, r.principal, []reference{{"id", r.operation.object, id.String()}})
		return err
	})
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		return errNotFound
	}
	return refused
}

// acceptsJSON tells whether one of the Accept headers lets JSON through.
func acceptsJSON(accept []string) bool {
	if len(accept) == 0 {
		return true
	}
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		mediaType, parameters, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(mediaType)) {
		case "*/*", "application/*", "application/json":
			if q := strings.ReplaceAll(parameters, " ", ""); !strings.HasPrefix(q, "q=0") || strings.Trim(q, "q=0.") != "" {
				return true
			}
		}
	}
	return false
}

// spell makes a path and a method as the routes have them: with a trailing slash, and HEAD as the GET
// that it is, whose body the HTTP server leaves out.
func spell(r *http.Request) *http.Request {
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

// logRequest writes one line for each request when it is over. Query strings and bodies stay out of
// it: they name patients.
func (s *Server) logRequest(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		method := c.Request().Method
		err := next(c)
		if err != nil {
			c.Error(err) // so that the status is known here
		}
		r := requestOf(c.Request().Context())
		status, elapsed := c.Response().Status, time.Since(start)
		s.metrics.request(c.Path(), method, status, elapsed)
		s.log.InfoContext(c.Request().Context(), "request", "request_id", r.id, "method", shortened(method), "path", shortened(c.Request().URL.Path),
			"status", status, "bytes", c.Response().Size, "ms", float64(elapsed.Microseconds())/1000, "ip", r.clientIP, "caller", r.caller())
		return nil
	}
}

// shortened is text of a client's that goes to the log: enough of it to know it again.
func shortened(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// caller names who sent the request, for the log.
func (r *request) caller() string {
	switch r.principal.Kind {
	case auth.KindUser:
		return r.principal.Username
	case auth.KindAPIKey:
		return "key:" + r.principal.ConfigID.String()
	}
	return ""
}

func newID() uuid.UUID {
	return uuid.Must(uuid.NewV7())
}
