package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/schema"
	"github.com/px360/px360/tests/fixtures"
)

// A measurement is a line of the table: an operation of the program, and comparable plain SQL.
type measurement struct {
	name     string
	product  func(*bench) (float64, error)
	bareName string
	bare     func(*bench) (float64, error)
}

const bulk = 1000 // events in one request, rows in one bare statement

func (b *bench) measurements() []measurement {
	list := []measurement{
		{"users/me", get(func(*api, int) string { return "/api/auth/users/me/" }), "row by primary key", bareKey},
		{"patients, page of 50", get(func(a *api, _ int) string {
			return "/api/organizations/patients/?page_size=50&primary_hospital=" + a.hospital
		}), "50 rows and their count", barePage},
		{"patients, search", get(func(*api, int) string { return "/api/organizations/patients/?search=ali1%20moham" }), "the same LIKE and its count", bareSearch},
		{"journey progress", get(func(a *api, i int) string {
			return "/api/journeys/instances/" + a.journeys[i%len(a.journeys)] + "/progress/"
		}), "a journey's stages by index", bareProgress},
		{"one event, accepted", postEvent, "insert of one row", bareInsert},
		{"bulk of 1,000, events accepted", postBulk, "insert of 1,000 rows, rows", bareBulk},
		{"events applied, all effects", drain, "claim and finish without effects, rows", bareDrain},
	}
	if b.river {
		list = append(list, measurement{name: "River, no-op jobs", bareName: "the queue library, for comparison", bare: riverJobs})
	}
	return list
}

func get(path func(a *api, i int) string) func(*bench) (float64, error) {
	return func(b *bench) (float64, error) {
		return b.rate(func(connection, call int) error {
			return b.api.call("GET", path(b.api, connection*7919+call), nil, nil)
		})
	}
}

// postEvent sends events that trigger no stage, so that processing them costs little.
func postEvent(b *bench) (float64, error) {
	event := b.api.event(0, 0)
	event["event_code"] = "NO_STAGE"
	text, err := json.Marshal(event)
	if err != nil {
		return 0, err
	}
	rate, err := b.rate(func(int, int) error { return b.api.call("POST", "/api/integrations/events/", text, nil) })
	if err != nil {
		return 0, err
	}
	return rate, b.waitForWorker()
}

func postBulk(b *bench) (float64, error) {
	events := make([]object, bulk)
	for i := range events {
		events[i] = b.api.event(i%len(b.api.journeys), 0)
		events[i]["event_code"] = "NO_STAGE"
	}
	text, err := json.Marshal(object{"events": events})
	if err != nil {
		return 0, err
	}
	rate, err := b.rate(func(int, int) error { return b.api.call("POST", "/api/integrations/events/bulk_create/", text, nil) })
	if err != nil {
		return 0, err
	}
	return rate * bulk, b.waitForWorker()
}

