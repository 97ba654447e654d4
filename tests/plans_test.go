package tests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/worker/surveys"
)

// Planning takes longer than reading a row by its primary key. Postgres keeps a generic plan only if its
// estimated cost is not above that of custom plans, so a small change of a query can make it plan at
// each call.
func TestGenericPlans(t *testing.T) {
	t.Parallel()
	c := startServer(t, withLimits(limits.Limits{User: perHour(10_000), Events: perHour(10_000)})).clinic()
	template := c.Template(nil)
	visit := c.journey(template, "ENC-1")
	config, key := c.plainKey("his")
	paths := map[string]uuid.UUID{
		"auth/users": c.admin.id, "auth/roles": c.role("Nurse"),
		"organizations/hospitals": c.hospital, "organizations/departments": c.Department("LAB"),
		"organizations/physicians": c.Physician("PHY"), "organizations/patients": c.Patient("MRN-2"),
		"journeys/templates": template, "journeys/instances": visit.id, "journeys/stage-instances": visit.stages()[0].ID,
		"surveys/templates": c.Survey(), "integrations/configs": config,
	}
	for range 30 {
		for _, token := range []string{c.px.access, c.admin.access} {
			c.whoami(token).ok(t)
			try(c.as(token).RetrieveJourneyProgress(t.Context(), visit.id)).ok(t)
			c.expect(t, 201, "POST", oneEventPath, token, sourceEvent("his"))
		}
		c.expect(t, 201, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key)
		for path, id := range paths {
			c.expect(t, 200, "GET", "/api/"+path+"/"+id.String()+"/", c.px.access, nil)
		}
	}
	kept := 0
	for _, conn := range c.db.AcquireAllIdle(context.Background()) {
		rows, err := conn.Query(context.Background(), "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements WHERE generic_plans + custom_plans > 8")
		must(t, err)
		for rows.Next() {
			var statement string
			var generic, custom int
			must(t, rows.Scan(&statement, &generic, &custom))
			if custom > 6 { // Postgres makes five custom plans first
				name, _, _ := strings.Cut(statement, "\n")
				t.Errorf("%s: %d custom plans, %d uses of a generic plan", name, custom, generic)
			}
			kept++
		}
		must(t, rows.Err())
		conn.Release()
	}
	if kept < 15 {
		t.Errorf("only %d statements were used more than 8 times", kept)
	}
}

