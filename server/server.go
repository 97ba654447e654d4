// Package server is PX360's HTTP API: the contract of package openapi, enforced and answered.
//
// The way of a request is in route, below, and in gate (admission.go). Behind the gate the generated code binds the
// request and calls the method of its operation: the file of its noun says what is the noun's own, list.go and
// resource.go have what is the same in every list, create, update and delete. Methods return plain errors; respond.go
// writes every answer.
//
// The packages below know parts of it, and no noun: problem (what an error answer is), contract (reading a request
// against the contract), limits (how much a caller may ask for), auth (tokens, keys, passwords, permissions).
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/openapi"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/rules/outbound"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// Timeouts. A handler gives up after the database would have, so that there is a reason to tell.
const (
	requestTimeout  = 12 * time.Second
	shutdownTimeout = 15 * time.Second
	maxHeaderBytes  = 32 << 10
	maxURLBytes     = 8 << 10
)

// A Server answers the API. Its operations are those of the embedded types: api.Resources has the plain reads and
// writes of each noun. What is left are the parts that every request passes.
type Server struct {
	api.Resources
	accountOperations
	actionOperations
	configOperations
	eventOperations
	hospitalSettingsOperations
	journeyOperations
	publicSurveyOperations
	surveyOperations
	surveyScoreOperations
	tokenOperations
	userOperations
	webhookOperations

	engine      *engine
	log         *slog.Logger
	policy      auth.Policy
	contract    *contract.Contract
	static      map[string]bool // paths outside the contract, such as /healthz/
	tokens      *auth.Tokens
	keys        *auth.KeyHasher
	passwords   *passwords
	users       *userRows
	rates       *limits.RateLimiter
	refused     *limits.Cache[auth.Principal] // by credential: whose calls are over a limit
	knownKeys   *limits.Cache[struct{}]       // API keys that were right a while ago
	budgets     *limits.Budgets
	connections *limits.Connections
	pace        Pace
	kept        time.Duration // how long a principal is taken to be the same
	notifier    *notifier
	ready       *readiness
	metrics     *metrics
	echo        *echo.Echo
}

