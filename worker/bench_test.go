package worker

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/tests/dbtest"
)

// BenchmarkDrain measures how fast a backlog is applied with all effects: 20,000 events of 5,000
// journeys with 4 stages, a physician each and a survey at the end. PX360_BENCH_URL names a migrated
// database, which it empties, to use instead of one that does not wait for the disk.
func BenchmarkDrain(b *testing.B) {
	const encounters = 5000
	for name, order := range map[string]string{"together": "p.mrn, code", "spread": "code, p.mrn"} {
		b.Run(name, func(b *testing.B) {
			var events int
			var took time.Duration
			for range b.N {
				f := newFixture(b, simple(""))
				if url := os.Getenv("PX360_BENCH_URL"); url != "" {
					f.use(url)
				}
				f.backlog(encounters, order)
				began := time.Now()
				stop := f.start()
				dbtest.Eventually(b, "nothing is pending", func() bool {
					return one[bool](f, `SELECT NOT EXISTS (SELECT FROM events WHERE status = 'pending')`)
				})
				took += time.Since(began)
				events += one[int](f, `SELECT count(*) FROM events WHERE status = 'processed'`)
				stop()
			}
			b.ReportMetric(float64(events)/took.Seconds(), "events/s")
		})
	}
}

// use has the fixture work on another database, emptied.
func (f *fixture) use(url string) {
	f.Helper()
	database, err := queries.Open(context.Background(), url, queries.DefaultOptions())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(database.Close)
	f.DB, f.workers = database, database
	f.exec(`TRUNCATE events, hospitals, patients CASCADE`)
}

// backlog fills the database with active journeys and their pending events.
func (f *fixture) backlog(encounters int, order string) {
	hospital := f.hospital("BENCH")
	f.exec(`INSERT INTO survey_templates (id, hospital_id, name) VALUES (uuid7(), $1, 'S')`, hospital)
	f.exec(`INSERT INTO journey_templates (id, name, journey_type, hospital_id) VALUES (uuid7(), 'T', 'opd', $1)`, hospital)
	f.exec(`INSERT INTO stage_templates (id, hospital_id, journey_template_id, name, code, "order", trigger_event_code,
			survey_template_id, auto_send_survey, survey_delay_hours)
		SELECT uuid7(), t.hospital_id, t.id, code, code, 1, code, s.id, code = 'D', 2
		FROM journey_templates t, survey_templates s, unnest('{A,B,C,D}'::text[]) code`)
	f.exec(`INSERT INTO physicians (id, first_name, last_name, license_number, specialization, hospital_id)
		SELECT uuid7(), 'F', 'L', 'LIC-' || i, 'S', $1 FROM generate_series(0, 49) i`, hospital)
	f.exec(`INSERT INTO patients (id, mrn, first_name, last_name, primary_hospital_id)
		SELECT uuid7(), i, 'A', 'B', $1 FROM generate_series(1, $2::integer) i`, hospital, encounters)
	f.exec(`INSERT INTO journey_instances (id, journey_template_id, patient_id, encounter_id, hospital_id)
		SELECT uuid7(), t.id, p.id, 'ENC-' || p.mrn, t.hospital_id FROM journey_templates t, patients p`)
	f.exec(`INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order",
			trigger_event_code, survey_template_id, auto_send_survey, survey_delay_hours, requires_physician,
			requires_department, is_optional)
		SELECT uuid7(), j.hospital_id, j.id, t.id, t.name, t.name_ar, t.code, t."order", t.trigger_event_code,
			t.survey_template_id, t.auto_send_survey, t.survey_delay_hours, false, false, false
		FROM journey_instances j JOIN stage_templates t ON t.journey_template_id = j.journey_template_id`)
	f.exec(`ANALYZE`)
	f.exec(`INSERT INTO events (id, source_system, event_code, encounter_id, patient_identifier, payload_json,
			hospital_id, sender_kind, sender_id)
		SELECT uuid7(), 'his', code, 'ENC-' || p.mrn, p.mrn, jsonb_build_object('timestamp', '2025-01-01T10:00:00Z',
			'physician_license', 'LIC-' || p.mrn::integer % 50, 'more', repeat('x', 200)), $1, 'user', uuid7()
		FROM patients p, unnest('{A,B,C,D}'::text[]) code ORDER BY `+order, hospital)
}
