// Package dbtest gives every test a Postgres database of its own, fresh, migrated
// and empty, without anything to install or start by hand.
//
// Each test process has a private server that lives exactly as long as the
// process: a server shared by the processes of one `go test ./...` would have to
// outlive the one that started it, and so could outlive them all. A package that
// uses dbtest hands its tests to it:
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
//
// The migrations run once per process, in a template. Databases are cloned from
// it as needed (about 100 ms) and emptied for the next test (a few ms). Server
// and program live in different, unusual time zones, so that code that confuses
// local time, the server's time and UTC fails everywhere and not only abroad.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/px360/px360/schema/localpg"
)

const (
	// databaseZone is the default time zone of every session.
	databaseZone = "Asia/Riyadh"
	// patience bounds what takes well under a second on an idle machine.
	patience = time.Minute
	// startPatience leaves time for a slow download.
	startPatience = 8 * time.Minute
)

// localZone is what tests see as their machine's time zone. Its offset is no
// whole number of hours and not the database's.
var localZone = time.FixedZone("Test/Local", -(9*60+30)*60)

// running is the process's server, from Main's start to its end.
var running *cluster

// Main runs the tests, removes the server that they used, and exits.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	time.Local = localZone
	running = &cluster{}
	defer func() {
		if err := running.close(); err != nil {
			fmt.Fprintln(os.Stderr, "dbtest:", err)
			code = max(code, 1)
		}
	}()
	return m.Run()
}

// New returns the URL of a database with the current schema, with the rows that
// the migrations seed and no others, for this test alone. After the test its
// remaining connections are cut off and the URL leads nowhere, so that whatever a
// test forgets to end cannot disturb another.
func New(t testing.TB) string {
	t.Helper()
	ctx := ready(t)
	database, err := running.take(ctx)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	atEnd(t, func(ctx context.Context) error { return running.giveBack(ctx, database) })
	address, err := running.url(database)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	return address
}

// NewBlank returns the URL of a database without any schema, for tests of the
// migrations themselves.
func NewBlank(t testing.TB) string {
	t.Helper()
	ctx := ready(t)
	name, err := running.createBlank(ctx)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	atEnd(t, func(ctx context.Context) error { return running.drop(ctx, name) })
	return running.server.URL(name)
}

// ready returns a context for work on the server, which it starts if need be.
func ready(t testing.TB) context.Context {
	t.Helper()
	if running == nil {
		t.Fatal("dbtest: this package's tests need func TestMain(m *testing.M) { dbtest.Main(m) }")
	}
	if err := running.ready(t.Context()); err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// atEnd runs the step after the test; the test's own context has ended by then.
func atEnd(t testing.TB, step func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := step(ctx); err != nil {
			t.Errorf("dbtest: %v", err)
		}
	})
}

// Eventually waits until the condition holds and fails the test if that takes
// unreasonably long. The condition runs on the test's goroutine, so it may call
// t.Fatal.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	eventually(t, what, 30*time.Second, condition)
}

func eventually(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within %v: %s", within, what)
			return
		}
	}
}

// directories of servers are named alike, so that a later run finds those of
// processes that were killed.
func directoryPrefix() string {
	return "px360-dbtest-" + strconv.Itoa(os.Getuid()) + "-"
}

// newDirectory makes a directory for this process's server. It is open to others
// for looking through, because as root the server runs as somebody else.
func newDirectory() (string, error) {
	dir, err := os.MkdirTemp("", directoryPrefix())
	if err != nil {
		return "", fmt.Errorf("make a directory for the test server: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a directory for the test server: %w", err)
	}
	return dir, nil
}

// removeLeftovers deletes the servers of test processes that were killed. A
// young one may be about to start; one that runs is in use.
func removeLeftovers() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix()+"*"))
	if err != nil {
		return fmt.Errorf("look for what killed tests left: %w", err)
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if err := remove(dir); err != nil && !errors.Is(err, localpg.ErrInUse) {
			return err
		}
	}
	return nil
}

func remove(dir string) error {
	if err := localpg.Remove(serverDirectory(dir)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the test server: %w", err)
	}
	return nil
}

func serverDirectory(dir string) string { return filepath.Join(dir, "postgres") }
