package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/px360/px360/gen/db"
)

const (
	// firstExpiry is within what time of its start a worker deletes expired rows, so that a process that does not live
	// for long does it too.
	firstExpiry = time.Minute
	// expiryInterval is how often they are deleted, on average: often enough that few have piled up.
	expiryInterval = 15 * time.Minute
	// expiryBatch is how many rows one statement deletes, so that none takes long.
	expiryBatch = 5000
)

// MinRetention is the least time for which events and entries of the audit log are kept: longer than any retry of theirs.
const MinRetention = 24 * time.Hour

// An expiring table has rows that expire, and a query that deletes some of those that have.
type expiring struct {
	name   string
	expire func(q *db.Queries, ctx context.Context, most int32) (int64, error)
}

// tables are those whose rows expire.
func tables(o Options) []expiring {
	list := []expiring{
		{"idempotency keys", (*db.Queries).IdempotencyExpire},
		{"used refresh tokens", (*db.Queries).RefreshTokenExpire},
		{"idle rate limits", (*db.Queries).RateLimitExpire},
		{"marks of suspect batches", (*db.Queries).SuspectBatchExpire},
		{"emails to users", (*db.Queries).UserMessageExpire},
		{"webhook events", (*db.Queries).WebhookExpire},
	}
	if o.EventRetention > 0 {
		list = append(list, expiring{"events", func(q *db.Queries, ctx context.Context, most int32) (int64, error) {
			return q.EventExpire(ctx, db.EventExpireParams{Seconds: o.EventRetention.Seconds(), Most: most})
		}})
	}
	if o.AuditRetention > 0 {
		list = append(list, expiring{"audit entries", func(q *db.Queries, ctx context.Context, most int32) (int64, error) {
			return q.AuditExpire(ctx, db.AuditExpireParams{Seconds: o.AuditRetention.Seconds(), Most: most})
		}})
	}
	return list
}

// expiry deletes expired rows until ctx ends. Its waits are random, so that processes do not do it at the same time.
func (w *Worker) expiry(ctx context.Context) {
	for wait := rand.N(firstExpiry); sleep(ctx, wait); wait = expiryInterval/2 + rand.N(expiryInterval) {
		w.deleteExpired(ctx)
	}
}

// deleteExpired deletes all rows that have expired. Failures are logged and left to the next time.
func (w *Worker) deleteExpired(ctx context.Context) {
	for _, table := range w.expiring {
		total := int64(0)
		err := w.database.Read(ctx, func(q *db.Queries) error {
			for deleted := int64(expiryBatch); deleted == expiryBatch; total += deleted {
				var err error
				if deleted, err = table.expire(q, ctx, expiryBatch); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case err == nil:
			w.log.DebugContext(ctx, "deleted expired rows", "what", table.name, "count", total)
		case ctx.Err() == nil:
			w.log.WarnContext(ctx, "could not delete expired rows", "what", table.name, "count", total, "error", err)
		}
	}
}

// sleep returns false if ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
