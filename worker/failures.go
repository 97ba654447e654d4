package worker

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/queries"
)

// transient tells failures that are no fault of the events that were being applied: the database
// could not be reached, was overloaded, or is not in the state that this program needs.
func transient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return slices.Contains(transientCodes, pg.Code) || slices.Contains(transientClasses, pg.Code[:2])
	}
	var network net.Error
	return errors.Is(err, queries.ErrBusy) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) || pgconn.SafeToRetry(err)
}

var (
	transientClasses = []string{
		"08", // the connection
		"0A", // a plan that a migration made invalid
		"26", // a statement that a connection pooler lost
		"28", // credentials
		"3D", // no such database
		"40", // serialization, deadlocks
		"42", // no such column or no permission: the schema, or the roles
		"53", // out of connections, memory, locks, disk
		"58", // the disk
	}
	transientCodes = []string{
		"25006", // read-only: a standby, after a failover
		"25P03", // this process had stopped in the middle
		"25P04",
		"55P03", // somebody holds a lock for long
		"57P01", // the server is shutting down, or starting
		"57P02",
		"57P03",
		"57P05",
	}
)

// backoff waits longer after each failure.
type backoff struct{ next time.Duration }

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// wait returns false if ctx ended meanwhile. Half of the time is random, so that the workers that
// lost a database do not all come back at once.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, firstBackoff), lastBackoff)
	return sleep(ctx, b.next/2+rand.N(b.next/2))
}

func (b *backoff) reset() { b.next = 0 }

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
