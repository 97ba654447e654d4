// Package server is PX360's HTTP API: the contract of package openapi, enforced and answered.
//
// A request passes, in this order, through spell, begin, logRequest and gate, all in request.go;
// behind the gate the generated code binds it and calls the handler of its operation, in the file of
// its noun. Handlers return plain errors; render, in errors.go, answers them.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/openapi"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// Timeouts. A handler gives up after the database would have, so that there is a reason to tell.
const (
	requestTimeout  = 12 * time.Second
	shutdownTimeout = 15 * time.Second
	maxHeaderBytes  = 32 << 10
	maxURLBytes     = 8 << 10
)

// A Server answers the API.
type Server struct {
	db            *queries.DB
	log           *slog.Logger
	publicURL     string
	contract      *contract
	static        map[string]bool // paths outside the contract, such as /healthz/
	tokens        *auth.Tokens
	rotateRefresh bool
	keys          *auth.KeyHasher
	passwords     *auth.Passwords
	logins        *logins
	inFlight      *inFlight
	metrics       *metrics
	limiter       *limiter
	waker         *waker
	intake        *intake
	ready         *readiness
	echo          *echo.Echo
}

// New makes a server on an open database. It fails on options that make no sense, and on a contract
// that it could not enforce in full.
func New(database *queries.DB, o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	ring, err := auth.NewKeys([]byte(o.SecretKey), []byte(o.SecretKeyPrevious))
	if err != nil {
		return nil, err
	}
	tokens, err := auth.NewTokens(ring, auth.TokenConfig{AccessLifetime: o.AccessLifetime, RefreshLifetime: o.RefreshLifetime})
	if err != nil {
		return nil, err
	}
	keys, err := auth.NewKeyHasher([]byte(o.SecretKey), []byte(o.SecretKeyPrevious))
	if err != nil {
		return nil, err
	}
	doc, err := openapi.Load()
	if err != nil {
		return nil, fmt.Errorf("the contract: %w", err)
	}
	compiled, err := compile(doc)
	if err != nil {
		return nil, fmt.Errorf("the contract: %w", err)
	}
	limiter, err := newLimiter(database, o)
	if err != nil {
		return nil, err
	}
	s := &Server{
		db: database, log: o.Log, publicURL: strings.TrimSuffix(o.PublicURL, "/"), contract: compiled,
		static: map[string]bool{}, tokens: tokens, rotateRefresh: o.RotateRefresh, keys: keys, passwords: auth.NewPasswords(),
		logins: newLogins(), inFlight: newInFlight(o.MaxInFlight),
		metrics: newMetrics(o.Registerer, database), limiter: limiter, waker: newWaker(database, o.Log), intake: &intake{db: database},
		ready: newReadiness(database), echo: echo.New(),
	}
	s.route(o.TrustedProxies)
	return s, nil
}

// route sets up the way of a request.
func (s *Server) route(proxies []netip.Prefix) {
	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = clientIP(proxies)
	e.HTTPErrorHandler = s.render
	e.Use(s.begin, s.logRequest, middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: s.logPanic}), s.bound, s.gate)
	api.RegisterHandlers(e, api.NewStrictHandler(s, []api.StrictMiddlewareFunc{s.respond}))
	s.routeUndeclared()
	s.routeDocs()
	s.routeStatic(healthPath, s.healthz)
	s.routeStatic(readyPath, s.readyz)
}

// routeUndeclared gives every declared path a route for the methods that it does not have. Otherwise
// PATCH /users/me/ would go where PATCH /users/{id}/ goes.
func (s *Server) routeUndeclared() {
	unreachable := func(echo.Context) error { return errNotFound } // the gate answers first
	for path, item := range s.contract.paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
			http.MethodOptions, http.MethodTrace, http.MethodConnect} {
			if _, declared := item.operations[method]; !declared {
				s.echo.Add(method, path, unreachable)
			}
		}
	}
}

// clientIP believes X-Forwarded-For only from proxies that the operator named.
func clientIP(proxies []netip.Prefix) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		options = append(options, echo.TrustIPRange(&net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

func (s *Server) logPanic(c echo.Context, err error, stack []byte) error {
	s.log.ErrorContext(c.Request().Context(), "panic", "request_id", requestOf(c.Request().Context()).id, "error", err, "stack", string(stack))
	return errServer
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, spell(r)) }

// httpServer is what reads requests from connections, with a bound on each time that a client can take.
func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 60 * time.Second, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like everything else
	}
}

// Serve answers requests on l until ctx ends. Then it takes no new ones, gives those in flight up to
// 15 s, and returns nil if they finished.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := s.httpServer()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.waker.run(background)
	go s.limiter.run(background)

	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(background, shutdownTimeout)
	defer cancel()
	if err := h.Shutdown(grace); err != nil {
		_ = h.Close()
		return fmt.Errorf("stop serving: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
