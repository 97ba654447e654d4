// Package queries is the way to the database: the SQL files that sqlc compiles into gen/db, and the
// little Go beside them that opens a pool, runs a transaction, orders a list and turns the name of
// a violated constraint into the message for its field.
package queries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
	StatementTimeout  time.Duration // a statement that runs longer is cancelled by the server
	LockTimeout       time.Duration // below the statement's, so that a wait is told apart from work
	IdleInTransaction time.Duration // ends a process that stopped in the middle of a transaction
	AcquireTimeout    time.Duration // how long a caller waits for a connection
}

// DefaultOptions are the options of a pool that nobody configured.
func DefaultOptions() Options {
	return Options{
		Name:              "px360",
		MaxConnections:    16,
		StatementTimeout:  10 * time.Second,
		LockTimeout:       3 * time.Second,
		IdleInTransaction: 10 * time.Second,
		AcquireTimeout:    time.Second,
	}
}

// validate refuses what Postgres would take for "no timeout", and pools of no connection.
func (o Options) validate() error {
	if o.Name == "" || o.MaxConnections < 1 {
		return fmt.Errorf("database options: a pool needs a name and at least one connection, not %q and %d", o.Name, o.MaxConnections)
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

// DB is a pool with the rules of this program.
type DB struct {
	Pool    *pgxpool.Pool
	acquire time.Duration
}

// ErrBusy says that no connection became free in time: the caller may try again.
var ErrBusy = errors.New("no database connection became free in time")

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
	config.MaxConns = o.MaxConnections
	config.MinConns = min(2, config.MaxConns)
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	for name, value := range map[string]string{
		"application_name":                    o.Name,
		"timezone":                            "UTC",
		"datestyle":                           "ISO, YMD",
		"statement_timeout":                   milliseconds(o.StatementTimeout),
		"lock_timeout":                        milliseconds(o.LockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(o.IdleInTransaction),
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		types := conn.TypeMap()
		pgxuuid.Register(types) // in sixteen bytes, where it would be spelt out and parsed
		types.RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		// A date is nothing but its text here: no zone can shift it.
		types.RegisterType(&pgtype.Type{Name: "date", OID: pgtype.DateOID, Codec: pgtype.TextCodec{}})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &DB{Pool: pool, acquire: o.AcquireTimeout}, nil
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
	return Again(ctx, Retryable, func() error { return d.once(ctx, f) })
}

// Again runs f and, while worth says so of its error, once more, three times in all.
func Again(ctx context.Context, worth func(error) bool, f func() error) error {
	const tries = 3
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == tries || !worth(err) || ctx.Err() != nil {
			return err
		}
		if Retryable(err) { // the other transaction is to be through by then, or both meet again
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(try) * (undonePause + rand.N(undonePause))):
			}
		}
	}
}

// undonePause is about how long to leave the database to the transaction for whose sake one was undone.
const undonePause = 100 * time.Millisecond

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

const orderingMarker = "/* ordering */"

// planned is a connection or transaction that knows how the queries of this package want to be planned.
//
// A list is ordered by what its caller asked for, in the place of the ordering marker: sqlc has no way
// to say ORDER BY a parameter, and a CASE for every column and direction would keep Postgres from using
// any index.
//
// A query with optional filters says in its text which of them are in use, so that no plan carries the
// others along. A list, or the count of one, is then planned at each call: which index to read, and whether
// any, depends on the values, and a plan for all of them reads whole tables. A list that asks for the row of
// one id keeps its plan, as all other queries do.
type planned struct {
	db.DBTX
	order Order
}

func (p planned) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	sql, args = p.plan(sql, args)
	return p.DBTX.Exec(ctx, sql, args...)
}

func (p planned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if len(p.order) > 0 {
		sql = strings.Replace(sql, orderingMarker, p.order.columns(), 1)
	}
	sql, args = p.plan(sql, args)
	return p.DBTX.Query(ctx, sql, args...)
}

func (p planned) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	sql, args = p.plan(sql, args)
	return p.DBTX.QueryRow(ctx, sql, args...)
}

var (
	optionalFilter = regexp.MustCompile(`\$(\d+)::\w+ IS NULL OR `)
	filterByID     = regexp.MustCompile(`(?:WHERE|AND|` + inUse + `) (?:\w+\.)?id = \$`)
	list           = regexp.MustCompile(`(?m)^LIMIT |^SELECT count\(\*\)`)
	offset         = regexp.MustCompile(`OFFSET (\$\d+)`)
)

// What follows the test of an optional filter's argument, ($1::uuid IS NULL OR …), so that Postgres sees at
// once what it comes to; it still finds there what type the argument has.
const (
	leftOut = "OR true OR"
	inUse   = "AND false OR"
)

// A plan is how a query with optional filters is sent.
type plan struct {
	sql  string
	kept bool // by Postgres, for the next time
}

// plans has the plans that were made so far, by planKey: a few for each of the queries.
var plans sync.Map

// planKey is what decides on a plan: the query, and which of its arguments are there.
type planKey struct {
	sql   string
	given uint64
}

func (p planned) plan(sql string, args []any) (string, []any) {
	if !strings.Contains(sql, "IS NULL OR") {
		return sql, args
	}
	key := planKey{sql: sql}
	for i, arg := range args {
		if value := reflect.ValueOf(arg); value.Kind() != reflect.Pointer || !value.IsNil() {
			key.given |= 1 << i
		}
	}
	made, known := plans.Load(key)
	if !known {
		made = key.plan()
		if len(p.order) == 0 { // orders are for the client to choose, and many
			plans.Store(key, made)
		}
	}
	how := made.(plan)
	if !how.kept {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...) // not prepared, so planned each time
	}
	return how.sql, args
}

func (k planKey) plan() plan {
	sql := optionalFilter.ReplaceAllStringFunc(k.sql, func(test string) string {
		number, _ := strconv.Atoi(test[1:strings.IndexByte(test, ':')])
		word := leftOut
		if k.given&(1<<(number-1)) != 0 {
			word = inUse
		}
		return strings.TrimSuffix(test, "OR ") + word + " "
	})
	if list.MatchString(sql) && !filterByID.MatchString(sql) {
		return plan{sql, false}
	}
	// Of one row there is nothing to pass over. Were that left open, Postgres would take plans for one id
	// to be cheaper, and make one at each call.
	return plan{offset.ReplaceAllString(sql, "OFFSET CASE WHEN true THEN 0 ELSE $1 END"), true}
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

// Retryable tells the failures after which the same transaction may simply be run again.
func Retryable(err error) bool {
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

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
