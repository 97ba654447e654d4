package tests

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/schema"
	"github.com/px360/px360/schema/localpg"
	"github.com/px360/px360/tests/dbtest"
)

// A replicated is a server whose Postgres can be told to wait for a synchronous standby, which there is none.
type replicated struct {
	*system
	own *pgx.Conn
}

func startReplicated(t *testing.T) replicated {
	t.Helper()
	ctx := context.Background()
	postgres, err := localpg.Start(ctx, localpg.Options{
		Dir: filepath.Join(t.TempDir(), "postgres"), Throwaway: true,
		Settings: map[string]string{"wal_level": "replica", "max_wal_senders": "2"},
	})
	must(t, err)
	t.Cleanup(func() { _ = postgres.Stop() })
	url := postgres.URL("postgres")
	must(t, schema.Up(ctx, url))
	own, err := pgx.Connect(ctx, url)
	must(t, err)
	t.Cleanup(func() { own.Close(ctx) })
	return replicated{startServerOn(t, url), own}
}

// exec runs a statement that writes no WAL.
func (r replicated) exec(sql string) {
	r.t.Helper()
	_, err := r.own.Exec(context.Background(), sql)
	must(r.t, err)
}

// waiting is the number of sessions that wait for the standby.
func (r replicated) waiting() (n int) {
	r.t.Helper()
	must(r.t, r.own.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n))
	return n
}

// cancelWaits ends the sessions that wait for the standby. What they committed becomes visible.
func (r replicated) cancelWaits() {
	r.t.Helper()
	r.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
}

// standbyIsAway has every commit wait for a standby, from now on.
func (r replicated) standbyIsAway() {
	r.t.Helper()
	r.exec(`ALTER SYSTEM SET synchronous_standby_names = 'away'`)
	r.exec(`SELECT pg_reload_conf()`)
	probe, err := pgx.Connect(context.Background(), r.dbURL)
	must(r.t, err)
	ended := make(chan struct{})
	go func() { // another process of Postgres turns the waiting on, at some time
		defer close(ended)
		for err == nil {
			_, err = probe.Exec(context.Background(), `SELECT pg_logical_emit_message(true, 'test', '')`)
		}
	}()
	dbtest.Eventually(r.t, "a commit waits for the standby", func() bool { return r.waiting() == 1 })
	r.cancelWaits()
	<-ended
}

// The standby is away, and the wait of a request for it is cut: the event is visible, and would be lost with the primary.
// The server's own repeat and that of the client are not answered until the standby has the event. Reads do not wait.
func TestRepeatsWaitForTheStandby(t *testing.T) {
	t.Parallel()
	r := startReplicated(t)
	token := r.token(adminName, adminPassword)
	event := func(encounter string, more ...string) fields { return lostEvent(encounter, more...) }
	answers := make(chan answer, 3)
	send := func(body fields, header ...string) {
		go func() { answers <- r.send("POST", oneEventPath, token, body, header...) }()
	}

	r.standbyIsAway()
	send(event("1", "source_event_id", "M-1"))
	send(event("2"), "Idempotency-Key", "K-2")
	dbtest.Eventually(t, "the events wait for the standby", func() bool { return r.waiting() == 2 })
	r.cancelWaits()
	dbtest.Eventually(t, "the events are visible, and their requests wait for the standby again", func() bool {
		var stored int
		must(t, r.own.QueryRow(t.Context(), `SELECT count(*) FROM events`).Scan(&stored))
		return stored == 2 && r.waiting() == 2
	})
	send(event("1", "source_event_id", "M-1"))
	dbtest.Eventually(t, "the client's repeat waits too", func() bool { return r.waiting() == 3 })
	if a := r.send("GET", "/api/integrations/events/", token, nil); a.status != http.StatusOK || a.json()["count"] != 2.0 {
		t.Errorf("a read answers %d %s", a.status, a.body)
	}
	select {
	case a := <-answers:
		t.Errorf("answered %d %s without the standby", a.status, a.body)
	default:
	}

	r.exec(`ALTER SYSTEM RESET synchronous_standby_names`)
	r.exec(`SELECT pg_reload_conf()`)
	got := map[int]int{}
	for range cap(answers) {
		got[(<-answers).status]++
	}
	if got[http.StatusCreated] != 2 || got[http.StatusOK] != 1 {
		t.Errorf("answered with %v, want 201 twice and 200 for the repeat", got)
	}
}
