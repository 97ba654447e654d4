package webhooks

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/sla"
)

const (
	// idleTime is how long an owner keeps an endpoint for which it has nothing to do.
	idleTime = time.Second
	// restTime is how long an endpoint is then nobody's: its messages wait for others of their objects, or there are none.
	restTime = 500 * time.Millisecond
	// graceTime is how long attempts may still take when the service is told to stop.
	graceTime = 8 * time.Second
)

// A runner delivers the messages of an endpoint that this process owns.
type runner struct {
	*Service
	endpoint uuid.UUID
	done     chan result        // of attempts
	inFlight map[uuid.UUID]bool // messages that are on their way
	results  []result           // that are still to be written
	lost     bool               // the endpoint is another's, disabled or gone
}

func newRunner(s *Service, endpoint uuid.UUID) *runner {
	return &runner{Service: s, endpoint: endpoint, done: make(chan result, s.InFlight), inFlight: map[uuid.UUID]bool{}}
}

// run delivers until there is nothing to do for a while or, with once, at all.
func (r *runner) run(ctx context.Context, once bool) {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(graceTime, cancel) })
	defer stop()
	backoff := queries.Backoff()
	busy := time.Now()
	for {
		wait := r.PollInterval
		claimed, err := r.exchange(ctx)
		switch {
		case err != nil:
			wait = backoff.NextBackOff()
			r.Log.WarnContext(ctx, "could not exchange webhook messages, trying again", "endpoint", r.endpoint, "error", err, "wait", wait)
		default:
			backoff.Reset()
		}
		for _, m := range claimed {
			r.inFlight[m.ID] = true
			go func() { r.done <- r.attempt(attempts, m) }()
		}
		if len(r.inFlight) > 0 || len(r.results) > 0 {
			busy = time.Now()
		}
		over := once || r.lost || ctx.Err() != nil || time.Since(busy) > idleTime
		if over && len(r.inFlight) == 0 && (len(r.results) == 0 || r.lost || attempts.Err() != nil) {
			break
		}
		r.await(ctx, wait)
	}
	if !r.lost {
		r.release()
	}
}

// await waits for an attempt to end, and takes the others that have ended with it.
func (r *runner) await(ctx context.Context, wait time.Duration) {
	if len(r.results) == 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		done := ctx.Done()
		if ctx.Err() != nil { // stopping: what is under way ends, or is cancelled
			done = nil
		}
		select {
		case one := <-r.done:
			r.take(one)
		case <-timer.C:
		case <-done:
		}
	}
	for {
		select {
		case one := <-r.done:
			r.take(one)
		default:
			return
		}
	}
}

func (r *runner) take(one result) {
	delete(r.inFlight, one.message.ID)
	if one.made {
		r.results = append(r.results, one)
	}
}

// exchange writes what became of attempts, and claims as many messages as there is room for, in one transaction under the
// endpoint's lock. Where the endpoint is not this process's any more, the results are forgotten: the next owner makes the
// attempts again.
func (r *runner) exchange(ctx context.Context) (claimed []message, err error) {
	tx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	most := r.Service.InFlight - len(r.inFlight)
	if ctx.Err() != nil {
		most = 0
	}
	if r.lost || most == 0 && len(r.results) == 0 && ctx.Err() != nil {
		return nil, nil
	}
	r.exchanges <- struct{}{}
	defer func() { <-r.exchanges }()
	lost := false
	err = r.database.InTx(tx, func(q *db.Queries) error {
		claimed, lost = nil, false
		row, err := q.WebhookRenew(tx, db.WebhookRenewParams{ID: r.endpoint, Owner: r.owner, LeaseSeconds: int32(r.Lease.Seconds())})
		if queries.NoRows(err) {
			lost = true
			return nil
		}
		if err != nil {
			return err
		}
		disabled, err := r.write(tx, q, row)
		if err != nil || disabled || most == 0 {
			lost = disabled
			return err
		}
		claimed, err = r.claim(tx, q, row, int32(most))
		return err
	})
	if err == nil {
		r.results, r.lost = nil, lost
	}
	return claimed, err
}

// claim reads messages that are due, and how they are signed.
func (r *runner) claim(ctx context.Context, q *db.Queries, endpoint db.WebhookRenewRow, most int32) ([]message, error) {
	onTheirWay := make([]uuid.UUID, 0, len(r.inFlight))
	for id := range r.inFlight {
		onTheirWay = append(onTheirWay, id)
	}
	rows, err := q.WebhookClaim(ctx, db.WebhookClaimParams{Endpoint: r.endpoint, OnTheirWay: onTheirWay, Most: most})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	sealed := [][]byte{endpoint.Secret}
	if endpoint.PreviousUntil != nil && endpoint.Now.Before(*endpoint.PreviousUntil) {
		sealed = append(sealed, endpoint.PreviousSecret)
	}
	var secrets [][]byte
	for _, one := range sealed {
		if secret, err := r.sealer.Open(one, r.endpoint[:]); err == nil {
			secrets = append(secrets, secret)
		}
	}
	claimed := make([]message, len(rows))
	for i, row := range rows {
		claimed[i] = message{row, endpoint.URL, secrets}
	}
	return claimed, nil
}

