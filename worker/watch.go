package worker

import (
	"context"
	"time"
)

// watchInterval is how often a worker looks for processes that stopped.
const watchInterval = 2 * time.Second

// watch ends the sessions of processes that stopped while they read a long answer, until ctx ends: the events whose
// encounters such a session holds are then applied by others. No timeout of Postgres ends it.
func (w *Worker) watch(ctx context.Context) {
	for sleep(ctx, watchInterval) {
		ended, err := w.database.EndStopped(ctx)
		switch {
		case err != nil && ctx.Err() == nil: // the pollers warn of a database in trouble
			w.log.DebugContext(ctx, "could not look for processes that stopped", "error", err)
		case ended > 0:
			w.log.WarnContext(ctx, "ended the sessions of a process that stopped reading", "sessions", ended)
		}
	}
}