// New makes a server on an open database. It fails on a contract that it could not enforce in full, and on generated
// code in which a filter, a field of a body or a resource has no counterpart.
func New(database *queries.DB, o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		engine: &engine{db: database, publicURL: strings.TrimSuffix(o.PublicURL, "/")},
		log:    o.Log, static: map[string]bool{}, passwords: newPasswords(o.Log),
		refused: limits.NewCache[auth.Principal](limits.CacheSize), knownKeys: limits.NewCache[struct{}](limits.CacheSize), pace: o.SlowestClient, kept: o.PrincipalKept,
		notifier: newNotifier(database, o.Log), ready: newReadiness(database), metrics: newMetrics(o.Registerer, database), echo: echo.New(),
	}
	ring, err := auth.NewKeys([]byte(o.SecretKey), []byte(o.SecretKeyPrevious))
	if err != nil {
		return nil, err
	}
	if s.tokens, err = auth.NewTokens(ring, auth.TokenConfig{AccessLifetime: o.AccessLifetime, RefreshLifetime: o.RefreshLifetime}); err != nil {
		return nil, err
	}
	if s.keys, err = auth.NewKeyHasher([]byte(o.SecretKey), []byte(o.SecretKeyPrevious)); err != nil {
		return nil, err
	}
	if s.engine.cursors.sealer, err = rules.NewSealer(rules.SealsCursors, o.SecretKey, o.SecretKeyPrevious); err != nil {
		return nil, err
	}
	if s.rates, err = limits.NewRateLimiter(database, limits.RateOptions{Mode: o.RateLimits, Limits: o.Limits, Log: o.Log, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	if s.budgets, err = limits.NewBudgets(o.MaxInFlight, o.Registerer); err != nil {
		return nil, err
	}
	s.connections = limits.NewConnections(o.Connections, o.TrustedProxies, s.budgets)
	doc, err := openapi.Load()
	if err != nil {
		return nil, fmt.Errorf("the contract: %w", err)
	}
	if s.policy, err = auth.NewPolicy(o.EventSenders); err != nil {
		return nil, err
	}
	if s.contract, err = contract.Compile(doc, contract.Settings{Nouns: nouns, MaxPayload: o.MaxPayload, Policy: s.policy}); err != nil {
		return nil, fmt.Errorf("the contract: %w", err)
	}
	for _, path := range s.contract.Paths {
		for _, operation := range path.Operations {
			if policy := operation.RateLimit; policy != contract.PolicyNone && s.rates.Limit(policy) == (limits.Limit{}) {
				return nil, fmt.Errorf("the contract: %s is under the rate limit %q, which has no limit", operation.ID, policy)
			}
		}
	}
	if err := s.makeOperations(o); err != nil {
		return nil, fmt.Errorf("the generated code: %w", err)
	}
	if err := s.route(o.TrustedProxies); err != nil {
		return nil, err
	}
	return s, nil
}

// nouns are what references in the contract may lead to: those that the query ReferenceMissing knows.
var nouns = []string{
	"hospital", "department", "user", "role", "physician", "patient", "survey_template", "journey_template", "stage_template",
	"journey_instance", "stage_instance", "survey_instance", "action", "webhook_endpoint", "webhook_message", "config",
}

// makeOperations puts together what answers the operations of each noun.
func (s *Server) makeOperations(o Options) error {
	responses, found := s.policy.Rule(auth.ResponsesRead)
	if !found {
		return fmt.Errorf("no rule says who has the permission %s", auth.ResponsesRead)
	}
	e, logins, configs := s.engine, limits.NewLogins(o.LongestLoginWait, s.budgets.LoginWaits), newConfigs(s.engine)
	s.users = newUsers(e)
	surveys := newSurveyInstances(e, responses)
	actions, endpoints, messages := newActionRows(e), newWebhookEndpoints(e, outbound.NewGuard(o.WebhookNetworks)), newWebhookMessages(e)
	var err error
	if s.actionOperations, err = newActionOperations(e, actions, s.policy); err != nil {
		return err
	}
	s.Resources = api.Resources{
		Action: newActionResource(e, actions), AuditEntry: newAudit(e), Role: newRoles(e), User: newUserResource(e, s.users), Config: newConfigResource(e, configs), Event: newEvents(e),
		Hospital: newHospitals(e), Department: newDepartments(e), Physician: newPhysicians(e), Patient: newPatients(e),
		SurveyTemplate: newSurveyTemplates(e), JourneyTemplate: newJourneyTemplates(e), StageTemplate: newStageTemplates(e),
		WebhookEndpoint: newWebhookEndpointResource(e, endpoints), WebhookMessage: newWebhookMessageResource(e, messages),
		JourneyInstance: newJourneys(e, s.notifier), StageInstance: newStages(e), SurveyInstance: surveys,
	}
	s.accountOperations = accountOperations{e, s.users, s.passwords, logins, newMapping[db.UserInsertParams, api.ProfileUpdate](e)}
	s.hospitalSettingsOperations = hospitalSettingsOperations{newHospitalSettings(e)}
	s.configOperations = configOperations{configs, s.keys, newMapping[api.IntegrationConfigCreated, api.IntegrationConfig](e)}
	s.eventOperations = eventOperations{e, &batcher{db: e.db}, s.notifier}
	s.journeyOperations = journeyOperations{e}
	s.surveyOperations, s.surveyScoreOperations = surveyOperations{e, surveys.reader}, newSurveyScores(e)
	s.publicSurveyOperations = publicSurveyOperations{patientSurveys{e, s.rates}}
	s.tokenOperations = tokenOperations{e, s.log, s.tokens, o.RotateRefresh, s.passwords, logins}
	sealer, err := rules.NewSealer(rules.SealsWebhookSecrets, o.SecretKey, o.SecretKeyPrevious)
	if err != nil {
		return err
	}
	s.webhookOperations = webhookOperations{e, endpoints, messages, sealer, newMapping[api.WebhookEndpointCreated, api.WebhookEndpoint](e)}
	s.userOperations = userOperations{e, s.users, s.passwords}
	for field, value := range reflect.ValueOf(s.Resources).Fields() {
		if value.IsNil() {
			e.checks.fail("the contract has the resource %s, and nothing answers it", field.Name)
		}
	}
	return e.checks.err()
}

// route sets up the way of a request, in this order: identify gives it an id, logRequest writes its line when it is
// over, a panic becomes a 500, and gate decides whether its operation is called: see there.
func (s *Server) route(proxies []netip.Prefix) error {
	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = clientIP(proxies)
	e.HTTPErrorHandler = s.writeError
	recovered := middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: s.logPanic})
	e.Use(s.identify, s.logRequest, recovered, s.gate)
	api.RegisterHandlers(e, api.NewStrictHandler(s, s.respond))
	s.routeUndeclared()
	s.routeDocs()
	s.routeStatic(healthPath, s.healthz)
	s.routeStatic(readyPath, s.readyz)
	return s.routeSurveyPages()
}

// routeUndeclared gives every declared path a route for the methods that it does not have. Otherwise PATCH /users/me/
// would go where PATCH /users/{id}/ goes.
func (s *Server) routeUndeclared() {
	unreachable := func(echo.Context) error { return problem.NotFound } // the gate answers first
	all := []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodTrace, http.MethodConnect,
	}
	for path, item := range s.contract.Paths {
		for _, method := range all {
			if _, declared := item.Operations[method]; !declared {
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

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, normalize(r)) }

// httpServer is what reads requests from connections, with a bound on each time that a client can take.
func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 60 * time.Second, ConnState: s.connections.Track, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like everything else
	}
}

// Serve answers requests on l until ctx ends. Then it takes no new ones, gives those in flight up to 15 s, and returns
// nil if they finished.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := s.httpServer()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.notifier.run(background)

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
