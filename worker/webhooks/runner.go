package webhooks

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync/atomic"
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
	// claimedAhead is how many messages are claimed for each that can be under way.
	claimedAhead = 10
	// resultTime is how long results wait for others to be written with. Those of a process that is killed meanwhile are
	// delivered again.
	resultTime = 50 * time.Millisecond
	// graceTime is how long attempts may still take when the service is told to stop.
	graceTime = 8 * time.Second
)

// A runner delivers the messages of an endpoint that this process owns. It claims more than are under way at a time, so
// that these need not wait for the database.
type runner struct {
	*Service
	endpoint uuid.UUID
	queue    chan message       // claimed, and not yet under way
	done     chan result        // of attempts
	claimed  map[uuid.UUID]bool // messages that are in queue, under way or in done
	results  []result           // that are still to be written
	written  time.Time          // the last exchange
	lost     atomic.Bool        // the endpoint is another's, disabled or gone
	stopped  atomic.Bool        // nothing more is begun
	target   atomic.Pointer[target]
}

// A target is how messages are delivered at the moment.
type target struct {
	url     string
	secrets [][]byte
}

func newRunner(s *Service, endpoint uuid.UUID) *runner {
	most := s.InFlight * claimedAhead
	return &runner{Service: s, endpoint: endpoint, queue: make(chan message, most), done: make(chan result, most), claimed: map[uuid.UUID]bool{}}
}

// run delivers until there is nothing to do for a while or, with once, at all.
func (r *runner) run(ctx context.Context, once bool) {
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		r.stopped.Store(true)
		time.AfterFunc(graceTime, cancel)
	})
	defer stop()
	defer close(r.queue)
	for range r.InFlight {
		go func() {
			for m := range r.queue {
				r.done <- r.attempt(attempts, m)
			}
		}()
	}
	backoff := queries.Backoff()
	busy := time.Now()
	for {
		wait := r.PollInterval
		if r.isDue(ctx) {
			messages, err := r.exchange(ctx)
			if err == nil {
				backoff.Reset()
			} else {
				wait = backoff.NextBackOff()
				r.Log.WarnContext(ctx, "could not exchange webhook messages, trying again", "endpoint", r.endpoint, "error", err, "wait", wait)
			}
			for _, m := range messages {
				r.claimed[m.ID] = true
				r.queue <- m // which has room for all that are claimed
			}
		}
		if len(r.claimed) > 0 || len(r.results) > 0 {
			busy = time.Now()
		}
		over := once || r.lost.Load() || ctx.Err() != nil || time.Since(busy) > idleTime
		if over && len(r.claimed) == 0 && (len(r.results) == 0 || r.lost.Load() || attempts.Err() != nil) {
			break
		}
		r.await(ctx, wait)
	}
	if !r.lost.Load() {
		r.release()
	}
}

// isDue tells whether it is time for an exchange: there is room for more messages, there are many results, or some that
// waited, or the lease is to be renewed.
func (r *runner) isDue(ctx context.Context) bool {
	if r.lost.Load() {
		return false
	}
	since := time.Since(r.written)
	switch {
	case len(r.results) >= r.InFlight*claimedAhead/2, len(r.results) > 0 && (since > resultTime || len(r.claimed) == 0):
		return true
	case ctx.Err() != nil:
		return false
	case len(r.claimed) < r.InFlight: // those under way will not be enough
		return len(r.results) > 0 || since >= r.PollInterval || len(r.claimed) == 0
	}
	return since > r.Lease/4
}

// await waits for an attempt to end, and takes the others that have ended with it.
func (r *runner) await(ctx context.Context, wait time.Duration) {
	if len(r.results) > 0 {
		wait = min(wait, resultTime)
	}
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
	delete(r.claimed, one.message.ID)
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
	most := cap(r.queue) - len(r.claimed)
	if ctx.Err() != nil {
		most = 0
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
		if err != nil || disabled {
			lost = disabled
			return err
		}
		to, sealed := r.open(row)
		if sealed != nil {
			if err := q.WebhookSealAgain(tx, db.WebhookSealAgainParams{ID: r.endpoint, Secret: sealed}); err != nil {
				return err
			}
		}
		r.target.Store(to)
		if most == 0 {
			return nil
		}
		claimed, err = r.claim(tx, q, int32(most))
		return err
	})
	if err == nil {
		r.results, r.written = nil, time.Now()
		r.lost.Store(lost)
	}
	return claimed, err
}

// open is how messages are delivered to an endpoint as it is now. A secret that was sealed under the previous key is sealed
// again.
func (r *runner) open(endpoint db.WebhookRenewRow) (to *target, again []byte) {
	sealed := [][]byte{endpoint.Secret}
	if endpoint.PreviousUntil != nil && endpoint.Now.Before(*endpoint.PreviousUntil) {
		sealed = append(sealed, endpoint.PreviousSecret)
	}
	to = &target{url: endpoint.URL}
	for i, one := range sealed {
		secret, old, err := r.sealer.Open(one, r.endpoint[:])
		if err != nil {
			continue
		}
		to.secrets = append(to.secrets, secret)
		if old && i == 0 {
			again = r.sealer.Seal(secret, r.endpoint[:])
		}
	}
	return to, again
}

// claim reads messages that are due, as they are to be delivered.
func (r *runner) claim(ctx context.Context, q *db.Queries, most int32) ([]message, error) {
	onTheirWay := make([]uuid.UUID, 0, len(r.claimed))
	for id := range r.claimed {
		onTheirWay = append(onTheirWay, id)
	}
	rows, err := q.WebhookClaim(ctx, db.WebhookClaimParams{Endpoint: r.endpoint, OnTheirWay: onTheirWay, Most: most})
	messages := make([]message, len(rows))
	for i, row := range rows {
		messages[i] = message(row)
	}
	return messages, err
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
	why := "It answered 410 Gone."
	if reason == "failing" {
		why = "Nothing was delivered for five days."
	}
	to, err := sla.Admins(ctx, q, endpoint.Hospital)
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
