package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
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
		a := &admission{
			server: s, c: c, path: path, operation: path.Operations[c.Request().Method], connection: c.Request().Context(), cancel: func() {},
		}
		defer func() { a.place.leave(); a.cancel() }()
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
	place      *place
	connection context.Context // ends with the connection, and without a deadline
	cancel     func()          // ends the deadline of the work

	received  bool   // the body is in raw, or could not be read
	raw       []byte // the body as it was sent
	rawErr    error
	refusal   error  // the request was given up, whatever it says
	stale     bool   // the body took so long that the principal may have changed
	input     *input // once it was read
	inputErr  error
	uncounted bool // events whose body was not read when the limits were asked
}

// begin is the way to a place: a small body is received first, so that no place waits for it. It gives the work its
// deadline: above the statement timeout, so that it is the database that gives up first, with a reason.
func (a *admission) begin(caller string, known bool) error {
	a.place = &place{
		budgets: a.server.budgets, caller: caller, known: known, event: a.operation != nil && a.operation.TakesEvents(),
	}
	if size := a.c.Request().ContentLength; a.operation != nil && a.operation.HasBody() && 0 <= size && size <= smallBody {
		if a.receive(); a.refusal != nil {
			return a.refusal
		}
	}
	return a.work()
}

// receive reads the body. What is wrong with it is told in its turn, but for a 503, and for a body that did not come:
// net/http has given the connection up then, and with it the request's context.
func (a *admission) receive() {
	a.received = true
	a.raw, a.rawErr = a.server.receiveBody(a.c, a.place, a.operation.BodyLimit)
	var p *problem.Problem
	if errors.As(a.rawErr, &p) && p.Status == http.StatusServiceUnavailable {
		a.refusal = p
	}
	if a.connection.Err() != nil {
		a.refusal = a.rawErr
	}
}

// work takes a place and sets the deadline.
func (a *admission) work() error {
	if err := a.place.take(); err != nil {
		return err
	}
	r := requestOf(a.c.Request().Context())
	r.operation, r.place = a.operation, a.place
	a.cancel()
	ctx, cancel := context.WithTimeout(r.in(a.connection), requestTimeout)
	a.cancel = cancel
	a.c.SetRequest(a.c.Request().WithContext(ctx))
	return nil
}

// rawBody is the body as it was sent. For a large one the place is given back meanwhile.
func (a *admission) rawBody() ([]byte, error) {
	if !a.received {
		began := time.Now()
		a.place.lease.Release()
		a.receive()
		if a.refusal == nil {
			a.refusal = a.work()
		}
		a.stale = time.Since(began) > a.server.kept
	}
	return a.raw, a.rawErr
}

