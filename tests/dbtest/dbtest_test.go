package dbtest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/schema"
	"github.com/px360/px360/schema/localpg"
	"github.com/px360/px360/tests/fixtures"
)

func TestMain(m *testing.M) { Main(m) }

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func value(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	var got string
	if err := conn.QueryRow(context.Background(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

const (
	roles     = `SELECT string_agg(name, ',' ORDER BY name) FROM roles`
	hospitals = `SELECT count(*)::text FROM hospitals`
)

func TestNewIsMigratedAndEmpty(t *testing.T) {
	t.Parallel()
	conn := connect(t, New(t))
	if err := schema.Check(t.Context(), conn); err != nil {
		t.Error(err)
	}
	if got := value(t, conn, roles); !strings.Contains(got, "PX Admin") {
		t.Errorf("roles %q, want the seeded ones", got)
	}
	if got := value(t, conn, hospitals); got != "0" {
		t.Errorf("%s hospitals, want none", got)
	}
}

func TestTimeZonesDifferFromUTCAndEachOther(t *testing.T) {
	t.Parallel()
	conn := connect(t, New(t))
	if got := value(t, conn, `SHOW timezone`); got != databaseZone {
		t.Errorf("the database is in %s, want %s", got, databaseZone)
	}
	if _, offset := time.Now().Zone(); offset%3600 == 0 {
		t.Errorf("the program is %d s from UTC, want no whole number of hours", offset)
	}
}

func TestDatabasesAreIsolated(t *testing.T) {
	t.Parallel()
	one, other := connect(t, New(t)), connect(t, New(t))
	fixtures.NewHospital(t, one)
	if got := value(t, other, hospitals); got != "0" {
		t.Errorf("a hospital of another test is visible")
	}
}

func TestNewBlank(t *testing.T) {
	t.Parallel()
	url := NewBlank(t)
	if got := value(t, connect(t, url), `SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'`); got != "0" {
		t.Errorf("%s tables, want none", got)
	}
	if err := schema.Up(t.Context(), url); err != nil {
		t.Error(err)
	}
}

// useOnce acquires a database, uses and releases it, and reports whether the cluster kept it for
// reuse.
func useOnce(t *testing.T, c *cluster, use func(url string)) (kept bool) {
	t.Helper()
	ctx := t.Context()
	d, err := c.acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	address, err := c.url(d)
	if err != nil {
		t.Fatal(err)
	}
	use(address)
	if err := c.release(ctx, d); err != nil {
		t.Fatal(err)
	}
	return len(c.free) == 1
}

func TestReuse(t *testing.T) {
	t.Parallel()
	c := &cluster{}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.parent); !os.IsNotExist(err) {
			t.Errorf("the server's directory is still there: %v", err)
		}
	})
	if err := c.ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	var first string
	var leaked *pgx.Conn
	kept := useOnce(t, c, func(url string) {
		first = url
		leaked = connect(t, url)
		exec(t, leaked, `CREATE TEMPORARY TABLE scratch (x int)`)
		fixtures.NewHospital(t, leaked)
		exec(t, leaked, `BEGIN; LOCK TABLE hospitals`)
	})
	if leaked.Ping(t.Context()) == nil {
		t.Error("a leaked connection was not terminated")
	}
	if !kept {
		t.Error("a database with new rows was not kept")
	}
	kept = useOnce(t, c, func(url string) {
		if url == first {
			t.Error("a URL was used twice")
		}
		if conn, err := pgx.Connect(t.Context(), first); err == nil {
			conn.Close(t.Context())
			t.Error("the first test can still connect")
		}
		if got := value(t, connect(t, url), hospitals); got != "0" {
			t.Error("a row of the previous test is still there")
		}
	})
	if !kept {
		t.Error("an untouched database was not kept")
	}

	for what, statement := range map[string]string{
		"a changed column":     `ALTER TABLE hospitals ALTER name DROP NOT NULL`,
		"an added column":      `ALTER TABLE hospitals ADD x int`,
		"a dropped table":      `DROP TABLE hospitals CASCADE`,
		"a new table":          `CREATE TABLE x (x int)`,
		"a new schema":         `CREATE SCHEMA x`,
		"a new trigger":        `CREATE TRIGGER x BEFORE UPDATE ON hospitals FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
		"a changed seeded row": `UPDATE roles SET description = 'x' WHERE name = 'Viewer'`,
		"a changed setting":    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$`,
	} {
		if useOnce(t, c, func(url string) { exec(t, connect(t, url), statement) }) {
			t.Errorf("a database with %s was kept for other tests", what)
			c.free = nil
		}
	}
}

func TestRemoveLeftovers(t *testing.T) {
	t.Parallel()
	abandoned, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	young, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(young) })
	inUse, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(inUse) })
	p, err := localpg.Start(t.Context(), localpg.Options{Dir: serverDirectory(inUse), Throwaway: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	if err := os.MkdirAll(filepath.Join(abandoned, "postgres", "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	hourAgo := time.Now().Add(-time.Hour)
	for _, dir := range []string{abandoned, inUse} {
		if err := os.Chtimes(dir, hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}

	if err := removeLeftovers(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{abandoned: false, young: true, inUse: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
}

// failureRecorder records a failure instead of failing.
type failureRecorder struct {
	testing.TB
	failed bool
}

func (w *failureRecorder) Helper()               {}
func (w *failureRecorder) Fatalf(string, ...any) { w.failed = true }

func TestEventually(t *testing.T) {
	t.Parallel()
	calls := 0
	Eventually(t, "the third call", func() bool { calls++; return calls == 3 })
	w := &failureRecorder{TB: t}
	eventually(w, "never", 30*time.Millisecond, func() bool { return false })
	if !w.failed {
		t.Error("a condition that never holds did not fail the test")
	}
}

// BenchmarkNew measures the fixed cost of a test: a database, a connection, a row.
func BenchmarkNew(b *testing.B) {
	New(b) // starts the server
	for b.Loop() {
		test := &subtest{TB: b}
		conn, err := pgx.Connect(b.Context(), New(test))
		if err != nil {
			b.Fatal(err)
		}
		fixtures.NewHospital(b, conn)
		conn.Close(b.Context())
		test.runCleanups()
	}
}

// subtest is a testing.TB within a benchmark, with cleanups of its own.
type subtest struct {
	testing.TB
	cleanups []func()
}

func (w *subtest) Cleanup(f func()) { w.cleanups = append(w.cleanups, f) }

func (w *subtest) runCleanups() {
	for _, f := range slices.Backward(w.cleanups) {
		f()
	}
}
