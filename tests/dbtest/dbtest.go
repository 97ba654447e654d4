// Package dbtest gives every test an empty, migrated Postgres database of its own. Nothing need be
// installed or started by hand.
//
// Each test process has a private server that ends with the process: a server shared by the
// processes of one `go test ./...` would have to outlive the one that started it, and so might
// outlive them all. A package that uses dbtest runs its tests with Main:
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
//
// The migrations run once per process, in a template database. Databases are cloned from it as
// needed (about 100 ms) and reset for the next test (a few ms). Server and program have different,
// unusual time zones, so that code that confuses local time, the server's time and UTC fails on
// every machine.
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
	// timeout bounds operations that take well under a second on an idle machine.
	timeout = time.Minute
	// startTimeout allows for a slow download.
	startTimeout = 8 * time.Minute
)

// localZone is the local time zone during tests. Its offset is not a whole number of hours, and
// differs from the database's.
var localZone = time.FixedZone("Test/Local", -(9*60+30)*60)

// running is the server of this process, set while Main runs.
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

// New returns the URL of a database for this test alone, with the current schema and the seeded
// rows of the migrations. After the test its connections are terminated and the URL stops working,
// so that connections that a test forgot to close cannot disturb another test.
func New(t testing.TB) string {
	t.Helper()
	ctx := ready(t)
	database, err := running.acquire(ctx)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	cleanup(t, func(ctx context.Context) error { return running.release(ctx, database) })
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
	cleanup(t, func(ctx context.Context) error { return running.drop(ctx, name) })
	return running.server.URL(name)
}

// ready starts the server if necessary and returns a context with a timeout.
func ready(t testing.TB) context.Context {
	t.Helper()
	if running == nil {
		t.Fatal("dbtest: this package's tests need func TestMain(m *testing.M) { dbtest.Main(m) }")
	}
	if err := running.ready(t.Context()); err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// cleanup runs the step after the test, with a context of its own, since the test's has ended by
// then.
func cleanup(t testing.TB, step func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := step(ctx); err != nil {
			t.Errorf("dbtest: %v", err)
		}
	})
}

// Eventually polls until the condition holds, and fails the test after 30 s. The condition runs on
// the test's goroutine, so it may call t.Fatal.
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

// directoryPrefix is the common prefix of the servers' directories, by which a later run finds
// those of killed processes.
func directoryPrefix() string {
	return "px360-dbtest-" + strconv.Itoa(os.Getuid()) + "-"
}

// newDirectory creates a directory for this process's server. Other users can enter it, because for
// root the server runs as another user.
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

// removeLeftovers deletes the servers of killed test processes. It skips directories younger than a
// minute, whose server may be about to start, and running servers.
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
