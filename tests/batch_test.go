package tests

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/tests/dbtest"
)

// sendBatched sends requests concurrently while the events table is locked, so that the server batches
// their inserts. They are sent without the client, whose Idempotency-Key would keep each insert out of the batch.
func (s *system) sendBatched(requests ...func() answer) []answer {
	s.t.Helper()
	ctx := context.Background()
	tx, err := s.db.Begin(ctx)
	must(s.t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	_, err = tx.Exec(ctx, "LOCK TABLE events IN SHARE MODE")
	must(s.t, err)
	before := s.db.Stat().AcquireCount()
	var group sync.WaitGroup
	answers := make([]answer, len(requests))
	for i, request := range requests {
		group.Go(func() { answers[i] = request() })
	}
	// Every request has acquired a connection to authenticate, and at least one insert waits for
	// the lock.
	dbtest.Eventually(s.t, "all requests are authenticated and an insert waits", func() bool {
		return s.db.Stat().AcquireCount()-before > int64(len(requests)) &&
			value[int](s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	})
	must(s.t, tx.Rollback(ctx))
	group.Wait()
	return answers
}

// Batched inserts keep the sender of each event.
func TestBatchedInserts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.clinic(), s.clinic()
	_, key := s.plainKey("his")
	var requests []func() answer
	for i := range 60 {
		event := fields{"source_system": "his", "event_code": "E", "encounter_id": fmt.Sprint(i), "payload_json": fields{"i": i}}
		requests = append(requests, []func() answer{
			func() answer { return s.send("POST", oneEventPath, a.admin.access, event) },
			func() answer { return s.send("POST", oneEventPath, b.admin.access, event) },
			func() answer { return s.send("POST", oneEventPath, "", event, "X-API-Key", key) },
		}[i%3])
	}
	senders := []string{a.admin.id.String(), b.admin.id.String(), value[string](s, "SELECT id::text FROM integration_configs")}
	hospitals := []string{a.hospital.String(), b.hospital.String(), ""}
	for i, created := range s.sendBatched(requests...) {
		if created.status != http.StatusCreated {
			t.Fatalf("event %d: %d %s", i, created.status, created.body)
		}
		stored := value[string](s, `SELECT concat_ws(' ', sender_kind, sender_id, hospital_id, encounter_id, payload_json->>'i', client_ip, request_id)
			FROM events WHERE id = $1`, created.json()["id"])
		hospital := hospitals[i%3]
		if hospital != "" {
			hospital += " "
		}
		want := fmt.Sprintf("%s %s %s%d %d 127.0.0.1 %s", []string{"user", "user", "key"}[i%3], senders[i%3], hospital, i, i, created.header.Get("X-Request-ID"))
		if stored != want || created.json()["encounter_id"] != fmt.Sprint(i) {
			t.Errorf("event %d is stored as %s, want %s, and answered with %s", i, stored, want, created.body)
		}
	}
	if got := value[int](s, "SELECT count(*) FROM events"); got != 60 {
		t.Errorf("%d events are stored, want 60", got)
	}
	if statements := value[int](s, "SELECT count(DISTINCT xmin::text) FROM events"); statements > 20 {
		t.Errorf("60 events took %d statements: they were not batched", statements)
	}
}

// An event that fails to insert does not affect the others of its batch.
func TestBatchWithAFailingInsert(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = '22003'; END $$`)
	s.exec(`CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.event_code = 'BAD') EXECUTE FUNCTION refuse()`)
	token := s.token(adminName, adminPassword)
	var requests []func() answer
	for i := range 30 {
		event := fields{"source_system": "his", "event_code": "E", "encounter_id": fmt.Sprint(i)}
		if i == 17 {
			event["event_code"] = "BAD"
		}
		requests = append(requests, func() answer { return s.send("POST", oneEventPath, token, event) })
	}
	for i, a := range s.sendBatched(requests...) {
		if want := map[bool]int{true: http.StatusBadRequest, false: http.StatusCreated}[i == 17]; a.status != want {
			t.Errorf("event %d: %d %s, want %d", i, a.status, a.body, want)
		}
	}
	if got := value[int](s, "SELECT count(*) FROM events"); got != 29 {
		t.Errorf("%d events are stored, want 29", got)
	}
}

// A source event id that is sent concurrently is stored once, and every duplicate gets the id of
// the stored event.
func TestBatchWithDuplicates(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.token(adminName, adminPassword)
	event := fields{"source_system": "his", "event_code": "E", "encounter_id": "1", "source_event_id": "M-1"}
	other := fields{"source_system": "his", "event_code": "E", "encounter_id": "2", "source_event_id": "M-1"}
	var requests []func() answer
	for i := range 20 {
		body := event
		if i%5 == 4 {
			body = other
		}
		requests = append(requests, func() answer { return s.send("POST", oneEventPath, token, body) })
	}
	answers, ids := map[int]int{}, map[any]bool{}
	for _, a := range s.sendBatched(requests...) {
		answers[a.status]++
		if a.status < 300 {
			ids[a.json()["id"]] = true
		}
	}
	stored := value[uuid.UUID](s, "SELECT id FROM events")
	if answers[201] != 1 || answers[409] < 4 || answers[200]+answers[409] != 19 || len(ids) != 1 || !ids[stored.String()] {
		t.Errorf("answered %v with the ids %v, stored is %v", answers, ids, stored)
	}
}

// Inserts that wait for another transaction do not block other inserts.
func TestBlockedInsertsDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.clinic(), s.clinic()
	ctx := context.Background()
	tx, err := s.db.Begin(ctx)
	must(t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	var blocked []func() answer
	for i := range 8 {
		event := fields{"source_system": "his", "event_code": "E", "encounter_id": "1", "source_event_id": fmt.Sprint(i)}
		_, err := tx.Exec(ctx, `INSERT INTO events (id, source_system, event_code, encounter_id, source_event_id, hospital_id, sender_kind, sender_id)
			VALUES (uuid7(), 'his', 'E', '1', $1, $2, 'user', $3)`, fmt.Sprint(i), a.hospital, a.admin.id)
		must(t, err)
		blocked = append(blocked, func() answer { return s.send("POST", oneEventPath, a.admin.access, event) })
	}
	var group sync.WaitGroup
	answers := make([]answer, len(blocked))
	for i, send := range blocked {
		group.Go(func() { answers[i] = send() })
	}
	dbtest.Eventually(t, "the inserts of the first hospital wait", func() bool {
		return value[int](s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == len(blocked)
	})
	for range 20 {
		s.expect(t, http.StatusCreated, "POST", oneEventPath, b.admin.access, sourceEvent("his"))
	}
	must(t, tx.Rollback(ctx))
	group.Wait()
	for i, got := range answers {
		if got.status != http.StatusCreated {
			t.Errorf("event %d: %d %s", i, got.status, got.body)
		}
	}
}

// Two bulks with the same events in opposite orders do not deadlock: both insert them in one order.
func TestBulksInOppositeOrders(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.token(adminName, adminPassword)
	const n = 400
	list := make([]any, n)
	for i := range list {
		list[i] = fields{"source_system": "his", "event_code": "E", "encounter_id": "1", "source_event_id": fmt.Sprint(i)}
	}
	reversed := slices.Clone(list)
	slices.Reverse(reversed)
	answers := s.sendBatched(
		func() answer { return s.send("POST", manyEventsPath, token, fields{"events": list}) },
		func() answer { return s.send("POST", manyEventsPath, token, fields{"events": reversed}) },
	)
	created, duplicates := 0.0, 0.0
	for _, a := range answers {
		if a.status != http.StatusOK && a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		created, duplicates = created+a.json()["created"].(float64), duplicates+a.json()["duplicates"].(float64)
	}
	if created != n || duplicates != n {
		t.Errorf("%v created, %v duplicates, want %d of each", created, duplicates, n)
	}
	if deadlocks := s.deadlocks(); deadlocks != 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
}
