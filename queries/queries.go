package queries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"github.com/px360/px360/gen/db"
)

// Options of a pool. Start from DefaultOptions and change what you want: Open replaces no zero value,
// it refuses those that make no sense.
type Options struct {
	Name              string        // shown in pg_stat_activity
	MaxConnections    int32         // at least 1
	ListConnections   int32         // how many of these are for lists alone; 0: lists share the others
	StatementTimeout  time.Duration // a statement that runs longer is cancelled by the server
	LockTimeout       time.Duration // below the statement's, so that a wait is told apart from work
	IdleInTransaction time.Duration // ends a process that stopped in the middle of a transaction
	AcquireTimeout    time.Duration // how long a caller waits for a connection

	Tracer pgx.QueryTracer // is told of every statement; optional
}

// DefaultOptions are the options of a pool that nobody configured.
func DefaultOptions() Options {
	return Options{
		Name:              "px360",
		MaxConnections:    16,
		ListConnections:   4,
		StatementTimeout:  10 * time.Second,
		LockTimeout:       3 * time.Second,
		IdleInTransaction: 10 * time.Second,
		AcquireTimeout:    time.Second,
	}
}

// validate refuses what Postgres would take for "no timeout", and pools of no connection.
func (o Options) validate() error {
	if o.Name == "" || o.MaxConnections < 1 || o.ListConnections < 0 || o.ListConnections >= o.MaxConnections {
		return fmt.Errorf("database options: a pool needs a name and at least one connection that is not for lists, not %q and %d of %d for lists", o.Name, o.ListConnections, o.MaxConnections)
	}
	for name, timeout := range map[string]time.Duration{
		"StatementTimeout": o.StatementTimeout, "LockTimeout": o.LockTimeout,
		"IdleInTransaction": o.IdleInTransaction, "AcquireTimeout": o.AcquireTimeout,
	} {
		if timeout < time.Millisecond {
			return fmt.Errorf("database options: %s is %v and must be at least 1ms", name, timeout)
		}
	}
	return nil
}

// DB is a pool with the rules of this program. Lists have connections of their own, so that slow ones keep nothing else
// waiting.
type DB struct {
	Pool       *pgxpool.Pool
	lists      *pgxpool.Pool
	listShares *shares
	counts     *counts
	acquire    time.Duration
}

// Open connects to Postgres at url and prepares every connection: times in UTC, dates as text. It
// fails on options that make no sense and on a URL that is none, but not on a database that is away.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL: %w", err)
	}
	config.MaxConns = o.MaxConnections - o.ListConnections
	config.MinConns = min(2, config.MaxConns)
	config.ConnConfig.Tracer = o.Tracer
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	for name, value := range map[string]string{
		"application_name":                    o.Name,
		"timezone":                            "UTC",
		"datestyle":                           "ISO, YMD",
		"statement_timeout":                   milliseconds(o.StatementTimeout),
		"lock_timeout":                        milliseconds(o.LockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(o.IdleInTransaction),
		// For a client that is gone or reads nothing, which the other timeouts do not end. Without effect on a Unix socket:
		// see EndStopped.
		"tcp_user_timeout": milliseconds(o.StatementTimeout),
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.ConnConfig.OnPgError = closeReadOnly(config.ConnConfig.OnPgError)
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		types := conn.TypeMap()
		pgxuuid.Register(types) // in sixteen bytes, where it would be spelt out and parsed
		types.RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		// A score is its text, with its decimals. A date is nothing but its text: no zone can shift it.
		types.RegisterType(&pgtype.Type{Name: "numeric", OID: pgtype.NumericOID, Codec: pgtype.TextCodec{}})
		types.RegisterType(&pgtype.Type{Name: "date", OID: pgtype.DateOID, Codec: pgtype.TextCodec{}})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d := &DB{Pool: pool, lists: pool, counts: newCounts(), acquire: o.AcquireTimeout}
	if o.ListConnections == 0 {
		d.listShares = newShares(o.MaxConnections / 4)
		return d, nil
	}
	d.listShares = newShares(o.ListConnections / 2)
	lists := config.Copy()
	lists.MaxConns, lists.MinConns = o.ListConnections, 0
	// A filter by what a CHECK rules out, such as a state that is never stored, reads nothing.
	lists.ConnConfig.RuntimeParams["constraint_exclusion"] = "on"
	lists.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	// A list that takes too long, or whose client is gone, is cancelled in Postgres too, and its connection kept.
	lists.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	if d.lists, err = pgxpool.NewWithConfig(ctx, lists); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return d, nil
}

// closeReadOnly closes a connection that turned out to be to a standby, or to a read-only database, so that the pool
// makes another, perhaps to the primary.
func closeReadOnly(next pgconn.PgErrorHandler) pgconn.PgErrorHandler {
	return func(conn *pgconn.PgConn, err *pgconn.PgError) bool { return !isReadOnly(err) && next(conn, err) }
}

// Close ends all connections, waiting for those in use.
func (d *DB) Close() {
	d.counts.stop()
	d.lists.Close()
	d.Pool.Close()
}

// Read runs f on one connection, outside a transaction: each query sees what is committed by then. Statements that
// write commit by themselves. Nothing is retried.
func (d *DB) Read(ctx context.Context, f func(*db.Queries) error) error {
	conn, err := d.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(db.New(conn))
}

// ReadUnprepared is Read with statements that Postgres plans for their parameters at each call.
func (d *DB) ReadUnprepared(ctx context.Context, f func(*db.Queries) error) error {
	conn, err := d.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(db.New(unpreparedConn{conn}))
}

// InTx runs f in a transaction of isolation level READ COMMITTED and commits it if f returns nil. f gets the bound
// queries and nothing else. A deadlock victim is retried with backoff, so f must not leave anything behind outside
// the database.
func (d *DB) InTx(ctx context.Context, f func(*db.Queries) error) error {
	return retry(ctx, func() error { return d.InTxOnce(ctx, f) }, Retry)
}

// InTxOnce is InTx without a retry, for callers that retry a larger unit of work themselves.
func (d *DB) InTxOnce(ctx context.Context, f func(*db.Queries) error) error {
	conn, err := d.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return f(db.New(tx)) })
}

func (d *DB) connection(ctx context.Context) (*pgxpool.Conn, error) {
	return d.connectionFrom(ctx, d.Pool)
}

func (d *DB) connectionFrom(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, d.acquire)
	defer cancel()
	conn, err := pool.Acquire(wait)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, context.DeadlineExceeded): // the wait's or the caller's: nothing was sent
		return nil, ErrBusy
	}
	return nil, err
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
