package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// A notifier tells idle workers of new events by NOTIFY, in a statement of its own after the commit: within an
// ingesting transaction, NOTIFY would take a lock that all of them share. However many requests ask for it at once,
// one notification is under way at a time, and one is sent every notifyInterval at most: it holds a lock of the whole
// database while it commits, and wakes every worker. A lost one costs no more than the workers' polling interval.
type notifier struct {
	db      *queries.DB
	log     *slog.Logger
	pending chan struct{}
}

// notifyInterval is small beside what people notice, and large beside what a notification costs.
const notifyInterval = 20 * time.Millisecond

func newNotifier(database *queries.DB, log *slog.Logger) *notifier {
	return &notifier{database, log, make(chan struct{}, 1)}
}

// notify asks for a notification and does not wait for it.
func (n *notifier) notify() {
	select {
	case n.pending <- struct{}{}:
	default: // one is pending already, and will be sent after what is committed now
	}
}

func (n *notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.pending:
		}
		timeout, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err := n.db.Read(timeout, func(q *db.Queries) error { return q.EventNotify(timeout) }); err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "workers not notified", "error", loggable(err))
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(notifyInterval):
		}
	}
}
