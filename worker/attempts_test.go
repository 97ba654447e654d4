package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/tests/dbtest"
)

// poison has the database refuse what event P does, in the manner of the statement.
func (f *fixture) poison(statement string) {
	f.exec(`CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM events WHERE id = NEW.completed_by_event AND event_code = 'P') THEN ` + statement + `; END IF;
			RETURN NEW;
		END $$`)
	f.exec(`CREATE TRIGGER poison BEFORE UPDATE ON stage_instances FOR EACH ROW EXECUTE FUNCTION poison()`)
}

func (f *fixture) expectOneFailure(poisoned uuid.UUID) {
	f.Helper()
	f.waitUntilDrained()
	var attempts, tries int
	var verdict, message string
	err := f.Pool.QueryRow(f.Context(), `SELECT status || ' ' || reason, error_message, attempts, tries FROM events WHERE id = $1`,
		poisoned).Scan(&verdict, &message, &attempts, &tries)
	if err != nil {
		f.Fatal(err)
	}
	const want = "The event could not be processed because of an internal error. It was tried 3 times."
	if verdict != "failed internal_error" || message != want || attempts != 3 || tries != 0 {
		f.Errorf("the poisoned event: %s, %q, %d attempts, %d tries", verdict, message, attempts, tries)
	}
	if others := one[int](f, `SELECT count(*) FROM events WHERE id <> $1 AND (status <> 'processed' OR attempts > 1)`, poisoned); others != 0 {
		f.Errorf("%d other events suffered", others)
	}
	if status := one[string](f, `SELECT string_agg(code || status, ' ' ORDER BY code) FROM stage_instances WHERE journey_instance_id = $1`,
		f.journeys[0]); status != "Acompleted Bcompleted Ppending" {
		f.Errorf("its journey: %s", status)
	}
}

// sendPoison sends events of ten encounters, one of them poisoned, and returns that.
func (f *fixture) sendPoison() (poisoned uuid.UUID) {
	for i := range f.model.Journeys {
		f.create(i)
	}
	for _, code := range []string{"A", "P", "B"} {
		for i, j := range f.model.Journeys {
			if i > 0 && code == "P" {
				continue
			}
			id := f.send("H", eventOf(j.EncounterID, code))[0]
			if code == "P" {
				poisoned = id
			}
		}
	}
	return poisoned
}

func poisonable(t *testing.T) *fixture {
	var encounters []string
	for i := range 10 {
		encounters = append(encounters, fmt.Sprint("E", i))
	}
	return newFixture(t, simple("APB", encounters...))
}

func TestPoison(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"an error":         `RAISE 'poison'`,
		"a violated check": `RAISE check_violation`,
		"a timeout":        `RAISE query_canceled`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := poisonable(t)
			f.poison(statement)
			poisoned := f.sendPoison()
			f.start()
			f.expectOneFailure(poisoned)
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	poisoned := f.sendPoison()
	w := f.worker()
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		if e.EventCode == "P" {
			panic("poison")
		}
		return decide(facts, e)
	}
	f.run(w)
	f.expectOneFailure(poisoned)
}

// Workers that are killed in the middle leave the tries that they counted. After the third the event
// is given up before it is tried again.
func TestKilledThrice(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	poisoned := f.sendPoison()
	f.exec(`UPDATE events SET tries = 3, attempts = 3 WHERE id = $1`, poisoned)
	w := f.worker()
	var tried atomic.Bool
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		if e.ID == poisoned {
			tried.Store(true)
		}
		return decide(facts, e)
	}
	f.run(w)
	f.waitUntilDrained()
	if tried.Load() {
		t.Error("the event was tried again")
	}
	f.expectOneFailure(poisoned)
}

