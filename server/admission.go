package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// gate decides on a request before its operation is called, in the order that clients of Django REST Framework know:
// the path, OPTIONS, what is acceptable, who is asking, whether they may and how often, the method, the object, the
// body.
func (s *Server) gate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if len(c.Request().RequestURI) > maxURLBytes {
			return problem.URLTooLong
		}
		path, declared := s.contract.Paths[c.Path()]
		switch method := c.Request().Method; {
		case !declared && s.static[c.Path()]:
			return next(c)
		case !declared:
			return problem.NotFound
		case method == http.MethodOptions:
			c.Response().Header().Set("Allow", path.Allow)
			return c.NoContent(http.StatusNoContent)
		case !acceptsJSON(c.Request().Header.Values("Accept")):
			return problem.NotAcceptable
		}
		a := &admission{server: s, c: c, path: path, operation: path.Operations[c.Request().Method], leave: func() {}}
		defer func() { a.leave() }()
		if err := a.admit(); err != nil {
			return err
		}
		if a.operation == nil {
			return problem.MethodNotAllowed(c.Request().Method, path.Allow)
		}
		if err := a.readInput(); err != nil {
			return err
		}
		return next(c)
	}
}

// An admission is a request on its way through the gate. What it learns becomes the request that the handler gets.
type admission struct {
	server     *Server
	c          echo.Context
	path       *contract.Path
	operation  *contract.Operation // nil for a method that the path does not have
	credential credential
	leave      func() // gives back the caller's place among the requests in flight

	input     *input // once it was read
	inputErr  error
	uncounted bool // events whose body was not read when the limits were asked
}

// keep makes what was learned part of the request.
func (a *admission) keep(learn func(*request)) {
	ctx := a.c.Request().Context()
	r := requestOf(ctx)
	learn(&r)
	a.c.SetRequest(a.c.Request().WithContext(r.in(ctx)))
}

// admit authenticates the caller, checks the permission of the operation or, for a method that the path does not have,
// of any of the path's, and counts the call against its rate limits.
func (a *admission) admit() error {
	s, ctx := a.server, a.c.Request().Context()
	a.keep(func(r *request) { r.operation = a.operation })
	policy := a.path.RateLimit(a.operation)
	if field := s.rates.Policy(policy); field != "" {
		a.c.Response().Header().Set("RateLimit-Policy", field)
	}
	if a.operation != nil && a.operation.Public() || a.operation == nil && a.path.MayAny(auth.Principal{}) {
		if policy != contract.PolicyAuth {
			return nil
		}
		return a.take(s.rates.Charges(policy, limits.ClientAddress(requestOf(ctx).clientIP), nil))
	}

	began := time.Now()
	var err error
	if a.credential, err = s.credential(a.c.Request().Header, a.path); err != nil {
		return err
	}
	since(s.metrics.credential, began)
	leave, ok := s.inFlight.EnterAs(a.credential.id())
	if !ok {
		return problem.Busy()
	}
	a.leave = leave
	a.peekSources(policy)

	began = time.Now()
	principal, decision, err := a.authenticate(policy)
	if err != nil {
		return err
	}
	since(s.metrics.principal, began)
	a.keep(func(r *request) { r.principal = principal })
	a.record(decision)
	if !a.permitted(principal) {
		s.log.InfoContext(ctx, "denied", "request_id", requestOf(ctx).id, "user", principal.Username,
			"method", truncated(a.c.Request().Method), "path", a.c.Path())
		return problem.Forbidden
	}
	return decision.Err()
}

func (a *admission) permitted(p auth.Principal) bool {
	if a.operation == nil {
		return a.path.MayAny(p)
	}
	return p.May(a.operation.Permission)
}

// smallBody is how large a body of events may be, in bytes, that is read before its sender is authenticated.
const smallBody = 16 << 10

