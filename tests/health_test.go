package tests

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/tests/dbtest"
)

// The reason for not being ready is logged with the request id.
func TestNotReadyIsLoggedWithItsRequest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec("UPDATE schema_migrations SET dirty = true")
	a := s.expect(t, http.StatusServiceUnavailable, "GET", "/readyz", "", nil)
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"not ready"`) && strings.Contains(line, a.header.Get("X-Request-ID")) && strings.Contains(line, "stopped half way") {
			return
		}
	}
	t.Errorf("the log is %s", s.log)
}

// While the database takes no writes, as a standby does, the server is not ready and answers that nothing was done. It
// closes the connections that turned out to be read-only, and so finds the database that takes writes again.
func TestReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.token(adminName, adminPassword)
	ctx := context.Background()
	own, err := pgx.Connect(ctx, s.dbURL)
	must(t, err)
	defer own.Close(ctx)
	database := own.Config().Database
	exec := func(sql string) {
		t.Helper()
		_, err := own.Exec(ctx, sql)
		must(t, err)
	}
	ready := func() int { return s.send("GET", "/readyz", "", nil).status }
	event := fields{"source_system": "his", "event_code": "E", "encounter_id": "1"}

	exec("ALTER DATABASE " + database + " SET default_transaction_read_only = on")
	exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	dbtest.Eventually(t, "the server is not ready", func() bool { return ready() == http.StatusServiceUnavailable })
	for _, header := range [][]string{nil, {"Idempotency-Key", "k"}} {
		a := s.send("POST", oneEventPath, token, event, header...)
		s.expectRetryLater(t, a)
		if strings.Contains(a.body, "code") {
			t.Errorf("answered %s, though nothing was done", a.body)
		}
	}

	exec("ALTER DATABASE " + database + " RESET default_transaction_read_only")
	dbtest.Eventually(t, "the server is ready", func() bool { return ready() == http.StatusOK })
	dbtest.Eventually(t, "an event is stored", func() bool {
		a := s.send("POST", oneEventPath, token, event)
		if a.status != http.StatusCreated {
			s.expectRetryLater(t, a)
		}
		return a.status == http.StatusCreated
	})
}