// A selective search must not be a full scan. The statements that the server sends are explained with
// their arguments.
func TestSearchOfManyPatientsUsesTheTrigramIndex(t *testing.T) {
	t.Parallel()
	ctx, s := context.Background(), startServer(t)
	conn, err := pgx.Connect(ctx, s.dbURL) // without a statement_timeout
	must(t, err)
	defer conn.Close(ctx)
	index := value[string](s, "SELECT pg_get_indexdef('patients_search_idx'::regclass)")
	for _, sql := range []string{
		"DROP INDEX patients_search_idx", // building it after the inserts is faster
		`INSERT INTO patients (id, mrn, first_name, last_name)
		SELECT gen_random_uuid(), 'MRN-' || i, (ARRAY['Ahmad', 'Sara', 'Omar', 'Layla', 'Yusuf', 'Huda'])[1 + i % 6], 'Family-' || i % 997
		FROM generate_series(1, 100000) i`,
		"UPDATE patients SET first_name = 'Quetzalcoatl' WHERE mrn = 'MRN-4711'",
		index,
		"ANALYZE patients",
	} {
		_, err = conn.Exec(ctx, sql)
		must(t, err)
	}
	t.Cleanup(func() { s.exec("TRUNCATE patients CASCADE") }) // faster than DELETE
	statements := &statementRecorder{}
	handler, token := statements.server(s), s.token(adminName, adminPassword)
	for _, query := range []string{"?search=quetzalcoatl", "?search=mrn,quetzalcoatl", "?search=QUETZALCOATL&ordering=-mrn"} {
		statements.take() // discard earlier statements
		request := httptest.NewRequest("GET", organizations+"patients/"+query, nil)
		request.Header.Set("Authorization", "Bearer "+token)
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code != 200 || !strings.HasPrefix(response.Body.String(), `{"count":1,`) {
			t.Fatalf("%s: %d %s", query, response.Code, response.Body)
		}
		explained := 0
		for _, statement := range statements.take() {
			if !strings.Contains(statement.SQL, "FROM patients") {
				continue
			}
			rows, err := conn.Query(ctx, "EXPLAIN "+statement.SQL, statement.Args...)
			must(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			must(t, err)
			if plan := strings.Join(lines, "\n"); !strings.Contains(plan, "patients_search_idx") || strings.Contains(plan, "Seq Scan on patients") {
				t.Errorf("%s: %s\n%s", query, statement.SQL, plan)
			}
			explained++
		}
		if explained != 1 {
			t.Errorf("%s: %d statements about patients, want the list", query, explained)
		}
	}
}

// Every ordering of patients and every filter of a large list has an index, which also tells equal rows apart. The statements
// that the server sends are explained with their arguments, as the connections for lists plan them.
func TestListsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	ctx, s := context.Background(), startServer(t)
	conn, err := pgx.Connect(ctx, s.dbURL+"&plan_cache_mode=force_custom_plan&constraint_exclusion=on")
	must(t, err)
	defer conn.Close(ctx)
	for _, sql := range []string{
		`INSERT INTO hospitals (id, name, code) SELECT uuid7(), 'H' || i, 'H' || i FROM generate_series(1, 20) i`,
		`INSERT INTO patients (id, mrn, first_name, last_name, city, gender, status, date_of_birth, primary_hospital_id, created_at, updated_at)
			SELECT uuid7(), 'MRN-' || i, 'First ' || i % 40, 'Last ' || i % 997, CASE i % 20000 WHEN 7 THEN 'Najran' ELSE 'Riyadh' END, (ARRAY['male', 'female'])[1 + i % 2], 'active',
				date '1940-01-01' + i % 20000, (SELECT id FROM hospitals WHERE code = 'H' || 1 + i % 20), now() - i * interval '1 minute', now() - i * interval '1 minute'
			FROM generate_series(1, 60000) i`,
		`INSERT INTO events (id, source_system, event_code, encounter_id, sender_kind, sender_id, status, reason, received_at, processed_at)
			SELECT uuid7(), 'his', CASE i % 50000 WHEN 7 THEN 'RARE' ELSE 'COMMON' END, 'ENC-' || i / 4, 'user', uuid7(), CASE i % 100 WHEN 7 THEN 'ignored' ELSE 'processed' END,
				CASE i % 20000 WHEN 7 THEN 'rare' WHEN 107 THEN 'other' ELSE '' END, now() - i * interval '1 minute', now()
			FROM generate_series(1, 100000) i`,
		`INSERT INTO audit_log (at, actor_kind, actor_id, hospital_id, operation, object_type, object_id)
			SELECT now() - i * interval '1 minute', 'user', (SELECT id FROM hospitals WHERE code = 'H' || 1 + i % 20), (SELECT id FROM hospitals WHERE code = 'H' || 1 + i % 20),
				CASE i % 30000 WHEN 7 THEN 'rareOne' ELSE 'updatePatient' END, 'patient', uuid7()
			FROM generate_series(1, 60000) i`,
		"VACUUM ANALYZE patients, events, audit_log",
	} {
		_, err = conn.Exec(ctx, sql)
		must(t, err)
	}
	t.Cleanup(func() { s.exec("TRUNCATE patients, hospitals, events, audit_log CASCADE") }) // faster than DELETE
	statements := &statementRecorder{}
	handler, token := statements.server(s), s.token(adminName, adminPassword)
	patients, events, audit := organizations+"patients/", "/api/integrations/events/", "/api/audit/"
	hospital := value[string](s, "SELECT id::text FROM hospitals WHERE code = 'H7'")
	for query, index := range map[string]string{
		patients:               "patients_by_full_name_idx",
		patients + "?page=500": "Index Only Scan using patients_by_full_name_idx",
		patients + "?cursor=":  "patients_by_full_name_idx",
		patients + "?primary_hospital=" + hospital:       "patients_by_hospital_and_name_idx",
		patients + "?ordering=first_name":                "patients_by_first_name_idx",
		patients + "?ordering=-date_of_birth":            "patients_by_date_of_birth_idx",
		patients + "?ordering=gender":                    "patients_by_gender_idx",
		patients + "?ordering=-city":                     "patients_by_city_idx",
		patients + "?ordering=status":                    "patients_by_status_idx",
		patients + "?ordering=-created_at":               "patients_by_created_at_idx",
		patients + "?ordering=updated_at&cursor=":        "patients_by_updated_at_idx",
		patients + "?city=Najran":                        "patients_by_city_idx",
		patients + "?gender=other":                       "patients_by_gender_idx",
		patients + "?mrn=MRN-77":                         "patients_mrn_idx",
		events:                                           "events_received_at_idx",
		events + "?ordering=received_at":                 "events_received_at_idx",
		events + "?received_before=2001-01-01T00:00:00Z": "events_received_at_idx",
		events + "?encounter_id=ENC-77":                  "events_encounter_id_idx",
		events + "?reason=rare":                          "events_unapplied_reason_idx",
		events + "?status=processing":                    "One-Time Filter: false",
		audit:                                            "audit_log_at_idx",
		audit + "?until=2001-01-01T00:00:00Z":            "audit_log_at_idx",
		audit + "?operation=rareOne":                     "audit_log_of_operation_idx",
		audit + "?object_id=" + hospital:                 "audit_log_of_object_idx",
		audit + "?actor=" + hospital:                     "audit_log_of_actor_idx",
	} {
		statements.take() // discard earlier statements
		request := httptest.NewRequest("GET", query, nil)
		request.Header.Set("Authorization", "Bearer "+token)
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code != 200 {
			t.Fatalf("%s: %d %s", query, response.Code, response.Body)
		}
		explained := 0
		for _, statement := range statements.take() {
			if !strings.Contains(statement.SQL, "List :many") || strings.Contains(statement.SQL, "(count)") {
				continue
			}
			rows, err := conn.Query(ctx, "EXPLAIN "+statement.SQL, statement.Args...)
			must(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			must(t, err)
			if plan := strings.Join(lines, "\n"); !strings.Contains(plan, index) {
				t.Errorf("%s does not use %s:\n%s\n%s", query, index, statement.SQL, plan)
			}
			explained++
		}
		if explained != 1 {
			t.Errorf("%s: %d list queries", query, explained)
		}
	}
}

// A statementRecorder records the statements of a pool, with their arguments.
type statementRecorder struct {
	mu   sync.Mutex
	sent []pgx.TraceQueryStartData
}

func (r *statementRecorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, data)
	return ctx
}

