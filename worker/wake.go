package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/queries"
)

// keepaliveInterval is how long a connection may be silent before it is pinged.
const keepaliveInterval = 30 * time.Second

// longestReconnect is the longest wait, ± 50 %, between attempts to connect again. It is short, since the first that
// succeeds wakes a poller.
const longestReconnect = 300 * time.Millisecond

// listen wakes a poller at each NOTIFY px360_events, on a connection of its own.
func (w *Worker) listen(ctx context.Context) {
	backoff := queries.Backoff()
	backoff.MaxInterval = longestReconnect
	level := slog.LevelWarn
	for {
		err := w.listenOnce(ctx, func() { backoff.Reset(); level = slog.LevelWarn })
		if ctx.Err() != nil {
			return
		}
		w.log.Log(ctx, level, "not notified of new events for the moment, only polling", "error", err)
		level = slog.LevelDebug // of the same outage
		if !sleep(ctx, backoff.NextBackOff()) {
			return
		}
	}
}

func (w *Worker) listenOnce(ctx context.Context, connected func()) error {
	config := w.database.Pool.Config().ConnConfig
	connecting, cancel := context.WithTimeout(ctx, keepaliveInterval)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(closing)
	}()
	if _, err := conn.Exec(connecting, "LISTEN px360_events"); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	connected()
	w.signal() // for notifications missed before
	for {
		waiting, cancel := context.WithTimeout(ctx, keepaliveInterval)
		_, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			w.signal()
		case ctx.Err() != nil:
			return ctx.Err()
		case pgconn.Timeout(err):
			if err := ping(ctx, conn); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// ping finds out whether the connection is still alive.
func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return conn.Ping(ctx)
}