// waitForWorker waits until no event is pending.
func (b *bench) waitForWorker() error {
	for {
		var waiting bool
		if err := b.product.QueryRow(b.ctx, "SELECT EXISTS (SELECT FROM events WHERE status = 'pending')").Scan(&waiting); err != nil || !waiting {
			return err
		}
		if err := pause(b.ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// drain resets all journeys, inserts four events for each at once, and measures until the last is
// applied, with stages, journeys and surveys.
func drain(b *bench) (float64, error) {
	if err := b.fillQueue(); err != nil {
		return 0, err
	}
	return b.emptyQueue()
}

func (b *bench) fillQueue() error {
	for _, statement := range []string{
		"TRUNCATE surveys CASCADE",
		"UPDATE stage_instances SET status = 'pending', completed_at = NULL, completed_by_event = NULL",
		"UPDATE journey_instances SET status = 'active', completed_at = NULL",
		"DELETE FROM events",
		"VACUUM ANALYZE events, stage_instances, journey_instances",
	} {
		if _, err := b.product.Exec(b.ctx, statement); err != nil {
			return err
		}
	}
	// One statement, so that the whole queue is visible at once.
	_, err := b.product.Exec(b.ctx, `
		INSERT INTO events (id, source_system, event_code, encounter_id, patient_identifier, payload_json, sender_kind, sender_id)
		SELECT uuid7(), 'his', c.code, j.encounter_id, p.mrn,
		       '{"physician_license": "PHY", "department_code": "OPD", "visit_date": "2025-12-14", "timestamp": "2025-12-14T10:45:00Z"}', 'user', uuid7()
		FROM unnest($1::text[]) WITH ORDINALITY c (code, n), journey_instances j JOIN patients p ON p.id = j.patient_id
		ORDER BY c.n, j.id`, codes)
	return err
}

func (b *bench) emptyQueue() (float64, error) {
	total := len(codes) * len(b.api.journeys)
	start := time.Now()
	if _, err := b.product.Exec(b.ctx, "NOTIFY px360_events"); err != nil {
		return 0, err
	}
	if err := b.waitForWorker(); err != nil {
		return 0, err
	}
	rate := float64(total) / time.Since(start).Seconds()
	var complete int
	if err := b.product.QueryRow(b.ctx, "SELECT count(*) FROM journey_instances WHERE status = 'completed'").Scan(&complete); err != nil {
		return 0, err
	}
	if complete != len(b.api.journeys) {
		return 0, fmt.Errorf("%d of %d journeys were completed", complete, len(b.api.journeys))
	}
	return rate, nil
}

// prepareBare creates a second database of the same schema, for the plain SQL.
func (b *bench) prepareBare() error {
	url, err := b.pg.EnsureDatabase(b.ctx, "bare")
	if err != nil {
		return err
	}
	if err := schema.Up(b.ctx, url); err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err
	}
	config.MaxConns = int32(b.connections)
	if b.bare, err = pgxpool.NewWithConfig(b.ctx, config); err != nil {
		return err
	}
	var failed firstError
	h := fixtures.NewHospital(&failed, b.bare)
	for _, id := range h.Journeys(h.Template(nil, nil, nil, nil), 2000) {
		b.bareJourneys = append(b.bareJourneys, id.String())
	}
	if failed.error != nil {
		return failed.error
	}
	_, err = b.bare.Exec(b.ctx, "ANALYZE")
	return err
}

func (b *bench) bareRows(sql string, args func(i int) []any) (float64, error) {
	return b.rate(func(connection, call int) error {
		rows, err := b.bare.Query(b.ctx, sql, args(connection*7919+call)...)
		if err != nil {
			return err
		}
		_, err = pgx.CollectRows(rows, pgx.RowToMap)
		return err
	})
}

func bareKey(b *bench) (float64, error) {
	return b.bareRows("SELECT * FROM journey_instances WHERE id = $1", func(i int) []any { return []any{b.bareJourneys[i%len(b.bareJourneys)]} })
}

func barePage(b *bench) (float64, error) {
	return b.bareRows("SELECT *, (SELECT count(*) FROM patients) FROM patients ORDER BY last_name, first_name, id LIMIT 50", func(int) []any { return nil })
}

func bareSearch(b *bench) (float64, error) {
	return b.bareRows(`SELECT *, (SELECT count(*) FROM patients WHERE search LIKE $1 AND search LIKE $2) FROM patients
		WHERE search LIKE $1 AND search LIKE $2 ORDER BY last_name, first_name, id LIMIT 20`,
		func(int) []any { return []any{"%ali1%", "%moham%"} })
}

func bareProgress(b *bench) (float64, error) {
	return b.bareRows("SELECT * FROM stage_instances WHERE journey_instance_id = $1", func(i int) []any { return []any{b.bareJourneys[i%len(b.bareJourneys)]} })
}

const (
	payload = `{"physician_license": "PHY", "department_code": "OPD", "visit_date": "2025-12-14", "visit_time": "10:30:00", "timestamp": "2025-12-14T10:45:00Z"}`
	columns = "INSERT INTO events (id, source_system, event_code, encounter_id, patient_identifier, payload_json, sender_kind, sender_id) "
)

func bareInsert(b *bench) (float64, error) {
	return b.rate(func(_, call int) error {
		_, err := b.bare.Exec(b.ctx, columns+"VALUES (uuid7(), 'his', 'NO_STAGE', $1, 'MRN-1', $2, 'user', uuid7())", fmt.Sprint("ENC-", call), payload)
		return err
	})
}

func bareBulk(b *bench) (float64, error) {
	encounters := make([]string, bulk)
	payloads := make([]string, bulk)
	for i := range encounters {
		encounters[i], payloads[i] = fmt.Sprint("ENC-", i), payload
	}
	rate, err := b.rate(func(int, int) error {
		_, err := b.bare.Exec(b.ctx, columns+"SELECT uuid7(), 'his', 'NO_STAGE', unnest($1::text[]), 'MRN-1', unnest($2::text[])::jsonb, 'user', uuid7()", encounters, payloads)
		return err
	})
	return rate * bulk, err
}

// bareDrain claims events with SKIP LOCKED and stores an outcome without effects, one transaction
// per batch: a minimal queue in the same table.
func bareDrain(b *bench) (float64, error) {
	total := len(codes) * len(b.api.journeys)
	for _, statement := range []string{
		"TRUNCATE events",
		columns + fmt.Sprintf("SELECT uuid7(), 'his', 'X', 'ENC-' || i, 'MRN-1', '%s', 'user', uuid7() FROM generate_series(1, %d) i", payload, total),
		"VACUUM ANALYZE events",
	} {
		if _, err := b.bare.Exec(b.ctx, statement); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err := each(b.ctx, 2, 2, func(int) error {
		for {
			tag, err := b.bare.Exec(b.ctx, `
				UPDATE events SET status = 'ignored', processed_at = now()
				WHERE seq IN (SELECT seq FROM events WHERE status = 'pending' ORDER BY seq LIMIT 1000 FOR UPDATE SKIP LOCKED)`)
			if err != nil || tag.RowsAffected() == 0 {
				return err
			}
		}
	})
	return float64(total) / time.Since(start).Seconds(), err
}
