package worker

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/tests/dbtest"
)

// BenchmarkDrain measures how fast a backlog is applied with all effects: 20,000 events of 5,000
// journeys with 4 stages, a physician each and a survey at the end. PX360_BENCH_URL names a migrated
// database, which it empties, to use instead of one that does not wait for the disk.
func BenchmarkDrain(b *testing.B) {
	const encounters = 5000
	for name, order := range map[string]string{"together": "i, code", "spread": "code, i"} {
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
	h := f.hospital("BENCH")
	survey, template := h.Survey(), h.Template()
	for i, code := range []string{"A", "B", "C", "D"} {
		h.Stage(template, i+1, func(s *db.StageTemplateInsertParams) {
			s.Code, s.TriggerEventCode, s.SurveyTemplate, s.AutoSendSurvey, s.SurveyDelayHours = code, code, &survey, code == "D", 2
		})
	}
	for i := range 50 {
		h.Physician(fmt.Sprint("LIC-", i))
	}
	h.Journeys(template, encounters)
	f.exec(`ANALYZE`)
	f.exec(`INSERT INTO events (id, source_system, event_code, encounter_id, patient_identifier, payload_json,
			hospital_id, sender_kind, sender_id)
		SELECT uuid7(), 'his', code, 'ENC-' || i, 'MRN-' || i, jsonb_build_object('timestamp', '2025-01-01T10:00:00Z',
			'physician_license', 'LIC-' || i % 50, 'more', repeat('x', 200)), $1, 'user', uuid7()
		FROM generate_series(1, $2::integer) i, unnest('{A,B,C,D}'::text[]) code ORDER BY `+order, h.ID, encounters)
}
