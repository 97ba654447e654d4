package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/px360/px360/schema"
	"github.com/px360/px360/schema/localpg"
)

const (
	worldVersion  = "1" // to be changed with what follows: a world that is kept is made anew
	worldDatabase = "world"
)

// A worldSize is how many rows the large world has: a hospital group's ten years, in 20 hospitals, of which the first has
// a third of all patients and the last 2 %. A journey has four stages.
type worldSize struct{ patients, journeys, events, audit, actions int }

func worldOf(scale float64) worldSize {
	rows := func(n float64) int { return max(1000, int(n*scale)) }
	return worldSize{patients: rows(1e6), journeys: rows(3e5), events: 4 * rows(2.5e6), audit: rows(1e6), actions: rows(1e5)}
}

// openWorld starts the Postgres of the large world and brings its schema up to date. A world that is not there, or of
// another version, is made: this takes minutes.
func openWorld(ctx context.Context, dir string, size worldSize) (*localpg.Postgres, error) {
	quiet := slog.New(slog.DiscardHandler)
	pg, err := localpg.Start(ctx, localpg.Options{Dir: dir, Log: quiet})
	if err != nil {
		return nil, err
	}
	mark, version := filepath.Join(pg.Dir(), "world"), fmt.Sprint(worldVersion, size)
	if made, err := os.ReadFile(mark); err == nil && string(made) == version {
		return pg, schema.Up(ctx, pg.URL(worldDatabase))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, pg.Stop())
	}
	if err := errors.Join(pg.Stop(), localpg.Remove(dir)); err != nil {
		return nil, err
	}
	start := time.Now()
	// Speed for durability, while it is made.
	pg, err = localpg.Start(ctx, localpg.Options{Dir: dir, Log: quiet, Settings: map[string]string{
		"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "16GB", "autovacuum": "off",
		"shared_buffers": "1GB", "maintenance_work_mem": "1GB",
	}})
	if err != nil {
		return nil, err
	}
	if err := makeWorld(ctx, pg, size); err != nil {
		return nil, errors.Join(err, pg.Stop(), localpg.Remove(dir))
	}
	if err := errors.Join(pg.Stop(), os.WriteFile(mark, []byte(version), 0o644)); err != nil {
		return nil, err
	}
	progress("the large world was made in %.0f s", time.Since(start).Seconds())
	return localpg.Start(ctx, localpg.Options{Dir: dir, Log: quiet})
}

// makeWorld inserts the rows, with the indexes of the large tables built afterwards, two steps at a time.
func makeWorld(ctx context.Context, pg *localpg.Postgres, size worldSize) error {
	url, err := pg.EnsureDatabase(ctx, worldDatabase)
	if err != nil {
		return err
	}
	if err := schema.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := execute(ctx, conn, "hospitals", worldFunctions+worldOrganization); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `
		SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
		FROM pg_index i
		WHERE i.indrelid = ANY ('{events, patients, journey_instances, stage_instances, audit_log, surveys, survey_sections, actions}'::regclass[])
		  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
		ORDER BY i.indrelid = 'events'::regclass, i.indexrelid`)
	if err != nil {
		return err
	}
	type index struct{ Drop, Create string }
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		return err
	}
	for _, i := range indexes {
		if err := execute(ctx, conn, i.Drop, i.Drop); err != nil {
			return err
		}
	}
	for _, steps := range [][]string{size.tables(), collect(indexes, func(i index) string { return i.Create })} {
		work, ctx := errgroup.WithContext(ctx)
		work.SetLimit(2)
		for n, sql := range steps {
			work.Go(func() error {
				conn, err := pgx.Connect(ctx, url)
				if err != nil {
					return err
				}
				defer conn.Close(context.Background())
				progress("large world: step %d of %d: %.60s…", n+1, len(steps), sql)
				return execute(ctx, conn, sql, "SET session_replication_role = replica; SET synchronous_commit = off; "+worldFunctions+sql)
			})
		}
		if err := work.Wait(); err != nil {
			return err
		}
	}
	progress("large world: VACUUM ANALYZE")
	return execute(ctx, conn, "VACUUM", "VACUUM ANALYZE")
}

