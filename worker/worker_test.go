package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/hospitalday"
)

// A journey is being made while its event is there: the worker, which cannot see the journey yet,
// must not decide that there is none.
func TestJourneyBeingMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("AB", "E1", "E2"))
	tx := f.begin()
	if err := f.createIn(db.New(tx), 0); err != nil {
		t.Fatal(err)
	}
	f.create(1)
	waiting := f.send("H", eventOf("E1", "A"))[0]
	other := f.send("H", eventOf("E2", "A"))[0]
	f.start(func(o *Options) { o.PollInterval = 10 * time.Millisecond })
	// What comes later in the queue is done, so the worker has passed the first event by.
	if got := f.verdict(other); got != "processed" {
		t.Errorf("the event of another encounter is %s", got)
	}
	if got := one[string](f, `SELECT status FROM events WHERE id = $1`, waiting); got != "pending" {
		t.Errorf("the event is %s while its journey is being made", got)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.verdict(waiting); got != "processed" {
		t.Errorf("the event is %s", got)
	}
}

// The reverse: the worker is about to decide that there is no journey. Whoever makes one waits, and
// then finds the event waiting.
func TestJourneyMadeDuringDecision(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("AB", "E1"))
	first := f.send("H", eventOf("E1", "A"))[0]
	second := f.send("H", eventOf("E1", "B"))[0]
	w := f.worker(func(o *Options) { o.Concurrency = 1 })
	deciding, decided := make(chan struct{}), make(chan struct{})
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		if e.ID == first && len(facts.Journeys) == 0 {
			close(deciding)
			<-decided
		}
		return decide(facts, e)
	}
	f.run(w)
	<-deciding
	created := make(chan struct{})
	go func() { f.create(0); close(created) }()
	dbtest.Eventually(t, "the journey waits for the encounter", func() bool {
		return one[bool](f, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)`)
	})
	close(decided)
	<-created
	dbtest.Eventually(t, "both events are applied", func() bool {
		return one[int](f, `SELECT count(*) FROM events WHERE status = 'processed' AND attempts = 2`) == 2
	})
	if got := one[string](f, `SELECT status FROM journey_instances`); got != "completed" {
		t.Errorf("the journey is %s", got)
	}
	if first, second := f.verdict(first), f.verdict(second); first != "processed" || second != "processed" {
		t.Errorf("the events are %s, %s", first, second)
	}
}

// Somebody holds a journey: its events wait, nobody else's do.
func TestJourneyHeld(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("AB", "E1", "E2"))
	f.create(0)
	f.create(1)
	tx := f.begin()
	if _, err := db.New(tx).JourneyLock(t.Context(), db.JourneyLockParams{ID: f.journeys[0]}); err != nil {
		t.Fatal(err)
	}
	ids := f.send("H", eventOf("E1", "A"), eventOf("E2", "A"))
	f.start()
	if got := f.verdict(ids[1]); got != "processed" {
		t.Errorf("the event of another journey is %s", got)
	}
	if got := one[string](f, `SELECT status FROM events WHERE id = $1`, ids[0]); got != "pending" {
		t.Errorf("the event is %s while somebody holds its journey", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.verdict(ids[0]); got != "processed" {
		t.Errorf("the event is %s", got)
	}
	if got := one[int](f, `SELECT max(attempts) FROM events`); got != 1 {
		t.Errorf("%d attempts, want 1", got)
	}
}

// A worker locks nothing of an encounter whose mutex another transaction holds: whoever holds it changes the events
// without a wait for the worker, with which it would deadlock.
func TestClaimLocksOnlyItsOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("A", "E1", "E2"))
	f.create(0)
	f.create(1)
	ids := f.send("H", eventOf("E1", "A"), eventOf("E2", "A"))
	tx := f.begin()
	if err := db.New(tx).EncounterLock(t.Context(), db.EncounterLockParams{EncounterID: "E1"}); err != nil {
		t.Fatal(err)
	}
	w := f.worker(func(o *Options) { o.Concurrency = 1 })
	deciding, decided := make(chan struct{}), make(chan struct{})
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		if e.ID == ids[1] {
			close(deciding)
			<-decided
		}
		return decide(facts, e)
	}
	f.run(w)
	<-deciding
	if _, err := tx.Exec(t.Context(), `SELECT FROM events WHERE id = $1 FOR UPDATE NOWAIT`, ids[0]); err != nil {
		t.Errorf("the worker has locked an event of another's encounter: %v", err)
	}
	close(decided)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.waitUntilDrained()
	f.compare()
}

// Who waits for an encounter waits a third of the lock_timeout, so that a worker that stopped in a batch costs a journey
// of its encounters one second.
func TestEncounterLockWaitsBriefly(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("A", "E1"))
	tx := f.begin()
	if err := db.New(tx).EncounterLock(t.Context(), db.EncounterLockParams{EncounterID: "E1"}); err != nil {
		t.Fatal(err)
	}
	var timeout string
	if err := tx.QueryRow(t.Context(), `SHOW lock_timeout`).Scan(&timeout); err != nil || timeout != "20s" {
		t.Errorf("the lock_timeout is %q, %v, want a third of the minute", timeout, err)
	}
	if got := one[string](f, `SELECT current_setting('lock_timeout')`); got != "1min" {
		t.Errorf("the lock_timeout of other transactions is %s", got)
	}
}

func (f *fixture) begin() pgx.Tx {
	f.Helper()
	tx, err := f.Pool.Begin(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

// An idle worker that never polls is woken.
func TestWakeUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("ABC", "E1"))
	f.create(0)
	f.start(func(o *Options) { o.PollInterval = time.Hour })
	for _, code := range []string{"A", "B", "C"} {
		dbtest.Eventually(t, "the worker listens and asks nothing any more", func() bool {
			return one[bool](f, `SELECT count(*) FILTER (WHERE query LIKE 'LISTEN%') = 1 AND count(*) > 1
					AND bool_and(state = 'idle' AND state_change < clock_timestamp() - interval '300 ms')
				FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'worker'`)
		})
		id := f.send("H", eventOf("E1", code))[0]
		if err := f.Read(t.Context(), func(q *db.Queries) error { return q.EventNotify(t.Context()) }); err != nil {
			t.Fatal(err)
		}
		if got := f.verdict(id); got != "processed" {
			t.Errorf("event %s is %s", code, got)
		}
	}
}

// The end of an outage ends the pollers' backoff, however long that is by then.
func TestOutageEndsBackoff(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("AB", "E1"))
	f.create(0)
	failed := make(chan struct{}, 1)
	w := f.worker(func(o *Options) {
		o.Concurrency, o.PollInterval = 1, 10*time.Millisecond
		o.Log = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
			if strings.Contains(string(line), "the database failed, trying again") {
				select {
				case failed <- struct{}{}:
				default:
				}
			}
			return f.Output().Write(line)
		}), nil))
	})
	w.backoff = func() *backoff.ExponentialBackOff {
		return &backoff.ExponentialBackOff{InitialInterval: time.Hour, Multiplier: 1, MaxInterval: time.Hour}
	}
	f.run(w)
	f.verdict(f.send("H", eventOf("E1", "A"))[0])

	socket := f.Pool.Config().ConnConfig.Host
	if err := os.Rename(socket, socket+"-away"); err != nil {
		t.Fatal(err)
	}
	f.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'worker'`)
	<-failed
	if err := os.Rename(socket+"-away", socket); err != nil {
		t.Fatal(err)
	}
	id := f.send("H", eventOf("E1", "B"))[0]
	dbtest.Eventually(t, "the event is applied", func() bool {
		if err := f.Read(t.Context(), func(q *db.Queries) error { return q.EventNotify(t.Context()) }); err != nil {
			t.Fatal(err)
		}
		return one[string](f, `SELECT status FROM events WHERE id = $1`, id) == "processed"
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Without notifications, and with its connections cut again and again, a worker still gets there.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("ABCD", "E1", "E2", "E3", "E4"))
	for i := range f.model.Journeys {
		f.create(i)
	}
	f.start(func(o *Options) { o.Batch, o.PollInterval = 2, 10*time.Millisecond })
	for _, code := range []string{"A", "B", "C", "D"} {
		for i := range f.model.Journeys {
			f.send("H", eventOf(f.model.Journeys[i].EncounterID, code))
		}
		f.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'worker'`)
	}
	f.waitUntilDrained()
	f.compare()
	if got := one[int](f, `SELECT max(attempts) FROM events`); got != 1 {
		t.Errorf("%d attempts: lost connections cost events a try", got)
	}
}

// Of 500 events of one encounter each completes the next of 500 stages, whoever applies it.
func TestOrder(t *testing.T) {
	t.Parallel()
	const stages = 500
	m := simple("", "E1")
	for i := range stages {
		m.Journeys[0].Stages = append(m.Journeys[0].Stages, hospitalday.Stage{Code: fmt.Sprint(i), Order: i, TriggerEventCode: "X"})
	}
	f := newFixture(t, m)
	f.create(0)
	f.start(func(o *Options) { o.Batch, o.PollInterval = 30, time.Millisecond })
	f.start(func(o *Options) { o.Batch, o.PollInterval = 50, time.Millisecond })
	var want []uuid.UUID
	for len(want) < stages {
		want = append(want, f.send("H", slices.Repeat([]hospitalday.Event{eventOf("E1", "X")}, 20)...)...)
	}
	f.waitUntilDrained()
	got := one[[]uuid.UUID](f, `SELECT array_agg(completed_by_event ORDER BY "order") FROM stage_instances`)
	if !slices.Equal(got, want) {
		t.Errorf("the stages were completed by\n%v\nwant\n%v", got, want)
	}
	if got := one[string](f, `SELECT status FROM journey_instances`); got != "completed" {
		t.Errorf("the journey is %s", got)
	}
}

// A worker that is told to stop finishes the batch in hand and leaves nothing behind. Not parallel, so
// that the goroutines of workers that it finds are its own.
func TestStop(t *testing.T) {
	f := newFixture(t, simple("ABC", "E1", "E2"))
	f.create(0)
	f.create(1)
	f.send("H", eventOf("E1", "A"), eventOf("E2", "A"))
	w := f.worker(func(o *Options) { o.Concurrency, o.Batch = 1, 8 })
	deciding, told := make(chan struct{}, 1), make(chan struct{})
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		select {
		case deciding <- struct{}{}:
			<-told
		default:
		}
		return decide(facts, e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	<-deciding
	later := f.send("H", eventOf("E1", "B"), eventOf("E2", "B"))
	cancel()
	close(told)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := one[int](f, `SELECT count(*) FROM events WHERE status = 'processed'`); got != 2 {
		t.Errorf("%d events were processed, want the 2 of the batch in hand", got)
	}
	if got := one[int](f, `SELECT count(*) FROM events WHERE id = ANY ($1) AND status = 'pending' AND attempts = 0`, later); got != 2 {
		t.Errorf("%d events are left, want 2", got)
	}
	dbtest.Eventually(t, "no goroutine and no connection is left", func() bool {
		return len(goroutines()) == 0 && f.workers.Pool.Stat().AcquiredConns() == 0 &&
			one[int](f, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`) == 0
	})
}