// take returns the recorded statements and clears them.
func (r *statementRecorder) take() []pgx.TraceQueryStartData {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

func (r *statementRecorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// database is the system's, with a pool whose statements are recorded.
func (r *statementRecorder) database(s *system) *queries.DB {
	s.t.Helper()
	ctx := context.Background()
	o := queries.DefaultOptions()
	o.Tracer = r
	database, err := queries.Open(ctx, s.dbURL, o)
	must(s.t, err)
	s.t.Cleanup(database.Close)
	return database
}

// server is another server on the system's database, whose statements are recorded.
func (r *statementRecorder) server(s *system) http.Handler {
	s.t.Helper()
	database := r.database(s)
	o := server.DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits = s.url, signingKey, limits.ModeOff
	srv, err := server.New(database, o)
	must(s.t, err)
	return srv
}

// Neither what sends surveys nor what answers a link may read whole tables: the statements that they send are explained,
// with their arguments, beside 50,000 surveys.
func TestSurveysUseTheirIndexes(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	w.completed(t, "1")
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, w.dbURL)
	must(t, err)
	defer conn.Close(ctx)
	for _, sql := range []string{
		"SET session_replication_role = replica",
		`INSERT INTO patients (id, mrn, first_name, last_name, primary_hospital_id) SELECT gen_random_uuid(), 'MANY-' || i, 'A', 'B', h.id FROM generate_series(1, 50000) i, (SELECT id FROM hospitals LIMIT 1) h`,
		`INSERT INTO journey_instances (id, journey_template_id, patient_id, encounter_id, hospital_id, status, completed_at)
			SELECT gen_random_uuid(), t.id, p.id, 'X' || p.mrn, t.hospital_id, 'completed', now() FROM patients p, (SELECT id, hospital_id FROM journey_templates LIMIT 1) t WHERE p.mrn LIKE 'MANY-%'`,
		`INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order", trigger_event_code, survey_template_id, auto_send_survey,
				survey_delay_hours, requires_physician, requires_department, is_optional, status, completed_at)
			SELECT gen_random_uuid(), j.hospital_id, j.id, t.id, t.name, '', t.code, 1, 'E', t.survey_template_id, true, 0, false, false, false, 'completed', now()
			FROM journey_instances j, (SELECT * FROM stage_templates LIMIT 1) t WHERE j.encounter_id LIKE 'XMANY-%'`,
		`INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at, status, sent_at, asked_at, next_at, expires_at, token_hash)
			SELECT gen_random_uuid(), s.hospital_id, s.survey_template_id, s.journey_instance_id, s.id, now(), 'sent', now(), now(), now() + interval '3 days', now() + interval '9 days', sha256(s.id::text::bytea)
			FROM stage_instances s WHERE s.id NOT IN (SELECT stage_instance_id FROM surveys)`,
		`INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type, stage_instance_id)
			SELECT v.id, 1, v.survey_template_id, 1, v.hospital_id, 'opd', v.stage_instance_id FROM surveys v WHERE v.sent_at IS NOT NULL`,
		"INSERT INTO survey_messages (id, survey_id, kind, channel, status) SELECT gen_random_uuid(), id, 'invitation', 'sms', 'sent' FROM surveys WHERE sent_at IS NOT NULL",
		"INSERT INTO survey_responses (survey_id, position, question_id, answer) SELECT id, 1, gen_random_uuid(), '[]' FROM surveys WHERE sent_at IS NOT NULL",
		"ANALYZE",
	} {
		_, err := conn.Exec(ctx, sql)
		must(t, err)
	}
	statements := &statementRecorder{}
	must(t, surveys.New(statements.database(w.system), w.service.Options).Step(ctx))
	handler := statements.server(w.system)
	for _, method := range []string{"GET", "POST"} {
		request := httptest.NewRequest(method, w.sms.link(t)+"?lang=en&page=1", strings.NewReader("go=back"))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code >= 400 {
			t.Fatalf("%s: %d %s", method, response.Code, response.Body)
		}
	}
	explained := 0
	for _, statement := range statements.take() {
		name, _, isNamed := strings.Cut(strings.TrimPrefix(statement.SQL, "-- name: "), " ")
		if !isNamed || !strings.HasPrefix(name, "Survey") {
			continue
		}
		rows, err := conn.Query(ctx, "EXPLAIN "+statement.SQL, statement.Args...)
		must(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		plan := strings.Join(lines, "\n")
		for _, table := range []string{"surveys", "survey_sections", "survey_messages", "survey_responses", "stage_instances", "journey_instances", "patients"} {
			if strings.Contains(plan, "Seq Scan on "+table+" ") {
				t.Errorf("%s reads all %s:\n%s", name, table, plan)
			}
		}
		explained++
	}
	if explained < 12 {
		t.Errorf("only %d statements about surveys", explained)
	}
	t.Cleanup(func() { w.exec("TRUNCATE patients, hospitals CASCADE") }) // faster than DELETE
}