// An attemptEntry is WebhookAttempt of the contract.
type attemptEntry struct {
	At           time.Time `json:"at"`
	StatusCode   *int      `json:"status_code"`
	Milliseconds int64     `json:"milliseconds"`
	Error        string    `json:"error"`
}

// write stores what became of attempts, and what follows for the endpoint. It tells whether that is disabled now.
func (r *runner) write(ctx context.Context, q *db.Queries, endpoint db.WebhookRenewRow) (disabled bool, err error) {
	if len(r.results) == 0 {
		return false, nil
	}
	var finish db.WebhookFinishParams
	failing, gone := endpoint.FailingSince, false
	for _, one := range r.results {
		status, next := one.outcome(endpoint.Now)
		entry, err := json.Marshal(attemptEntry{one.began.UTC(), one.statusCode(), one.took.Milliseconds(), one.problem})
		if err != nil {
			return false, err
		}
		finish.Ids, finish.Statuses = append(finish.Ids, one.message.ID), append(finish.Statuses, status)
		finish.NextAt, finish.Attempts = append(finish.NextAt, next), append(finish.Attempts, string(entry))
		switch {
		case one.problem == "":
			failing = nil
		case failing == nil:
			failing = &endpoint.Now
		}
		gone = gone || one.gone()
	}
	if err := q.WebhookFinish(ctx, finish); err != nil {
		return false, err
	}
	reason := ""
	switch {
	case gone:
		reason = "gone"
	case failing != nil && endpoint.Now.Sub(*failing) >= rules.WebhookFailingTime:
		reason = "failing"
	}
	if reason == "" && (failing == nil) == (endpoint.FailingSince == nil) {
		return false, nil
	}
	if err := q.WebhookEndpointResult(ctx, db.WebhookEndpointResultParams{ID: r.endpoint, FailingSince: failing, DisabledReason: reason}); err != nil {
		return false, err
	}
	if reason == "" {
		return false, nil
	}
	return true, r.tellDisabled(ctx, q, endpoint, reason)
}

// tellDisabled writes to those who can mend it, and into the audit.
func (r *runner) tellDisabled(ctx context.Context, q *db.Queries, endpoint db.WebhookRenewRow, reason string) error {
	r.Log.WarnContext(ctx, "webhook endpoint disabled", "endpoint", r.endpoint, "reason", reason)
	role, why := "Hospital Admin", "It answered 410 Gone."
	if endpoint.Hospital == nil {
		role = "PX Admin"
	}
	if reason == "failing" {
		why = "Nothing was delivered for five days."
	}
	to, err := q.UserMessageRecipients(ctx, db.UserMessageRecipientsParams{Role: &role, Hospital: endpoint.Hospital})
	if err != nil {
		return err
	}
	err = sla.Send(ctx, q, endpoint.Hospital, "webhook_disabled", r.endpoint, to, func(language string) (string, string) {
		return rules.WebhookDisabledEmail(language, endpoint.URL, why)
	})
	if err != nil {
		return err
	}
	return q.AuditInsert(ctx, db.AuditInsertParams{
		ActorKind: "command", ActorName: "px360", Hospital: endpoint.Hospital, Operation: "disableWebhookEndpoint",
		ObjectType: "webhook_endpoint", ObjectID: r.endpoint, ChangedFields: []string{"status", "disabled_reason"},
	})
}

// release gives the endpoint back. If that fails the lease ends by itself.
func (r *runner) release() {
	ctx, cancel := context.WithTimeout(context.Background(), transactionTimeout)
	defer cancel()
	err := r.database.Read(ctx, func(q *db.Queries) error {
		return q.WebhookRelease(ctx, db.WebhookReleaseParams{ID: r.endpoint, Owner: r.owner, RestMilliseconds: int32(restTime.Milliseconds())})
	})
	if err != nil {
		r.Log.WarnContext(ctx, "could not give back a webhook endpoint", "endpoint", r.endpoint, "error", err)
	}
}

// outcome is what becomes of the message after an attempt, and when it is tried again.
func (one result) outcome(now time.Time) (status string, next time.Time) {
	if one.problem == "" {
		return "delivered", now
	}
	wait, again := rules.WebhookRetryAfter(int(one.message.Attempt)+1, rand.Float64(), one.retryAfter)
	if !again {
		return "failed", now
	}
	return "pending", now.Add(wait)
}
