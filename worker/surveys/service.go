package surveys

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/polling"
)

// Options of a Service. Start from DefaultOptions.
type Options struct {
	Channels          map[string]channels.Channel // by name: those that are configured
	PublicURL         string                      // what links begin with
	SecretKey         string                      // what links are derived from
	SecretKeyPrevious string
	MaxAge            time.Duration // see rules.SendingFacts
	Senders           int           // how many messages of each channel are sent at a time
	PollInterval      time.Duration
	Log               *slog.Logger
	Registerer        prometheus.Registerer // where the metrics are registered; none if nil
}

// DefaultOptions are the options of a service that nobody configured. It has no channels, so it sends nothing.
func DefaultOptions() Options {
	return Options{MaxAge: 14 * 24 * time.Hour, Senders: 4, PollInterval: time.Second, Log: slog.New(slog.DiscardHandler)}
}

// A Service sends surveys. Make it with New.
type Service struct {
	Options
	database *queries.DB
	names    []string // of the channels
	outcomes *prometheus.CounterVec
	messages *prometheus.CounterVec
}

// New returns a service on the database. It panics on options that make no sense.
func New(database *queries.DB, o Options) *Service {
	if len(o.Channels) > 0 && (o.PublicURL == "" || o.SecretKey == "") || o.MaxAge <= 0 || o.Senders < 1 || o.PollInterval <= 0 || o.Log == nil {
		panic("survey options that make no sense")
	}
	s := &Service{
		Options: o, database: database,
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_survey_decisions_total", Help: "Decisions on surveys that were due, by the rule and its outcome."}, []string{"rule", "outcome"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_survey_messages_total", Help: "Attempts to send messages, by channel and what became of them."}, []string{"channel", "status"}),
	}
	s.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	for name := range o.Channels {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.outcomes, s.messages)
	}
	return s
}

// Run sends surveys until ctx ends, then finishes what is in hand and returns nil. Failures of the database are logged
// and retried. Without a channel it does nothing: surveys wait.
func (s *Service) Run(ctx context.Context) error {
	if len(s.Channels) == 0 {
		s.Log.WarnContext(ctx, "no channel is configured: surveys wait, and nobody is written to")
		<-ctx.Done()
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() { polling.Run(ctx, s.Log, s.PollInterval, "decide on surveys", s.decideBatch) })
	for _, name := range s.names {
		for range s.Senders {
			all.Go(func() {
				polling.Run(ctx, s.Log, s.PollInterval, "send messages", func(ctx context.Context) (bool, error) { return s.sendBatch(ctx, name) })
			})
		}
	}
	all.Wait()
	return nil
}

// Step decides on what is due, and sends what is queued, until there is no more. Run does the same all the time.
func (s *Service) Step(ctx context.Context) error {
	if err := polling.UntilDone(ctx, s.decideBatch); err != nil {
		return err
	}
	for _, name := range s.names {
		if err := polling.UntilDone(ctx, func(ctx context.Context) (bool, error) { return s.sendBatch(ctx, name) }); err != nil {
			return err
		}
	}
	return nil
}

// errLinkKey is about a link that cannot be made again.
var errLinkKey = errors.New("the link was derived from a secret key that is neither the present nor the previous one")

// errNoOutcome is about a message that was attempted again and again, and nobody knows with what success.
var errNoOutcome = errors.New("no attempt could say what became of the message")

// errNoAddress is about a patient who had an address when the message was queued.
var errNoAddress = errors.New("the patient has no address on this channel any more")

// quietHours are those of a hospital. A zone that this program does not know was checked by another when it was written.
func (s *Service) quietHours(hospital uuid.UUID, start, end, zone string) rules.QuietHours {
	quiet, err := rules.NewQuietHours(start, end, zone)
	if err != nil {
		s.Log.Error("quiet hours are not kept", "hospital", hospital, "error", err)
		return rules.QuietHours{Zone: time.UTC}
	}
	return quiet
}

// keyOf is the secret key that a link was derived from, by its id.
func (s *Service) keyOf(id []byte) ([]byte, error) {
	for _, key := range []string{s.SecretKey, s.SecretKeyPrevious} {
		if key != "" && slices.Equal(rules.LinkKeyID([]byte(key)), id) {
			return []byte(key), nil
		}
	}
	return nil, errLinkKey
}
