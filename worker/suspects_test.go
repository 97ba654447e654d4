package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/tests/dbtest"
)

// However many pollers there are, a poison event fails one batch and then its own three attempts. Each of these may be a
// statement that hangs until its timeout.
func TestPoisonFailsOneBatch(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]time.Duration{"marked when it failed": 0, "marked first": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := poisonable(t)
			f.exec(`CREATE SEQUENCE failures`)
			f.poison(`PERFORM nextval('failures'); RAISE query_canceled`)
			poisoned := f.sendPoison()
			for range 3 {
				w := f.worker(func(o *Options) { o.Concurrency, o.PollInterval = 3, time.Millisecond })
				w.markFirstFor = first
				f.run(w)
			}
			f.expectOneFailure(poisoned)
			if got := one[int](f, `SELECT last_value FROM failures`); got != 4 {
				t.Errorf("the event failed %d times, want once in a batch and 3 times alone", got)
			}
			f.expectNoMarks()
		})
	}
}

// A poison event that hangs costs the others of its batch one statement_timeout, and a fifth of one for its first attempt
// alone.
func TestFirstAttemptIsShort(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	f.exec(`CREATE SEQUENCE failed_after_1min`) // the statement_timeout of the tests
	f.exec(`CREATE SEQUENCE failed_after_12s`)
	f.poison(`PERFORM nextval('failed_after_' || current_setting('statement_timeout')); RAISE query_canceled`)
	poisoned := f.sendPoison()
	f.start()
	f.expectOneFailure(poisoned)
	whole, short := one[int](f, `SELECT last_value FROM failed_after_1min`), one[int](f, `SELECT last_value FROM failed_after_12s`)
	if whole != 3 || short != 1 {
		t.Errorf("%d failures under the whole timeout, %d under a fifth; want the batch's and two attempts, and the first attempt", whole, short)
	}
}

func (f *fixture) expectNoMarks() {
	f.Helper()
	dbtest.Eventually(f, "no batch is marked", func() bool { return one[int](f, `SELECT count(*) FROM suspect_batches`) == 0 })
}

// An event that ends the process is given up after as many processes.
func TestEventEndsProcess(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	poisoned := f.sendPoison()
	exits := 0
	for range 8 {
		process, ended := f.startProcess()
		dbtest.Eventually(t, "the process ends, or nothing is pending", func() bool {
			select {
			case <-ended:
				return true
			default:
				return one[int](f, `SELECT count(*) FROM events WHERE status = 'pending'`) == 0
			}
		})
		select {
		case <-ended:
			if code := process.ProcessState.ExitCode(); code != exitCode {
				t.Fatalf("the worker's process ended with %d", code)
			}
			exits++
			continue
		default:
		}
		break
	}
	f.expectOneFailure(poisoned)
	if exits != 4 {
		t.Errorf("the event ended %d processes, want one with its batch and 3 alone", exits)
	}
	f.expectNoMarks()
}

// Rules that do not come to an end are a failure of their event.
func TestEndlessRules(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	poisoned := f.sendPoison()
	w := f.worker()
	w.decideTimeout = 2 * time.Second
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		if e.EventCode == "P" {
			<-t.Context().Done()
		}
		return decide(facts, e)
	}
	f.run(w)
	f.expectOneFailure(poisoned)
}

// A batch that failed for no fault of an event's is applied as a batch again.
func TestTransientFaultLeavesNoMark(t *testing.T) {
	t.Parallel()
	f := poisonable(t)
	f.exec(`CREATE SEQUENCE faults`)
	f.poison(`IF nextval('faults') < 3 THEN RAISE lock_not_available; END IF`)
	poisoned := f.sendPoison()
	f.start()
	if got := f.verdict(poisoned); got != "processed" {
		t.Errorf("the event is %s", got)
	}
	f.waitUntilDrained()
	if got := one[string](f, `SELECT string_agg(DISTINCT concat(attempts, tries), ' ') FROM events`); got != "10" {
		t.Errorf("attempts and tries %s, want 1 and 0", got)
	}
	f.expectNoMarks()
}

// The events of a marked batch are applied one by one, those that came after it in batches.
func TestSuspectEventsAreRetriedApart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("AB", "E1", "E2", "E3"))
	var last int64
	for i := range f.model.Journeys {
		f.create(i)
		f.send("H", eventOf(fmt.Sprint("E", i+1), "A"))
	}
	last = one[int64](f, `SELECT max(seq) FROM events`)
	f.send("H", eventOf("E1", "B"), eventOf("E3", "B"))
	f.exec(`INSERT INTO suspect_batches (id, encounters, last_seq) VALUES (gen_random_uuid(), '{E1,E2}', $1), (gen_random_uuid(), '{E2}', 1)`, last)
	var b batch
	err := f.InTxOnce(t.Context(), func(q *db.Queries) error {
		err := b.claim(t.Context(), q, claim{window: 10, encounters: 10, events: 10})
		b.setRetriedApart()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(codesOf(b.retried), codesOf(b.events)); got != "[E1A E2A] [E3A E3B]" {
		t.Errorf("alone and in the batch are %s", got)
	}
	f.start()
	f.waitUntilDrained()
	f.compare()
	f.expectNoMarks()
}

func codesOf(events []event) (list []string) {
	for i := range events {
		list = append(list, events[i].EncounterID+events[i].EventCode)
	}
	return list
}
