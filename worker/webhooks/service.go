package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/rules/outbound"
	"github.com/px360/px360/worker/polling"
)

// Options of a Service. Start from DefaultOptions.
type Options struct {
	SecretKey         string // under which the secrets of endpoints are sealed; blank: nothing is delivered
	SecretKeyPrevious string
	Networks          []netip.Prefix // inner ones that endpoints may be in, there also without TLS
	Timeout           time.Duration  // of an attempt, with the reading of its answer
	Lease             time.Duration  // of an endpoint; more than Timeout
	InFlight          int            // attempts at a time for each endpoint
	Endpoints         int            // that one process owns at a time
	PollInterval      time.Duration
	Log               *slog.Logger
	Registerer        prometheus.Registerer // where the metrics are registered; none if nil
}

// DefaultOptions are the options of a service that nobody configured. It delivers nothing, for want of a key.
func DefaultOptions() Options {
	return Options{
		Timeout: 15 * time.Second, Lease: 30 * time.Second, InFlight: 10, Endpoints: 200,
		PollInterval: 250 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
}

// A Service delivers webhooks. Make it with New.
type Service struct {
	Options
	database *queries.DB
	sealer   *rules.Sealer // nil without a key
	client   *http.Client
	owner    uuid.UUID     // of the leases
	free     chan struct{} // has one for each endpoint that is owned
	// Has one for each transaction of runners, so that the others of this process find connections too.
	exchanges chan struct{}
	results   *prometheus.CounterVec
	took      prometheus.Histogram
}

// mostExchanges is how many endpoints exchange messages with the database at a time.
const mostExchanges = 4

// New returns a service on the database. It panics on options that make no sense.
func New(database *queries.DB, o Options) *Service {
	if o.Timeout <= 0 || o.Lease <= o.Timeout || o.InFlight < 1 || o.Endpoints < 1 || o.PollInterval <= 0 || o.Log == nil {
		panic("webhook options that make no sense")
	}
	s := &Service{
		Options: o, database: database, client: outbound.NewGuard(o.Networks).Client(o.Timeout), owner: uuid.New(), free: make(chan struct{}, o.Endpoints), exchanges: make(chan struct{}, mostExchanges),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_webhook_attempts_total", Help: "Attempts to deliver webhooks, by what became of the message."}, []string{"status"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "px360_webhook_attempt_seconds", Help: "How long attempts took.", Buckets: prometheus.DefBuckets}),
	}
	if o.SecretKey != "" {
		sealer, err := rules.NewSealer(rules.SealsWebhookSecrets, o.SecretKey, o.SecretKeyPrevious)
		if err != nil {
			panic(err) // no key is too long for it
		}
		s.sealer = &sealer
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.results, s.took)
	}
	return s
}

// waitForKey is how often a service without a key looks whether there are endpoints.
const waitForKey = time.Minute

// Run delivers until ctx ends, then finishes what is in hand, for 10 seconds at most, and returns nil. Failures of the
// database are logged and retried.
func (s *Service) Run(ctx context.Context) error {
	if s.sealer == nil {
		polling.Run(ctx, s.Log, waitForKey, "look for webhook endpoints", func(ctx context.Context) (bool, error) { return false, s.CheckKey(ctx) })
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() { polling.Run(ctx, s.Log, s.PollInterval, "fan out webhook events", s.fanOut) })
	all.Go(func() {
		var runners sync.WaitGroup
		polling.Run(ctx, s.Log, s.PollInterval, "lease webhook endpoints", func(ctx context.Context) (bool, error) {
			leased, err := s.lease(ctx)
			for _, id := range leased {
				s.free <- struct{}{}
				runners.Go(func() {
					defer func() { <-s.free }()
					newRunner(s, id).run(ctx, false)
				})
			}
			return false, err
		})
		runners.Wait()
	})
	all.Wait()
	return nil
}

// Step tells what there is to tell, and makes the attempts that are due. Run does the same all the time.
func (s *Service) Step(ctx context.Context) error {
	if err := polling.UntilDone(ctx, s.fanOut); err != nil {
		return err
	}
	leased, err := s.lease(ctx)
	if err != nil {
		return err
	}
	var runners sync.WaitGroup
	for _, id := range leased {
		runners.Go(func() { newRunner(s, id).run(ctx, true) })
	}
	runners.Wait()
	return nil
}

// ErrNoKey is about endpoints to which nothing can be delivered.
var ErrNoKey = errors.New("there are webhook endpoints, whose secrets are sealed under the secret key, and no key is configured")

// CheckKey returns ErrNoKey if there is an endpoint, and no key to open its secret with.
func (s *Service) CheckKey(ctx context.Context) error {
	if s.sealer != nil {
		return nil
	}
	exist := false
	err := s.database.Read(ctx, func(q *db.Queries) (err error) {
		exist, err = q.WebhookEndpointsExist(ctx)
		return err
	})
	if err == nil && exist {
		err = ErrNoKey
	}
	return err
}

const (
	// fanOutBatch is how many events a transaction gives to the endpoints.
	fanOutBatch = 1000
	// transactionTimeout is how long a transaction may take, also after the service was told to stop.
	transactionTimeout = 10 * time.Second
)

// fanOut gives each endpoint its messages. It tells whether there may be more.
func (s *Service) fanOut(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	err = s.database.InTx(ctx, func(q *db.Queries) error {
		alone, err := q.WebhookFanOutAlone(ctx)
		if err != nil || !alone {
			return err
		}
		events, err := q.WebhookFanOut(ctx, fanOutBatch)
		more = events == fanOutBatch
		return err
	})
	return more && err == nil, err
}

// lease makes endpoints this process's that have messages which are due.
func (s *Service) lease(ctx context.Context) (leased []uuid.UUID, err error) {
	most := s.Endpoints - len(s.free)
	if most == 0 {
		return nil, nil
	}
	err = s.database.Read(ctx, func(q *db.Queries) error {
		leased, err = q.WebhookLease(ctx, db.WebhookLeaseParams{Owner: s.owner, LeaseSeconds: int32(s.Lease.Seconds()), Most: int32(most)})
		return err
	})
	return leased, err
}
