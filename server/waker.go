package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// A waker tells idle workers that there are new events. The notification is a statement of its own,
// after the commit: NOTIFY inside an ingesting transaction would take a lock that all of them share.
// However many requests ask for it at once, one notification is on its way at a time; one that is lost
// costs no more than the workers' polling interval.
type waker struct {
	db   *queries.DB
	log  *slog.Logger
	call chan struct{}
}

func newWaker(database *queries.DB, log *slog.Logger) *waker {
	return &waker{database, log, make(chan struct{}, 1)}
}

func (w *waker) wake() {
	select {
	case w.call <- struct{}{}:
	default: // one is waiting already, and will be sent after what is committed now
	}
}

func (w *waker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.call:
		}
		timeout, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err := w.db.Read(timeout, func(q *db.Queries) error { return q.EventNotify(timeout) }); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "workers not woken", "error", logged(err))
		}
		cancel()
	}
}
