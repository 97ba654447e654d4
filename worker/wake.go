package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// probeInterval is how long a silent connection is believed to be alive.
const probeInterval = 30 * time.Second

// listen wakes a poller whenever somebody announces events, on a connection of its own.
func (w *Worker) listen(ctx context.Context) {
	var failures backoff
	for {
		err := w.listenOnce(ctx, failures.reset)
		if ctx.Err() != nil {
			return
		}
		w.log.WarnContext(ctx, "not woken by new events for the moment, only polling", "error", err)
		if !failures.wait(ctx) {
			return
		}
	}
}

func (w *Worker) listenOnce(ctx context.Context, connected func()) error {
	config := w.database.Pool.Config().ConnConfig
	connecting, cancel := context.WithTimeout(ctx, probeInterval)
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
	w.signal() // for what was announced before
	for {
		waiting, cancel := context.WithTimeout(ctx, probeInterval)
		_, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			w.signal()
		case ctx.Err() != nil:
			return ctx.Err()
		case pgconn.Timeout(err):
			if err := probe(ctx, conn); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// probe finds out whether there is still anybody at the other end.
func probe(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return conn.Ping(ctx)
}
