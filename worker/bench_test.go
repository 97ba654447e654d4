package worker

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/px360/px360/queries"
)

// BenchmarkDrain measures how fast a backlog is applied with all effects: 20,000 events of 5,000
// journeys with 4 stages and a survey each. PX360_BENCH_URL names an empty migrated database to use
// instead of a throw-away one, which does not wait for the disk.
func BenchmarkDrain(b *testing.B) {
	for _, order := range []string{"together", "spread"} {
		b.Run(order, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				f := newFixture(b, simple("ABCD"))
				if url := os.Getenv("PX360_BENCH_URL"); url != "" {
					database, err := queries.Open(context.Background(), url, queries.Options{})
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(database.Close)
					f.DB, f.workers = database, database
					f.exec(`TRUNCATE events, hospitals, patients CASCADE`)
				}
				const encounters = 5000
				backlog(f, encounters, order)
				b.StartTimer()
				began := time.Now()
				conc, _ := strconv.Atoi(os.Getenv("CONC"))
				batch, _ := strconv.Atoi(os.Getenv("BATCH"))
				stop := f.start(Options{Concurrency: conc, Batch: batch})
				for one[bool](f, `SELECT EXISTS (SELECT FROM events WHERE status = 'pending')`) {
					time.Sleep(5 * time.Millisecond)
				}
				took := time.Since(began)
				stop()
				if n := one[int](f, `SELECT count(*) FROM surveys`); n != encounters {
					b.Fatal(n, "surveys")
				}
				b.ReportMetric(4*encounters/took.Seconds(), "events/s")
			}
		})
	}
}

// backlog fills the database with active journeys and their pending events.
func backlog(f *fixture, encounters int, order string) {
	hospital := f.hospital("BENCH")
	f.exec(`INSERT INTO survey_templates (id, hospital_id, name) VALUES (uuid7(), $1, 'S')`, hospital)
	f.exec(`INSERT INTO journey_templates (id, name, journey_type, hospital_id) VALUES (uuid7(), 'T', 'opd', $1)`, hospital)
	f.exec(`INSERT INTO stage_templates (id, hospital_id, journey_template_id, name, code, "order", trigger_event_code,
			survey_template_id, auto_send_survey, survey_delay_hours)
		SELECT uuid7(), t.hospital_id, t.id, c, c, 1, c, s.id, c = 'D', 2
		FROM journey_templates t, survey_templates s, unnest('{A,B,C,D}'::text[]) c`)
	f.exec(`INSERT INTO physicians (id, first_name, last_name, license_number, specialization, hospital_id)
		SELECT uuid7(), 'F', 'L', 'LIC-' || i, 'S', $1 FROM generate_series(1, 50) i`, hospital)
	f.exec(`INSERT INTO patients (id, mrn, first_name, last_name, primary_hospital_id)
		SELECT uuid7(), 'M' || i, 'A', 'B', $1 FROM generate_series(1, $2) i`, hospital, encounters)
	f.exec(`INSERT INTO journey_instances (id, journey_template_id, patient_id, encounter_id, hospital_id)
		SELECT uuid7(), t.id, p.id, 'ENC-' || p.mrn, t.hospital_id FROM journey_templates t, patients p`)
	f.exec(`INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order",
			trigger_event_code, survey_template_id, auto_send_survey, survey_delay_hours, requires_physician,
			requires_department, is_optional)
		SELECT uuid7(), j.hospital_id, j.id, t.id, t.name, t.name_ar, t.code, t."order", t.trigger_event_code,
			t.survey_template_id, t.auto_send_survey, t.survey_delay_hours, false, false, false
		FROM journey_instances j JOIN stage_templates t ON t.journey_template_id = j.journey_template_id`)
	f.exec(`ANALYZE`)
	if sql := os.Getenv("PREP"); sql != "" {
		f.exec(`ALTER TABLE events SET (autovacuum_enabled = off)`)
		for _, part := range strings.Split(sql, ";") {
			f.exec(part)
		}
	}
	sequence := map[string]string{"together": "p.mrn, c", "spread": "c, p.mrn"}[order]
	f.exec(fmt.Sprintf(`INSERT INTO events (id, source_system, event_code, encounter_id, patient_identifier, payload_json,
			hospital_id, sender_kind, sender_id)
		SELECT uuid7(), 'his', c, 'ENC-' || p.mrn, p.mrn, jsonb_build_object('timestamp', '2025-01-01T10:00:00Z',
			'physician_license', 'LIC-' || (1 + mod(p.i, 50)), 'more', repeat('x', 200)), $1, 'user', uuid7()
		FROM (SELECT mrn, row_number() OVER () AS i FROM patients) p, unnest('{A,B,C,D}'::text[]) c ORDER BY %s`, sequence), hospital)
}