// peekSources finds out which source systems a call counts for, so that limits and principal are one round trip. A
// body of events names them; an API key stands for one. A small body is read first, and what is wrong with it is told
// in its turn; a large one is read, and charged, when its sender is known to be admitted. An anonymous caller does not
// get here, as the token was signed by this server; a user who was deactivated since does.
func (a *admission) peekSources(policy string) {
	if a.operation == nil || policy != contract.PolicyEvents || a.credential.key != "" {
		return
	}
	if size := a.c.Request().ContentLength; 0 <= size && size <= smallBody {
		_ = a.read()
	} else {
		a.uncounted = true
	}
}

// charges are what the call costs a principal, as far as is known.
func (a *admission) charges(policy string, p auth.Principal) []limits.Charge {
	if a.uncounted {
		return a.server.rates.Peek(identity(p))
	}
	var sources []string
	switch {
	case p.Kind == auth.KindAPIKey:
		sources = []string{p.SourceSystem}
	case a.input != nil:
		sources = a.input.body.RateLimitKeys
	}
	return a.server.rates.Charges(policy, identity(p), sources)
}

// identity names a principal as rate limits count it.
func identity(p auth.Principal) string {
	if p.Kind == auth.KindAPIKey {
		return p.ConfigID.String()
	}
	return p.UserID.String()
}

// authenticate finds out who sends the request, and what the limits say. A caller who was refused a moment ago is
// known from a cache, if that is enough to refuse this call too: a flood of such calls never reaches the database.
func (a *admission) authenticate(policy string) (auth.Principal, limits.Decision, error) {
	if known, found := a.server.refused.Get(a.credential.id(), time.Now()); found {
		if decision, refused := a.server.rates.Cached(a.charges(policy, known)); refused {
			return known, decision, nil
		}
	}
	if a.credential.key != "" {
		return a.authenticateKey(policy)
	}
	return a.authenticateToken(policy)
}

// take counts a call in a round trip of its own, and is an error if it is refused.
func (a *admission) take(charges []limits.Charge) error {
	decision, err := a.server.rates.Take(a.c.Request().Context(), charges)
	if err != nil {
		return err
	}
	a.record(decision)
	return decision.Err()
}

// record tells the caller what is left of the limits, and caches who is over one, with the principal: for the calls that
// are refused from the cache, 403 still goes before 429.
func (a *admission) record(decision limits.Decision) {
	ctx := a.c.Request().Context()
	r := requestOf(ctx)
	a.server.rates.Record(ctx, decision, slog.String("request_id", r.id), slog.String("caller", r.caller()), slog.String("ip", r.clientIP))
	if field := decision.Field(); field != "" {
		a.c.Response().Header().Set("RateLimit", field)
	}
	if until := decision.Until(); !until.IsZero() && r.principal.Kind != auth.KindAnonymous {
		a.server.refused.Put(a.credential.id(), r.principal, until, time.Now())
	}
}

// readInput reads the request, charges it if that is still to be done, and leaves what was read to the handler.
func (a *admission) readInput() error {
	refused := a.read()
	if a.uncounted {
		a.uncounted = false
		if err := a.take(a.charges(contract.PolicyEvents, requestOf(a.c.Request().Context()).principal)); err != nil {
			return err
		}
	}
	if refused != nil {
		return a.hideUnknown(refused)
	}
	a.keep(func(r *request) { r.page, r.body = a.input.page, a.input.body })
	a.input.bind(a.c)
	return nil
}

// hideUnknown turns a refused body into 404 when the object that it was for does not exist as far as the caller may
// see: a mistake in the body must not tell one from the other.
func (a *admission) hideUnknown(refused error) error {
	id, ok := contract.ParseUUID(a.c.Param("id"))
	if a.operation.Object == "" || !ok {
		return refused
	}
	ctx := a.c.Request().Context()
	missing, err := isMissing(ctx, a.server.engine.db, contract.Reference{Field: "id", Noun: a.operation.Object, ID: id})
	switch {
	case err != nil:
		return err
	case missing:
		return problem.NotFound
	}
	return refused
}