func collect[T any](list []T, f func(T) string) []string {
	texts := make([]string, len(list))
	for i, each := range list {
		texts[i] = f(each)
	}
	return texts
}

// execute runs statements without parameters.
func execute(ctx context.Context, conn *pgx.Conn, name, sql string) error {
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// worldFunctions make every id and number from the number of its row, so that rows refer to others without a join.
const worldFunctions = `
	SET search_path = public, pg_temp;
	CREATE FUNCTION pg_temp.at(n bigint, of bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
		$$ SELECT timestamptz '2016-01-01Z' + n::float8 / of * interval '3650 days' $$;
	CREATE FUNCTION pg_temp.number(kind text, n bigint, below bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
		$$ SELECT abs(hashtextextended(kind, n)) % below $$;
	-- A UUID of version 7 whose time is that of the row.
	CREATE FUNCTION pg_temp.key(kind text, n bigint, of bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
		$$ SELECT (lpad(to_hex((1451606400000 + n::float8 / of * 315360000000)::bigint), 12, '0') || '7'
			|| substr(to_hex(hashtextextended(kind, n) | 1152921504606846976), 1, 3) || '8' || lpad(to_hex(n), 15, '0'))::uuid $$;
	-- The hospital of row n, from 1 to 20: of the first a third, of the last 2 %.
	CREATE FUNCTION pg_temp.place(n bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS
		$$ SELECT 1 + floor(20 * power(pg_temp.number('hospital', n, 1000000) / 1000000.0::float8, 2.7))::integer $$;
	CREATE FUNCTION pg_temp.one(list text[], kind text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
		$$ SELECT list[1 + pg_temp.number(kind, n, cardinality(list))] $$;
`

const worldOrganization = `
	INSERT INTO hospitals (id, name, name_ar, code, city, created_at)
	SELECT pg_temp.key('hospital', n, 20), 'Hospital ' || n, 'مستشفى ' || n, 'H' || n, (ARRAY['Riyadh', 'Jeddah', 'Dammam', 'Abha'])[1 + n % 4], pg_temp.at(0, 1)
	FROM generate_series(1, 20) n;
	INSERT INTO departments (id, hospital_id, name, name_ar, code)
	SELECT pg_temp.key('department', n, 200), pg_temp.key('hospital', 1 + n % 20, 20), 'Department ' || n, 'قسم ' || n, 'D' || n FROM generate_series(0, 199) n;
	INSERT INTO physicians (id, first_name, last_name, license_number, specialization, hospital_id, department_id)
	SELECT pg_temp.key('physician', n, 2000), 'Sami', 'Harbi ' || n, 'PHY-' || n, pg_temp.one('{Cardiology,Oncology,Radiology,Surgery}', 's', n),
		pg_temp.key('hospital', 1 + n % 20, 20), pg_temp.key('department', n % 200, 200)
	FROM generate_series(0, 1999) n;
	INSERT INTO survey_templates (id, hospital_id, name) SELECT pg_temp.key('survey', n, 20), pg_temp.key('hospital', n, 20), 'Survey ' || n FROM generate_series(1, 20) n;
	INSERT INTO survey_versions (survey_template_id, version, questions)
	SELECT id, 1, '[{"id": "0193c5a0-7a00-7000-8000-000000000001", "text": "How was it?", "text_ar": "كيف كان؟", "question_type": "rating", "is_required": true}]' FROM survey_templates;
	INSERT INTO journey_templates (id, name, journey_type, hospital_id)
	SELECT pg_temp.key('template', n, 20), 'Visit ' || n, (ARRAY['opd', 'ems', 'inpatient'])[1 + n % 3], pg_temp.key('hospital', n, 20) FROM generate_series(1, 20) n;
	INSERT INTO stage_templates (id, hospital_id, journey_template_id, name, code, "order", trigger_event_code, survey_template_id, auto_send_survey)
	SELECT pg_temp.key('stage template', n * 4 + s, 84), pg_temp.key('hospital', n, 20), pg_temp.key('template', n, 20), 'Stage ' || s, 'S' || s, s, 'STAGE_' || s, pg_temp.key('survey', n, 20), true
	FROM generate_series(1, 20) n, generate_series(0, 3) s;
	INSERT INTO integration_configs (id, name, source_system, hospital_id, api_key_hash)
	SELECT pg_temp.key('config', n, 20), 'HIS ' || n, 'his', pg_temp.key('hospital', n, 20), sha256(n::text::bytea) FROM generate_series(1, 20) n;
`

// tables are the statements that fill the large tables, the longest first. The last of ten million events are a thousand pending ones; of
// 100,000 others, 2,900 are ignored, 10 failed, and of each reason that is rare there are 14 in all.
func (w worldSize) tables() []string {
	return []string{
		fmt.Sprintf(`
	INSERT INTO events (seq, id, source_system, event_code, encounter_id, patient_identifier, payload_json, source_event_id, hospital_id, sender_kind, sender_id,
		status, reason, error_message, attempts, received_at, processed_at, updated_at, journey_instance_id, stage_instance_id)
	OVERRIDING SYSTEM VALUE
	SELECT n, pg_temp.key('event', n, %[1]d), (ARRAY['his', 'his', 'lab', 'radiology', 'pharmacy'])[1 + n %% 5],
		CASE WHEN n %% 700001 = 5 THEN 'RARE_CODE' ELSE 'STAGE_' || n %% 4 END, 'ENC-' || n / 4, 'MRN-' || patient,
		jsonb_build_object('physician_license', 'PHY-' || n %% 2000, 'department_code', 'D' || n %% 200, 'visit_date', '2025-12-14', 'timestamp', received_at),
		CASE WHEN n %% 2 = 0 THEN 'M-' || n ELSE '' END, pg_temp.key('hospital', hospital, 20), CASE WHEN n %% 5 < 2 THEN 'key' ELSE 'user' END,
		pg_temp.key('config', hospital, 20), status, CASE WHEN n %% 714000 = 7 THEN 'rare' WHEN status IN ('processed', 'pending') THEN '' ELSE 'no_stage' END, '', 1,
		received_at, CASE WHEN status <> 'pending' THEN received_at + interval '1 second' END, received_at,
		CASE WHEN n / 4 < %[2]d THEN pg_temp.key('journey', n / 4, %[2]d) END, CASE WHEN n / 4 < %[2]d THEN pg_temp.key('stage', n, %[2]d * 4) END
	FROM (
		SELECT n, pg_temp.number('patient', n / 4, %[3]d) AS patient, pg_temp.place(pg_temp.number('patient', n / 4, %[3]d)) AS hospital, pg_temp.at(n, %[1]d) AS received_at,
			CASE WHEN n >= %[1]d - 1000 THEN 'pending' WHEN n %% 714000 = 7 OR n %% 10000 = 9 THEN 'failed' WHEN n %% 100000 < 2900 THEN 'ignored' ELSE 'processed' END AS status
		FROM generate_series(0, %[1]d - 1) n
	) e;
	SELECT setval('events_seq_seq', %[1]d)`, w.events, w.journeys, w.patients),
		fmt.Sprintf(`
	INSERT INTO patients (id, mrn, national_id, first_name, last_name, first_name_ar, last_name_ar, date_of_birth, gender, phone, email, city, primary_hospital_id, status, created_at, updated_at)
	SELECT pg_temp.key('patient', n, %[1]d), 'MRN-' || n, CASE WHEN n %% 10 > 0 THEN (1000000000 + n)::text ELSE '' END,
		CASE WHEN n %% 50000 = 7 THEN 'Quetzal' ELSE pg_temp.one('{Mohammed,Ahmad,Ali,Omar,Yusuf,Khalid,Fahad,Sara,Layla,Huda,Noura,Maryam,Aisha,Fatimah,Reem,Salman,Turki,Hassan,Ibrahim,Zaynab}', 'first', n) END,
		pg_temp.one('{Harbi,Otaibi,Qahtani,Ghamdi,Zahrani,Shehri,Dosari,Mutairi,Anazi,Shammari,Juhani,Maliki,Asmari,Omari,Balawi,Rashidi,Subaie,Yami,Bishi,Faifi}', 'last', n) || ' ' || n %% 499,
		CASE WHEN n %% 3 = 0 THEN pg_temp.one('{محمد,أحمد,علي,عمر,يوسف,خالد,فهد,سارة,ليلى,هدى,نورة,مريم,عائشة,فاطمة,ريم}', 'first', n) ELSE '' END,
		CASE WHEN n %% 3 = 0 THEN pg_temp.one('{الحربي,العتيبي,القحطاني,الغامدي,الزهراني,الشهري,الدوسري,المطيري,العنزي,الشمري}', 'last', n) ELSE '' END,
		date '1940-01-01' + pg_temp.number('born', n, 29000)::integer, (ARRAY['male', 'female'])[1 + n %% 2], '+9665' || 10000000 + n, CASE WHEN n %% 4 = 0 THEN 'p' || n || '@example.com' ELSE '' END,
		CASE WHEN n %% 200000 = 11 THEN 'Najran' ELSE pg_temp.one('{Riyadh,Jeddah,Dammam,Abha,Mecca,Medina}', 'city', n) END,
		CASE WHEN n %% 1000 > 0 THEN pg_temp.key('hospital', pg_temp.place(n), 20) END, CASE WHEN n %% 100 = 0 THEN 'inactive' ELSE 'active' END, pg_temp.at(n, %[1]d), pg_temp.at(n, %[1]d)
	FROM generate_series(0, %[1]d - 1) n`, w.patients),
		fmt.Sprintf(`
	INSERT INTO journey_instances (id, journey_template_id, patient_id, encounter_id, hospital_id, department_id, status, started_at, completed_at, created_at, updated_at)
	SELECT pg_temp.key('journey', n, %[1]d), pg_temp.key('template', hospital, 20), pg_temp.key('patient', patient, %[2]d), 'ENC-' || n, pg_temp.key('hospital', hospital, 20),
		pg_temp.key('department', hospital - 1 + n %% 10 * 20, 200), status, at, CASE WHEN status = 'completed' THEN at + interval '3 hours' END, at, at
	FROM (
		SELECT n, pg_temp.number('patient', n, %[2]d) AS patient, pg_temp.place(pg_temp.number('patient', n, %[2]d)) AS hospital, pg_temp.at(n, %[1]d) AS at,
			CASE WHEN n %% 20000 = 3 THEN 'cancelled' WHEN n %% 50 = 0 THEN 'active' ELSE 'completed' END AS status
		FROM generate_series(0, %[1]d - 1) n
	) j`, w.journeys, w.patients),
		fmt.Sprintf(`
	INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order", trigger_event_code, survey_template_id, auto_send_survey,
		survey_delay_hours, requires_physician, requires_department, is_optional, status, completed_at, completed_by_event, physician_id, department_id, created_at, updated_at)
	SELECT pg_temp.key('stage', j * 4 + s, %[1]d * 4), pg_temp.key('hospital', hospital, 20), pg_temp.key('journey', j, %[1]d), pg_temp.key('stage template', hospital * 4 + s, 84),
		'Stage ' || s, '', 'S' || s, s, 'STAGE_' || s, pg_temp.key('survey', hospital, 20), true, 2, false, false, false, status, CASE WHEN status = 'completed' THEN at END,
		CASE WHEN status = 'completed' THEN pg_temp.key('event', j * 4 + s, %[2]d) END, pg_temp.key('physician', hospital - 1 + j %% 100 * 20, 2000), pg_temp.key('department', hospital - 1 + j %% 10 * 20, 200), at, at
	FROM (
		SELECT j, s, pg_temp.place(pg_temp.number('patient', j, %[3]d)) AS hospital, pg_temp.at(j * 4 + s, %[1]d * 4) AS at,
			CASE WHEN j %% 20000 = 3 THEN 'skipped' WHEN j %% 50 = 0 AND s > 1 THEN 'pending' ELSE 'completed' END AS status
		FROM generate_series(0, %[1]d - 1) j, generate_series(0, 3) s
	) e`, w.journeys, w.events, w.patients),
		fmt.Sprintf(`
	INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at, sent_at, asked_at, created_at, status, completed_at, expires_at, total_score, is_negative, updated_at)
	SELECT pg_temp.key('instance', j, %[1]d), pg_temp.key('hospital', hospital, 20), pg_temp.key('survey', hospital, 20), pg_temp.key('journey', j, %[1]d), pg_temp.key('stage', j * 4, %[1]d * 4),
		at, at, at, at, CASE WHEN answered THEN 'completed' ELSE 'expired' END, CASE WHEN answered THEN at END, at + interval '14 days', CASE WHEN answered THEN 1 + j %% 5 END, CASE WHEN answered THEN j %% 5 < 2 END, at
	FROM (
		SELECT j, pg_temp.place(pg_temp.number('patient', j, %[2]d)) AS hospital, pg_temp.at(j, %[1]d) AS at, j %% 3 = 0 AS answered FROM generate_series(0, %[1]d - 1) j
	) v;
	INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type, department_id, physician_id, stage_template_id, stage_instance_id, sent_at, sent_on, completed)
	SELECT pg_temp.key('instance', j, %[1]d), 1, pg_temp.key('survey', hospital, 20), 1, pg_temp.key('hospital', hospital, 20), 'opd', pg_temp.key('department', hospital - 1 + j %% 10 * 20, 200),
		pg_temp.key('physician', hospital - 1 + j %% 100 * 20, 2000), pg_temp.key('stage template', hospital * 4, 84), pg_temp.key('stage', j * 4, %[1]d * 4), at, at::date, j %% 3 = 0
	FROM (SELECT j, pg_temp.place(pg_temp.number('patient', j, %[2]d)) AS hospital, pg_temp.at(j, %[1]d) AS at FROM generate_series(0, %[1]d - 1) j) v`, w.journeys, w.patients),
		fmt.Sprintf(`
	INSERT INTO audit_log (at, actor_kind, actor_id, actor_name, hospital_id, operation, object_type, object_id, changed_fields)
	SELECT pg_temp.at(n, %[1]d), 'user', pg_temp.key('user', pg_temp.number('actor', n, 500), 500), 'user ' || pg_temp.number('actor', n, 500), pg_temp.key('hospital', pg_temp.place(n), 20),
		pg_temp.one('{updatePatient,updatePatient,createJourneyInstance,updateStageInstance,createPatient}', 'operation', n), 'patient', pg_temp.key('patient', pg_temp.number('object', n, %[2]d), %[2]d), '{phone}'
	FROM generate_series(0, %[1]d - 1) n`, w.audit, w.patients),
		fmt.Sprintf(`
	INSERT INTO actions (id, hospital_id, department_id, journey_instance_id, stage_instance_id, survey_id, patient_id, source_type, title, description, priority, status, sla, due_at, created_at, updated_at)
	SELECT pg_temp.key('action', n, %[1]d), pg_temp.key('hospital', hospital, 20), pg_temp.key('department', hospital - 1 + n %% 10 * 20, 200), pg_temp.key('journey', n * 3, %[2]d), pg_temp.key('stage', n * 12, %[2]d * 4),
		pg_temp.key('instance', n * 3, %[2]d), pg_temp.key('patient', pg_temp.number('patient', n * 3, %[3]d), %[3]d), 'survey', 'Low score of visit ' || n, 'Call the patient back',
		pg_temp.one('{low,medium,medium,high,urgent}', 'priority', n), CASE WHEN n %% 100 = 0 THEN 'open' ELSE 'closed' END,
		(SELECT action_sla -> 'medium' FROM hospitals LIMIT 1), at + interval '1 day', at, at
	FROM (SELECT n, pg_temp.place(pg_temp.number('patient', n * 3, %[3]d)) AS hospital, pg_temp.at(n, %[1]d) AS at FROM generate_series(0, %[1]d - 1) n) a`, w.actions, w.journeys, w.patients),
	}
}

func defaultWorld() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "px360-bench")
}
