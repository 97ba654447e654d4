// Package actions watches the deadlines of actions, and sends users the emails that follow. Both are queues drained by
// SKIP LOCKED, by any number of processes: actions whose clock has come to something, and emails. What an action came to,
// its log, the emails and what partners hear of it commit together.
package actions

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/sla"
	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/polling"
)

// Options of a Service. Start from DefaultOptions.
type Options struct {
	Email        channels.Channel // nil: emails wait
	PublicURL    string           // what links begin with
	PollInterval time.Duration
	Log          *slog.Logger
	Registerer   prometheus.Registerer // where the metrics are registered; none if nil
}

// DefaultOptions are the options of a service that nobody configured. It sends no email.
func DefaultOptions() Options {
	return Options{PollInterval: time.Second, Log: slog.New(slog.DiscardHandler)}
}

// A Service watches deadlines. Make it with New.
type Service struct {
	Options
	database *queries.DB
	notices  *prometheus.CounterVec
	late     prometheus.Histogram
}

// New returns a service on the database. It panics on options that make no sense.
func New(database *queries.DB, o Options) *Service {
	if o.PollInterval <= 0 || o.Log == nil {
		panic("action options that make no sense")
	}
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	s := &Service{
		Options: o, database: database,
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_action_notices_total", Help: "What the clocks of actions came to: reminders, breaches and escalations."}, []string{"kind"}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "px360_action_notice_delay_seconds", Help: "From a deadline until it was noticed.", Buckets: []float64{.1, .5, 1, 2, 5, 10, 60, 600}}),
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.notices, s.late)
	}
	return s
}

// Run watches until ctx ends, then finishes what is in hand and returns nil. Failures of the database are logged and
// retried.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { polling.Run(ctx, s.Log, s.PollInterval, "watch the deadlines of actions", s.watchBatch) })
	if s.Email != nil {
		all.Go(func() { polling.Run(ctx, s.Log, s.PollInterval, "send emails to users", s.sendBatch) })
	}
	all.Wait()
	return nil
}

// Step does all that is due. Run does the same all the time.
func (s *Service) Step(ctx context.Context) error {
	if err := polling.UntilDone(ctx, s.watchBatch); err != nil || s.Email == nil {
		return err
	}
	return polling.UntilDone(ctx, s.sendBatch)
}

const (
	// watchedBatch is how many actions a transaction attends to.
	watchedBatch = 100
	// transactionTimeout is how long a transaction may take, also after the service was told to stop.
	transactionTimeout = 15 * time.Second
)

// watchBatch attends to actions whose clock has come to something. It tells whether there may be more.
func (s *Service) watchBatch(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	var rows []db.ActionClaimDueRow
	var delays []time.Duration
	counts := map[string]int{}
	err = s.database.InTx(ctx, func(q *db.Queries) error {
		delays = nil
		clear(counts)
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if rows, err = q.ActionClaimDue(ctx, db.ActionClaimDueParams{Now: now, Most: watchedBatch}); err != nil {
			return err
		}
		for i := range rows {
			delays = append(delays, now.Sub(*rows[i].NextAt))
			a := sla.Action(rows[i])
			if err := s.attend(ctx, q, &a, now, counts); err != nil {
				return fmt.Errorf("action %s: %w", a.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, delay := range delays {
		s.late.Observe(delay.Seconds())
	}
	for kind, n := range counts {
		s.notices.WithLabelValues(kind).Add(float64(n))
	}
	return len(rows) == watchedBatch, nil
}

// attend does what has become due of one action.
func (s *Service) attend(ctx context.Context, q *db.Queries, a *sla.Action, now time.Time, counts map[string]int) error {
	before := a.EscalationLevel
	var notices []rules.Notice
	if err := sla.Change(a, func(t *rules.ActionTiming) { notices = t.Advance(now) }); err != nil {
		s.Log.ErrorContext(ctx, "the clock of an action cannot be read", "action", a.ID, "error", err)
		return q.ActionPostpone(ctx, a.ID)
	}
	var events []string
	var entries []sla.Log
	note := func(kind string, entry sla.Log) {
		entry.Kind = kind
		entries = append(entries, entry)
		counts[kind]++
	}
	for _, notice := range notices {
		switch notice.Deadline {
		case rules.DeadlineReminder:
			note("reminded", sla.Log{})
			if err := sla.Reminded(ctx, q, a, s.PublicURL); err != nil {
				return err
			}
		case rules.DeadlineBreach:
			note("breached", sla.Log{})
			events = append(events, sla.EventBreached)
		}
		if notice.Level == 0 {
			continue
		}
		note("escalated", sla.Log{Old: fmt.Sprint(before), New: fmt.Sprint(notice.Level)})
		before = int32(notice.Level)
		if err := sla.Escalated(ctx, q, a, notice.Level, s.PublicURL); err != nil {
			return err
		}
	}
	if len(events) == 0 && len(entries) > 0 {
		events = []string{sla.EventActionUpdated}
	}
	return sla.Updated(ctx, q, a, events, entries...)
}

const (
	// emailBatch is how many emails are claimed at a time: no more than can be sent within patience, however slow the server is.
	emailBatch = 10
	// patience is how long a sender has, from the claim, to say what became of its emails. Then others send them again.
	patience = 5 * time.Minute
	// mostClaims bounds what a user gets whose email ends its sender each time.
	mostClaims = 20
)

// sendBatch sends emails to users. It tells whether there may be more.
func (s *Service) sendBatch(ctx context.Context) (more bool, err error) {
	working := context.WithoutCancel(ctx)
	var claimed []db.UserMessageClaimRow
	err = s.database.Read(working, func(q *db.Queries) (err error) {
		claimed, err = q.UserMessageClaim(working, db.UserMessageClaimParams{PatienceSeconds: int32(patience.Seconds()), Most: emailBatch})
		return err
	})
	if err != nil || len(claimed) == 0 {
		return false, err
	}
	sender := channels.Sender{Channel: s.Email}
	defer sender.Close()
	for _, m := range claimed {
		if err := s.finish(working, m, s.send(working, &sender, m)); err != nil {
			return false, err
		}
	}
	return len(claimed) == emailBatch, nil
}

func (s *Service) send(ctx context.Context, sender *channels.Sender, m db.UserMessageClaimRow) error {
	address, ok := s.Email.Address(m.Email)
	switch {
	case !ok || !m.IsActive:
		return errNoAddress
	case m.Attempt > mostClaims:
		return errNoOutcome // each of its senders ended before it could say what became of it
	}
	_, err := sender.Send(ctx, channels.Message{ID: m.ID, To: address, Text: m.Text, Subject: m.Subject, Sender: "PX360", Language: m.Language})
	return err
}

var (
	errNoAddress = channels.Permanent("the user has no address any more")
	errNoOutcome = channels.Permanent("no attempt could say what became of the message")
)

// finish writes what became of an email.
func (s *Service) finish(ctx context.Context, m db.UserMessageClaimRow, sent error) error {
	result := db.UserMessageFinishParams{ID: m.ID, Attempt: m.Attempt, Status: "sent"}
	if sent != nil {
		result.Status, result.Error = "queued", channels.Storable(sent.Error())
		wait, again := rules.RetryAfter(int(m.Attempt))
		if channels.IsPermanent(sent) || !again {
			result.Status = "failed"
		}
		result.WaitSeconds = int32(wait.Seconds())
		s.Log.WarnContext(ctx, "email to a user not sent", "message", m.ID, "attempt", m.Attempt, "status", result.Status, "error", result.Error)
	}
	return s.database.Read(ctx, func(q *db.Queries) error { return q.UserMessageFinish(ctx, result) })
}
