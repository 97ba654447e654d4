// Package queries is the way to the database: the SQL files that sqlc compiles into gen/db, and the
// little Go beside them that opens a pool, runs a transaction, orders a list and turns the name of
// a violated constraint into the message for its field.
package queries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/gen/db"
)

// Options of a pool. Zero values mean the defaults of Open.
type Options struct {
	Name              string        // shown in pg_stat_activity
	MaxConnections    int32         // 16
	StatementTimeout  time.Duration // 10 s: a statement that runs longer is cancelled by the server
	LockTimeout       time.Duration // 3 s: below the statement's, so that a wait is told apart from work
	IdleInTransaction time.Duration // 10 s: ends a process that stopped in the middle of a transaction
	AcquireTimeout    time.Duration // 1 s: how long a caller waits for a connection
}

// DB is a pool with the rules of this program.
type DB struct {
	Pool    *pgxpool.Pool
	acquire time.Duration
}

// ErrBusy says that no connection became free in time: the caller may try again.
var ErrBusy = errors.New("no database connection became free in time")

// Open connects to Postgres at url and prepares every connection: times in UTC, dates as text.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL: %w", err)
	}
	config.MaxConns = or(o.MaxConnections, 16)
	config.MinConns = min(2, config.MaxConns)
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	for name, value := range map[string]string{
		"application_name":                    or(o.Name, "px360"),
		"timezone":                            "UTC",
		"datestyle":                           "ISO, YMD",
		"statement_timeout":                   milliseconds(or(o.StatementTimeout, 10*time.Second)),
		"lock_timeout":                        milliseconds(or(o.LockTimeout, 3*time.Second)),
		"idle_in_transaction_session_timeout": milliseconds(or(o.IdleInTransaction, 10*time.Second)),
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		types := conn.TypeMap()
		types.RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		// A date is nothing but its text here: no zone can shift it.
		types.RegisterType(&pgtype.Type{Name: "date", OID: pgtype.DateOID, Codec: pgtype.TextCodec{}})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &DB{Pool: pool, acquire: or(o.AcquireTimeout, time.Second)}, nil
}

// Close ends all connections, waiting for those in use.
func (d *DB) Close() { d.Pool.Close() }

// Read runs f on one connection, outside a transaction: each query sees what is committed by then.
func (d *DB) Read(ctx context.Context, f func(*db.Queries) error) error {
	conn, err := d.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(db.New(planned{conn, nil}))
}

// List runs f on one connection with the given order in the place of every ordering marker.
func (d *DB) List(ctx context.Context, order Order, f func(*db.Queries) error) error {
	conn, err := d.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(db.New(planned{conn, order}))
}

// InTx runs f in a transaction of isolation level READ COMMITTED and commits it if f returns nil.
// f gets the bound queries and nothing else. A deadlock or serialization failure runs it again,
// three times in all, so it must not leave anything behind outside the database.
func (d *DB) InTx(ctx context.Context, f func(*db.Queries) error) error {
	const tries = 3
	for try := 1; ; try++ {
		err := d.once(ctx, f)
		if err == nil || try == tries || !retryable(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (d *DB) once(ctx context.Context, f func(*db.Queries) error) error {
	conn, err := d.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return f(db.New(planned{tx, nil})) })
}

func (d *DB) connection(ctx context.Context) (*pgxpool.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, d.acquire)
	defer cancel()
	conn, err := d.Pool.Acquire(wait)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil, ErrBusy
	}
	return nil, err
}

// Order is what a list is ordered by before its own default: output columns, checked beforehand.
type Order []Column

// Column of a list's output, ascending unless Descending.
type Column struct {
	Name       string
	Descending bool
}

const (
	orderingMarker = "/* ordering */"
	// optionalFilter is in the text of a query some of whose filters may be left out.
	optionalFilter = "IS NULL OR"
)

// planned is a connection or transaction that knows two things about the queries of this package.
//
// A list is ordered by what its caller asked for, in the place of the ordering marker: sqlc has no way
// to say ORDER BY a parameter, and a CASE for every column and direction would keep Postgres from using
// any index.
//
// A query with optional filters gets a plan of its own at every call. A plan that serves every choice of
// filters reads whole tables, a hundred times slower on a large one; Postgres turns to such a plan by
// itself once a prepared statement has run five times. All other queries keep their plan.
type planned struct {
	db.DBTX
	order Order
}

func (p planned) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return p.DBTX.Exec(ctx, sql, p.plan(sql, args)...)
}

func (p planned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if len(p.order) > 0 {
		sql = strings.Replace(sql, orderingMarker, p.order.columns(), 1)
	}
	return p.DBTX.Query(ctx, sql, p.plan(sql, args)...)
}

func (p planned) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return p.DBTX.QueryRow(ctx, sql, p.plan(sql, args)...)
}

func (planned) plan(sql string, args []any) []any {
	if strings.Contains(sql, optionalFilter) {
		return append([]any{pgx.QueryExecModeCacheDescribe}, args...) // not prepared, so planned each time
	}
	return args
}

func (o Order) columns() string {
	var text strings.Builder
	for _, c := range o {
		text.WriteString(pgx.Identifier{c.Name}.Sanitize())
		if c.Descending {
			text.WriteString(" DESC")
		}
		text.WriteString(", ")
	}
	return text.String()
}

// retryable tells the failures after which the same transaction may simply be run again.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// Lost tells whether a connection was lost, or never came about: what was sent over it may have been done
// or not, a COMMIT included. Who repeats it must not care.
func Lost(err error) bool {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var network *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &pg):
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P0")
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return err != nil && pgconn.SafeToRetry(err)
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