// A fault that passes costs no try, however long it lasts.
func TestTransientFault(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	f.poison(`PERFORM nextval('faults'); IF (SELECT last_value FROM faults) < 8 THEN RAISE lock_not_available; END IF`)
	f.exec(`CREATE SEQUENCE faults`)
	// One that was tried before is tried alone, where a count has to be taken back.
	poisoned := f.sendPoison()
	f.exec(`UPDATE events SET tries = 1, attempts = 1 WHERE id = $1`, poisoned)
	f.start()
	f.waitUntilDrained()
	if got := f.verdict(poisoned); got != "processed" {
		t.Errorf("the event is %s", got)
	}
	if got := one[int](f, `SELECT attempts FROM events WHERE id = $1`, poisoned); got != 2 {
		t.Errorf("%d attempts, want the 1 before and the 1 that succeeded", got)
	}
	if got := one[int](f, `SELECT last_value FROM faults`); got < 8 {
		t.Errorf("there were only %d faults", got)
	}
}

// An attempt may be counted though the connection was lost before the answer came. That costs no try either.
func TestLostCount(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	suspect := f.sendPoison()
	f.exec(`UPDATE events SET tries = 1, attempts = 1 WHERE id = $1`, suspect)
	config := f.workers.Pool.Config()
	dial := config.ConnConfig.DialFunc
	var lost atomic.Int64
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &losesCounts{Conn: conn, lost: &lost}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	f.workers.Close()
	f.workers.Pool = pool
	f.start()
	f.waitUntilDrained()
	if got := f.verdict(suspect); got != "processed" {
		t.Errorf("the event is %s", got)
	}
	if got := one[int](f, `SELECT attempts FROM events WHERE id = $1`, suspect); got != 2 {
		t.Errorf("%d attempts, want the 1 before and the 1 that succeeded", got)
	}
	if got := lost.Load(); got < lostCounts {
		t.Errorf("%d answers were lost", got)
	}
}

// lostCounts is how many answers to EventTry are lost.
const lostCounts = 5

// losesCounts is a connection that is lost after the server answers EventTry.
type losesCounts struct {
	net.Conn
	prepared, executed bool
	lost               *atomic.Int64
}

func (c *losesCounts) Write(b []byte) (int, error) {
	c.executed = c.prepared
	c.prepared = c.prepared || bytes.Contains(b, []byte("name: EventTry :one"))
	return c.Conn.Write(b)
}

func (c *losesCounts) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.executed && err == nil && c.lost.Add(1) <= lostCounts {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

// What cannot even be given up does not keep the worker from anything else.
func TestUnfinishable(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	f.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$`)
	f.exec(`CREATE TRIGGER refuse BEFORE UPDATE ON events FOR EACH ROW
		WHEN (NEW.event_code = 'P' AND NEW.status <> 'pending') EXECUTE FUNCTION refuse()`)
	poisoned := f.sendPoison()
	f.start()
	dbtest.Eventually(t, "all but its encounter is done", func() bool {
		return one[int](f, `SELECT count(*) FROM events WHERE status = 'pending'`) == 2
	})
	f.exec(`DROP TRIGGER refuse ON events`)
	if got := f.verdict(poisoned); got != "processed" && got != "failed internal_error" {
		t.Errorf("the event is %s", got)
	}
	f.waitUntilDrained()
}

func TestTransient(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }
	for _, err := range []error{
		state("40001"), state("40P01"), state("55P03"), state("57P01"), state("57P03"), state("08006"), state("53300"), state("53200"),
		state("25006"), state("25P03"), state("42703"), io.ErrUnexpectedEOF, queries.ErrBusy, &net.OpError{Op: "read", Err: io.EOF},
	} {
		if !transient(err) {
			t.Errorf("%v is taken for an event's fault", err)
		}
	}
	for _, err := range []error{state("P0001"), state("22P02"), state("23503"), state("57014"), state("XX000"), &queries.PanicError{}, errors.New("?")} {
		if transient(err) {
			t.Errorf("%v is taken for a fault of the database", err)
		}
	}
}