// refresh authenticates the caller again, and checks the permission, without counting the call.
func (a *admission) refresh() error {
	a.stale = false
	if requestOf(a.c.Request().Context()).principal.Kind == auth.KindAnonymous {
		return nil
	}
	principal, _, err := a.lookUp(nil)
	if err != nil {
		return err
	}
	a.keep(func(r *request) { r.principal = principal })
	if !a.permitted(principal) {
		return problem.Forbidden
	}
	return nil
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
	s := a.server
	policy := a.path.RateLimit(a.operation)
	if field := s.rates.Policy(policy); field != "" {
		a.c.Response().Header().Set("RateLimit-Policy", field)
	}
	if a.operation != nil && a.operation.Public() || a.operation == nil && a.path.MayAny(auth.Principal{}) {
		address := a.address()
		if err := a.begin(address, false); err != nil || policy != contract.PolicyAuth {
			return err
		}
		return a.take(s.rates.Charges(policy, limits.Caller{ID: address}, nil, 0))
	}

	began := time.Now()
	var err error
	if a.credential, err = s.credential(a.c.Request().Header, a.path); err != nil {
		return err
	}
	since(s.metrics.credential, began)
	caller, known := a.credential.id(), a.credential.key == ""
	if !known { // nothing is known of a key that was not seen before: it is a stranger's
		if _, known = s.knownKeys.Get(caller, began); !known {
			caller = a.address()
		}
	}
	if err := a.begin(caller, known); err != nil {
		return err
	}
	ctx := a.c.Request().Context()
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

// address is what strangers are told apart by.
func (a *admission) address() string {
	return limits.ClientAddress(requestOf(a.c.Request().Context()).clientIP)
}

func (a *admission) permitted(p auth.Principal) bool {
	if a.operation == nil {
		return a.path.MayAny(p)
	}
	return p.May(a.operation.Permission)
}

// peekSources finds out which source systems a call counts for, so that limits and principal are one round trip. A
// body of events names them; an API key stands for one. A small body is read first, and what is wrong with it is told
// in its turn; a large one is read, and charged, when its sender is known to be admitted. An anonymous caller does not
// get here, as the token was signed by this server; a user who was deactivated since does.
func (a *admission) peekSources(policy string) {
	switch {
	case a.operation == nil || policy != contract.PolicyEvents:
	case !a.received:
		a.uncounted = true
	case a.credential.key == "":
		_ = a.read()
	}
}

// charges are what the call costs a principal, as far as is known.
func (a *admission) charges(policy string, p auth.Principal) []limits.Charge {
	var sources []string
	switch {
	case p.Kind == auth.KindAPIKey:
		sources = []string{p.SourceSystem}
	case a.input != nil:
		sources = a.input.body.RateLimitKeys
	}
	if a.uncounted {
		return a.server.rates.Peek(callerOf(p), sources)
	}
	return a.server.rates.Charges(policy, callerOf(p), sources, int64(len(a.raw)))
}

// callerOf is a principal as rate limits count it.
func callerOf(p auth.Principal) limits.Caller {
	if p.Kind == auth.KindAPIKey {
		return limits.Caller{ID: p.ConfigID.String(), Hospital: p.Scope()}
	}
	return limits.Caller{ID: p.UserID.String(), Hospital: p.Scope()}
}

// authenticate finds out who sends the request, and what the limits say. A caller who was refused a moment ago is
// known from a cache, if that is enough to refuse this call too: a flood of such calls never reaches the database.
func (a *admission) authenticate(policy string) (auth.Principal, limits.Decision, error) {
	if known, found := a.server.refused.Get(a.credential.id(), time.Now()); found {
		if decision, refused := a.server.rates.Cached(a.charges(policy, known)); refused {
			return known, decision, nil
		}
	}
	principal, decision, err := a.lookUp(func(p auth.Principal) []limits.Charge { return a.charges(policy, p) })
	if err == nil && a.credential.key != "" && !a.place.known {
		a.server.knownKeys.Put(a.credential.id(), struct{}{}, time.Now().Add(keyKnown), time.Now())
	}
	return principal, decision, err
}

// keyKnown is how long an API key is known that was right once: its caller is then told apart from others at the same
// address. Whether it is still right is asked each time.
const keyKnown = 10 * time.Minute

// lookUp loads the caller from the database and, in the same statement, counts what the call costs; nil costs nothing.
func (a *admission) lookUp(charges func(auth.Principal) []limits.Charge) (auth.Principal, limits.Decision, error) {
	if charges == nil {
		charges = func(auth.Principal) []limits.Charge { return nil }
	}
	if a.credential.key != "" {
		return a.authenticateKey(charges)
	}
	return a.authenticateToken(charges)
}

// wrongKey answers a wrong API key, and counts it by the client's address; too many are refused with 429. A right key
// never counts.
func (a *admission) wrongKey() error {
	ctx := a.c.Request().Context()
	r := requestOf(ctx)
	decision, err := a.server.rates.Take(ctx, a.server.rates.Charges(limits.PolicyKey, limits.Caller{ID: a.address()}, nil, 0))
	if err != nil {
		return err
	}
	a.server.rates.Record(ctx, decision, slog.String("request_id", r.id), slog.String("ip", r.clientIP))
	if err := decision.Err(); err != nil {
		return err
	}
	return problem.Unauthorized(problem.Detail{Detail: "Invalid API key."})
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
	if a.refusal != nil {
		return a.refusal
	}
	if a.stale {
		if err := a.refresh(); err != nil {
			return err
		}
	}
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
	if ignored := a.input.page.Ignored; len(ignored) > 0 { // else a mistyped filter would look like one that matches all
		a.c.Response().Header().Set("X-Ignored-Parameters", strings.Join(ignored, ", "))
	}
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
