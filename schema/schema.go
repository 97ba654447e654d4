// Package schema holds the database schema of PX360 as golang-migrate files, which sqlc reads too,
// and applies it. Migrations are additive, so that the previous version of the program runs on the
// newer schema; what a release no longer needs is removed one release later.
package schema

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5" // registers the pgx5 URL scheme
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed *.sql
var files embed.FS

const (
	// migratorTimeout is how long a migrator waits for another one, and tries again; the library's 15 s would fail
	// the second of two programs started together on a large database.
	migratorTimeout = 10 * time.Minute
	// tableTimeout is how long a statement of a migration waits for a lock on a table: requests of the program that
	// runs meanwhile wait behind it.
	tableTimeout = 2 * time.Second
)

// Up applies every migration that the database at databaseURL does not have yet. Of several
// programs that call it at once, one migrates and the others wait. An interrupted ctx stops it
// between two files. Each file is a transaction, of which nothing is left if it fails. One that
// found no lock in time, or was the victim of a deadlock, is tried again.
func Up(ctx context.Context, databaseURL string) error {
	rolledBack := false // a file, whose version is noted as half done
	attempt := func() (err error) {
		if rolledBack {
			if err = migrated(ctx, databaseURL, undo); err != nil {
				return err
			}
		}
		err = migrated(ctx, databaseURL, (*migrate.Migrate).Up)
		_, rolledBack = errors.AsType[*fileError](err)
		return err
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := attempt()
		if pg, found := errors.AsType[*pgconn.PgError](err); !found || pg.Code != pgerrcode.LockNotAvailable && pg.Code != pgerrcode.DeadlockDetected {
			err = permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, Multiplier: 2, MaxInterval: tableTimeout, RandomizationFactor: 0.5,
	}), backoff.WithMaxElapsedTime(migratorTimeout))
	if rolledBack {
		err = errors.Join(err, migrated(context.WithoutCancel(ctx), databaseURL, undo))
	}
	return err
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// undo sets back the version that golang-migrate notes, as dirty, before it runs a file.
func undo(m *migrate.Migrate) error {
	version, dirty, err := m.Version()
	if err != nil || !dirty {
		return err
	}
	before := database.NilVersion
	for _, v := range versions() {
		if v < int(version) {
			before = v
		}
	}
	return m.Force(before)
}

// Down takes back every migration, and with them all data. It exists for tests and development.
func Down(ctx context.Context, databaseURL string) error {
	return migrated(ctx, databaseURL, (*migrate.Migrate).Down)
}

func migrated(ctx context.Context, databaseURL string, apply func(*migrate.Migrate) error) error {
	source, err := iofs.New(files, ".")
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	_, rest, found := strings.Cut(databaseURL, "://")
	if !found {
		return errors.New("migrate: the database URL has no scheme, want postgres://…")
	}
	separator := "?"
	if strings.Contains(rest, "?") {
		separator = "&"
	}
	rest += fmt.Sprintf("%slock_timeout=%d", separator, tableTimeout.Milliseconds())
	m, err := migrate.NewWithSourceInstance("iofs", source, "pgx5://"+rest)
	if err != nil {
		return fmt.Errorf("migrate: %w", withoutURL(err))
	}
	defer m.Close()
	m.LockTimeout = migratorTimeout
	stop := context.AfterFunc(ctx, func() { m.GracefulStop <- true })
	defer stop()
	err = apply(m)
	switch {
	case err == nil, errors.Is(err, migrate.ErrNoChange):
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist): // no file has the version that the database is at
		return unknownVersion(m)
	}
	return fmt.Errorf("migrate: %w", cause(err))
}

// A fileError is the database's of a statement in a file, which is rolled back as a whole.
type fileError struct{ error }

func (e *fileError) Unwrap() error { return e.error }

// cause is the database's error without the text of the file, which is long.
func cause(err error) error {
	if failed, ok := errors.AsType[database.Error](err); ok && failed.OrigErr != nil {
		return &fileError{failed.OrigErr}
	}
	if failed, ok := errors.AsType[*database.Error](err); ok && failed.OrigErr != nil { // of the version, or of its lock
		return failed.OrigErr
	}
	return err
}

// unknownVersion explains why there is no way from the version that the database is at.
func unknownVersion(m *migrate.Migrate) error {
	version, _, err := m.Version()
	if err != nil {
		return fmt.Errorf("migrate: read the schema version: %w", err)
	}
	if int(version) > Latest() {
		return fmt.Errorf("the schema is at version %d, newer than this program's %d: run the program that migrated it", version, Latest())
	}
	return fmt.Errorf("the schema is at version %d, of a development version between two releases, and this program has no migration "+
		"from there: run `px360 migrate` of the previous release first, or dump the data and start with an empty database", version)
}

// withoutURL drops the URL, and with it a password, from an error of net/url.
func withoutURL(err error) error {
	var parse *url.Error
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

// Latest is the version of the newest migration in this program.
func Latest() int {
	all := versions()
	return all[len(all)-1]
}

// versions are those of the migrations in this program, the oldest first.
func versions() []int {
	names, err := fs.Glob(files, "*.up.sql")
	if err != nil || len(names) == 0 {
		panic("schema: no migrations embedded")
	}
	list := make([]int, len(names))
	for i, name := range names {
		if _, err := fmt.Sscanf(name, "%06d_", &list[i]); err != nil {
			panic("schema: migration without a number: " + name)
		}
	}
	return list
}

// Querier is what Check needs of a connection or a pool.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check tells whether this program can run on the database: its schema must be complete and at
// least as new as the program's own. A newer one is fine, and so is that a newer program is at a
// migration of its own: until that is committed, nothing of it is there.
func Check(ctx context.Context, db Querier) error {
	var version int
	var dirty bool
	err := db.QueryRow(ctx, "SELECT version, dirty FROM schema_migrations").Scan(&version, &dirty)
	if err != nil {
		return fmt.Errorf("read the schema version (run `px360 migrate` first?): %w", err)
	}
	switch {
	case dirty && version > Latest():
		return nil
	case dirty:
		return fmt.Errorf("migration %d is under way, or stopped half way: if nobody migrates, mend it, then run `px360 migrate` again", version)
	case version < Latest():
		return fmt.Errorf("the schema is at version %d and this program needs %d: run `px360 migrate`", version, Latest())
	}
	return nil
}
