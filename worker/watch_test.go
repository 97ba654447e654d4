package worker

import (
	"syscall"
	"testing"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/tests/dbtest"
)

// A process is stopped while it reads an answer that is longer than the buffers of its Unix socket. Its session, which
// holds the encounters of a batch, is ended by another worker.
func TestStoppedWhileReading(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple(""))
	h := f.hospital("STOPPED")
	template := h.Template()
	for i := range 50 {
		h.Stage(template, i+1, func(s *db.StageTemplateInsertParams) { s.TriggerEventCode = "A" })
	}
	h.Journeys(template, 300)
	send := func(where string) {
		f.exec(`INSERT INTO events (id, source_system, event_code, encounter_id, hospital_id, sender_kind, sender_id)
			SELECT uuid7(), 'his', 'A', encounter_id, hospital_id, 'user', uuid7() FROM journey_instances WHERE encounter_id ` + where)
	}
	process, _ := f.startProcess()
	send(`= 'ENC-1'`)
	f.waitUntilDrained() // the process has prepared its statements, and no lock makes it wait for that

	tx := f.begin()
	if _, err := tx.Exec(t.Context(), `LOCK TABLE stage_instances`); err != nil {
		t.Fatal(err)
	}
	send(`<> 'ENC-1'`)
	f.eventuallySession("waits for the stages of its journeys", processName, `wait_event_type = 'Lock' AND query LIKE '%StageListOf%'`)
	if err := process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.eventuallySession("waits for its client to read", processName, `wait_event = 'ClientWrite'`)

	o := slowly(processName)
	o.StatementTimeout = 5 * time.Second
	database, err := queries.Open(t.Context(), f.Pool.Config().ConnString(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Close)
	f.workers = database
	f.start()
	f.waitUntilDrained()
	if got := one[int](f, `SELECT count(*) FROM events WHERE status = 'processed' AND attempts = 1`); got != 300 {
		t.Errorf("%d events were processed at the first attempt, want 300", got)
	}
}

// eventuallySession waits for a session of this application_name that meets the condition.
func (f *fixture) eventuallySession(what, name, condition string) {
	f.Helper()
	dbtest.Eventually(f, "a session "+what, func() bool {
		return one[bool](f, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND state = 'active' AND `+condition+`)`, name)
	})
}
