package queries

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Verdict says what an error of the database means for whoever ran the statement: whether it took effect, whose
// fault it was, and what to do next. Server and worker both decide by it, and by nothing else.
type Verdict int

const (
	// Bug is a mistake of this program, or no error of the database at all.
	Bug Verdict = iota
	// Retry: a deadlock victim or a serialization failure. Rolled back; the same transaction may run again.
	Retry
	// Busy: a lock, a connection, memory, disk or the primary was not to be had. Nothing was done; try again later.
	Busy
	// TimedOut: the statement ran into the statement timeout. Rolled back; the next run may take as long.
	TimedOut
	// Lost: the connection or the time ran out before the database answered. Whether the statement, a COMMIT
	// included, took effect is unknown.
	Lost
	// Unusable: the database is not as this program needs it: another schema, missing permissions.
	Unusable
	// InvalidField: a constraint that the client violated; FieldErrorOf has the field and the message.
	InvalidField
	// InvalidValue: a value that no column can store, or that violates a CHECK which is no field's.
	InvalidValue
	// Referenced: a row was not deleted, because others refer to it.
	Referenced
)

var verdicts = [...]string{"bug", "retry", "busy", "timed out", "lost", "unusable", "invalid field", "invalid value", "referenced"}

func (v Verdict) String() string { return verdicts[v] }

// ErrBusy says that no connection became free in time. Nothing was done.
var ErrBusy = errors.New("no database connection became free in time")

// ErrReferenced says that a row was not deleted because others refer to it.
var ErrReferenced = errors.New("others refer to the row")

// Committed marks an error of work that has committed a part before: whatever the error, it is Lost, as the caller must
// not take it that nothing was done.
func Committed(err error) error { return committed{err} }

type committed struct{ error }

func (c committed) Unwrap() error { return c.error }

// NoRows tells whether a query for one row found none.
func NoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// Deleted is the error of a DELETE: ErrReferenced where a foreign key kept the row. An insert or update that violates
// the same key is told by the same SQLSTATE and constraint, so only the caller knows which it was.
func Deleted(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == pgerrcode.ForeignKeyViolation {
		return ErrReferenced
	}
	return err
}

// Judge returns the verdict on an error that a query, a transaction or the pool returned.
func Judge(err error) Verdict {
	var part committed
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &part):
		return Lost
	case errors.Is(err, ErrBusy):
		return Busy
	case errors.Is(err, ErrReferenced):
		return Referenced
	case errors.As(err, &pg) && isReadOnly(pg):
		return Busy
	case pg != nil:
		return judgeSQLState(err, pg.Code)
	case isFieldError(err):
		return InvalidField
	case isLost(err):
		return Lost
	}
	return Bug
}

// isReadOnly tells whether the statement was refused because the database is a standby, or read-only. On a standby,
// unlogged tables are refused with another state: their routine tells them apart from a plan that a migration made
// invalid.
func isReadOnly(pg *pgconn.PgError) bool {
	return pg.Code == pgerrcode.ReadOnlySQLTransaction || pg.Code == pgerrcode.FeatureNotSupported && pg.Routine == "get_relation_info"
}

func isFieldError(err error) bool {
	_, found := FieldErrorOf(err)
	return found
}

// isLost tells whether the error says nothing of what the database did. Errors before anything was sent are among
// them: a caller that runs several statements cannot tell which of them it was.
func isLost(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) || errors.As(err, &connect) || err != nil && pgconn.SafeToRetry(err)
}

func judgeSQLState(err error, code string) Verdict {
	switch code {
	case pgerrcode.TransactionResolutionUnknown, pgerrcode.StatementCompletionUnknown:
		return Lost
	case pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.CannotConnectNow, pgerrcode.DatabaseDropped, idleSessionTimeout:
		return Lost
	case pgerrcode.LockNotAvailable, pgerrcode.IdleInTransactionSessionTimeout, transactionTimeout:
		return Busy
	case pgerrcode.QueryCanceled:
		return TimedOut
	}
	switch {
	case isFieldError(err):
		return InvalidField
	case pgerrcode.IsTransactionRollback(code):
		return Retry
	case pgerrcode.IsConnectionException(code):
		return Lost
	case pgerrcode.IsInsufficientResources(code):
		return Busy
	case pgerrcode.IsDataException(code), pgerrcode.IsProgramLimitExceeded(code), code == pgerrcode.CheckViolation:
		return InvalidValue
	case pgerrcode.IsFeatureNotSupported(code), // a plan that a migration made invalid
		pgerrcode.IsInvalidSQLStatementName(code), // a statement that a connection pooler lost
		pgerrcode.IsInvalidAuthorizationSpecification(code),
		pgerrcode.IsInvalidCatalogName(code),
		pgerrcode.IsSyntaxErrororAccessRuleViolation(code), // no such column, or no permission
		pgerrcode.IsSystemError(code):
		return Unusable
	}
	return Bug
}

// SQLSTATEs that pgerrcode does not have: its list ends before PostgreSQL 14.
const (
	idleSessionTimeout = "57P05"
	transactionTimeout = "25P04"
)