// Events that were put back into the queue lie behind everything that the worker is at.
func TestReprocessed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("AB", "E1", "E2"))
	f.create(0)
	f.create(1)
	f.start(func(o *Options) { o.PollInterval = 20 * time.Millisecond })
	old := f.send("H", eventOf("E1", "?"))[0]
	if got := f.verdict(old); got != "ignored no_stage" {
		t.Fatalf("the event is %s", got)
	}
	f.verdict(f.send("H", eventOf("E2", "A"))[0])
	f.exec(`UPDATE stage_instances SET trigger_event_code = '?' WHERE journey_instance_id = $1 AND code = 'A'`, f.journeys[0])
	err := f.Read(t.Context(), func(q *db.Queries) error {
		_, err := q.EventReprocess(t.Context(), old)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.verdict(old); got != "processed" {
		t.Errorf("the event is %s", got)
	}
	if got := one[int](f, `SELECT attempts FROM events WHERE id = $1`, old); got != 2 {
		t.Errorf("%d attempts, want 2", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("A", "E1"))
	f.create(0)
	registry := prometheus.NewRegistry()
	w := f.worker(func(o *Options) { o.Registerer = registry })
	soon := eventOf("E?", "A")
	soon.PayloadJSON = []byte(`{"timestamp": "soon"}`)
	f.send("H", eventOf("E1", "A"), eventOf("E1", "A"), soon)
	byKey := f.send("H", soon)[0]
	f.exec(`UPDATE events SET received_at = now() - interval '1 hour'`)
	f.exec(`UPDATE events SET sender_kind = 'key', source_system = 'lab' WHERE id = $1`, byKey)
	if got := gathered(t, registry); got["px360_worker_queue_pending"] != 4 || got["px360_worker_queue_oldest_seconds"] < 3600 {
		t.Errorf("before: %v", got)
	}
	f.run(w)
	f.waitUntilDrained()
	dbtest.Eventually(t, "the metrics tell what was done", func() bool {
		got := gathered(t, registry)
		return got["px360_worker_queue_pending"] == 0 && got["px360_worker_queue_oldest_seconds"] == 0 &&
			got["px360_worker_events_total processed"] == 1 && got["px360_worker_events_total ignored journey_not_active"] == 1 &&
			got["px360_worker_events_total ignored no_journey"] == 2 && got["px360_event_warnings_total timestamp_unreadable user"] == 1 &&
			got["px360_event_warnings_total timestamp_unreadable lab"] == 1 && got["px360_worker_batch_seconds"] == 1
	})
}

// gathered returns the values of counters and gauges and the counts of histograms.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			name := family.GetName()
			for _, label := range []string{labels["status"], labels["reason"], labels["source"]} {
				if label != "" {
					name += " " + label
				}
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"Concurrency":  func(o *Options) { o.Concurrency = 0 },
		"no Batch":     func(o *Options) { o.Batch = 0 },
		"large Batch":  func(o *Options) { o.Batch = 1 << 31 },
		"PollInterval": func(o *Options) { o.PollInterval = 0 },
		"Log":          func(o *Options) { o.Log = nil },
	} {
		o := DefaultOptions()
		change(&o)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			New(nil, o)
		}()
	}
}
