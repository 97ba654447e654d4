package tests

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/fixtures"
	"github.com/px360/px360/worker/actions"
	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/surveys"
	"github.com/px360/px360/worker/webhooks"
)

// A writing operation on the rows of a lockWorld.
type writing struct {
	name, method, path string
	body               any
}

// A lockWorld is a set of rows that refer to each other in every way that there is.
type lockWorld struct {
	here, there                *fixtures.Hospital
	parent, child, elsewhere   uuid.UUID // departments
	manager, other             uuid.UUID // users
	surgeon, nurse             uuid.UUID // physicians
	ahmad, sara                uuid.UUID // patients
	template, second, survey   uuid.UUID
	first, last                uuid.UUID // stage templates
	journey, next              uuid.UUID
	stage, config, role, admin uuid.UUID
	asked                      uuid.UUID // a survey of the next journey
	action, endpoint           uuid.UUID
	token, question            string // of its link, and what it asks
	name                       string // that tells this world's unique values from another's
}

func newLockWorld(t *testing.T, conn *pgx.Conn, name string) *lockWorld {
	t.Helper()
	code := func(code string) func(*db.HospitalInsertParams) {
		return func(h *db.HospitalInsertParams) { h.Code = code }
	}
	w := &lockWorld{name: name, here: fixtures.NewHospital(t, conn, code("A"+name)), there: fixtures.NewHospital(t, conn, code("B"+name))}
	user := func(username string) (id uuid.UUID) {
		id = uuid.Must(uuid.NewV7())
		must(t, db.New(conn).UserInsert(context.Background(), db.UserInsertParams{
			ID: id, Username: username, Email: username + "@example.org", Password: "!", Language: "en", IsActive: true, Hospital: &w.here.ID,
		}))
		return id
	}
	w.manager, w.other = user("m"+name), user("o"+name)
	w.parent = w.here.Department("P", func(d *db.DepartmentInsertParams) { d.Manager = &w.manager })
	w.child = w.here.Department("C", func(d *db.DepartmentInsertParams) { d.Parent = &w.parent })
	w.elsewhere = w.there.Department("E")
	w.surgeon = w.here.Physician("S", func(p *db.PhysicianInsertParams) { p.Department = &w.child })
	w.nurse = w.here.Physician("N")
	w.ahmad, w.sara = w.here.Patient("1"), w.here.Patient("2")
	w.survey = w.here.Survey()
	w.template = w.here.TemplateWith(func(t *db.JourneyTemplateInsertParams) { t.IsDefault = true })
	w.second = w.here.TemplateWith()
	w.first = w.here.Stage(w.template, 1, func(s *db.StageTemplateInsertParams) { s.SurveyTemplate, s.AutoSendSurvey = &w.survey, true })
	w.last = w.here.Stage(w.template, 2)
	w.journey = w.here.Journey(w.template, w.ahmad, "x"+name)
	w.next = w.here.Journey(w.template, w.sara, "y"+name)
	must(t, conn.QueryRow(context.Background(), "SELECT id FROM stage_instances WHERE journey_instance_id = $1 LIMIT 1", w.journey).Scan(&w.stage))
	must(t, conn.QueryRow(context.Background(), "SELECT id FROM roles WHERE name = 'Viewer'").Scan(&w.role))
	must(t, conn.QueryRow(context.Background(), "SELECT id FROM roles WHERE name = 'PX Admin'").Scan(&w.admin))
	w.asked = uuid.Must(uuid.NewV7())
	w.token = rules.NewLinkToken([]byte(signingKey), w.asked)
	hash, _ := rules.LinkTokenHash(w.token)
	for _, insert := range []string{
		`INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at, status, asked_at, sent_at, expires_at, next_at, token_hash)
			SELECT $1, s.hospital_id, $2, s.journey_instance_id, s.id, now(), 'sent', now(), now(), now() + interval '1 day', now(), $4
			FROM stage_instances s WHERE s.journey_instance_id = $3 LIMIT 1`,
		`INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type, stage_instance_id)
			SELECT v.id, 1, $2, 1, v.hospital_id, 'opd', v.stage_instance_id FROM surveys v WHERE v.id = $1 AND $3::uuid IS NOT NULL AND $4::bytea IS NOT NULL`,
		`INSERT INTO survey_messages (id, survey_id, kind, channel, address)
			SELECT uuid7(), $1::uuid, 'invitation', 'sms', '+966501234567' WHERE $2::uuid IS NOT NULL AND $3::uuid IS NOT NULL AND $4::bytea IS NOT NULL`,
	} {
		_, err := conn.Exec(context.Background(), insert, w.asked, w.survey, w.next, hash)
		must(t, err)
	}
	must(t, conn.QueryRow(context.Background(), "SELECT questions->0->>'id' FROM survey_versions WHERE survey_template_id = $1", w.survey).Scan(&w.question))
	w.action, w.endpoint = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	for insert, arguments := range map[string][]any{
		`INSERT INTO actions (id, hospital_id, department_id, assigned_to, journey_instance_id, physician_id, patient_id, source_type, title, priority, sla, running_since, next_at)
			SELECT $1, h.id, $3, $4, $5, $6, $7, 'manual', 'A', 'urgent',
				jsonb_build_object('timezone', h.timezone, 'business_hours', h.business_hours, 'holidays', h.holidays, 'action_sla', h.action_sla), now() - interval '4 hours', now()
			FROM hospitals h WHERE h.id = $2`: {w.action, w.here.ID, w.parent, w.manager, w.journey, w.surgeon, w.ahmad},
		"INSERT INTO webhook_endpoints (id, hospital_id, url, events, secret) VALUES ($1, $2, 'https://partner.example/', '{action.updated,survey.completed}', '')": {w.endpoint, w.here.ID},
	} {
		_, err := conn.Exec(context.Background(), insert, arguments...)
		must(t, err)
	}
	w.config = uuid.Must(uuid.NewV7())
	must(t, db.New(conn).ConfigInsert(context.Background(), db.ConfigInsertParams{
		ID: w.config, Name: "HIS", SourceSystem: "his", Hospital: &w.here.ID, APIKeyHash: []byte(w.config.String()), IsActive: true, ConfigJSON: []byte("{}"),
	}))
	return w
}

// writings are the operations that write, on the rows of the world: each noun, each reference, each unique value in
// both directions.
func (w *lockWorld) writings() []writing {
	const (
		departments, users, physicians, patients = "/api/organizations/departments/", "/api/auth/users/", "/api/organizations/physicians/", "/api/organizations/patients/"
		hospitals, surveyTemplates, templates    = "/api/organizations/hospitals/", "/api/surveys/templates/", "/api/journeys/templates/"
		stageTemplates, journeys, stages         = "/api/journeys/stage-templates/", "/api/journeys/instances/", "/api/journeys/stages/"
		configs, actions, endpoints              = "/api/integrations/configs/", "/api/actions/", "/api/webhooks/endpoints/"
	)
	at := func(path string, id uuid.UUID) string { return path + id.String() + "/" }
	event := func(id string) fields {
		return fields{"source_system": "his", "event_code": "E1", "encounter_id": "x" + w.name, "source_event_id": id + w.name}
	}
	list := []writing{
		{"department below its child", "PATCH", at(departments, w.parent), fields{"parent": w.child}},
		{"child below the department", "PATCH", at(departments, w.child), fields{"parent": w.parent}},
		{"department takes the child's code", "PATCH", at(departments, w.parent), fields{"code": "C"}},
		{"child takes the department's code", "PATCH", at(departments, w.child), fields{"code": "P"}},
		{"department moves to the other hospital", "PATCH", at(departments, w.child), fields{"hospital": w.there.ID, "parent": w.elsewhere}},
		{"department comes from the other hospital", "PATCH", at(departments, w.elsewhere), fields{"hospital": w.here.ID, "parent": w.child}},
		{"department gets a manager", "PATCH", at(departments, w.child), fields{"manager": w.manager}},
		{"new department", "POST", departments, fields{"hospital": w.here.ID, "name": "N", "code": "P", "parent": w.parent, "manager": w.manager}},
		{"manager gets a department", "PATCH", at(users, w.manager), fields{"department": w.parent}},
		{"manager takes another's name", "PATCH", at(users, w.manager), fields{"username": "o" + w.name}},
		{"other user takes the manager's name", "PATCH", at(users, w.other), fields{"username": "m" + w.name}},
		{"manager is deactivated", "PATCH", at(users, w.manager), fields{"is_active": false}},
		{"manager gets a role", "POST", at(users, w.manager) + "assign_role/", fields{"role_id": w.admin}},
		{"manager loses a role", "POST", at(users, w.manager) + "remove_role/", fields{"role_id": w.admin}},
		{"other user gets a role", "POST", at(users, w.other) + "assign_role/", fields{"role_id": w.role}},
		{"physician gets a department", "PATCH", at(physicians, w.surgeon), fields{"department": w.parent}},
		{"physician moves to the other hospital", "PATCH", at(physicians, w.surgeon), fields{"hospital": w.there.ID, "department": w.elsewhere}},
		{"physician takes another's license", "PATCH", at(physicians, w.surgeon), fields{"license_number": "N"}},
		{"another takes the physician's license", "PATCH", at(physicians, w.nurse), fields{"license_number": "S"}},
		{"patient takes another's number", "PATCH", at(patients, w.ahmad), fields{"mrn": "2"}},
		{"another takes the patient's number", "PATCH", at(patients, w.sara), fields{"mrn": "1"}},
		{"patient moves to the other hospital", "PATCH", at(patients, w.sara), fields{"primary_hospital": w.there.ID}},
		{"template becomes the default", "PATCH", at(templates, w.template), fields{"is_default": true}},
		{"second template becomes the default", "PATCH", at(templates, w.second), fields{"is_default": true}},
		{"new default template", "POST", templates, fields{"hospital": w.here.ID, "name": "T", "journey_type": "opd", "is_default": true}},
		{"stage template takes the last one's code", "PATCH", at(stageTemplates, w.first), fields{"code": "S2"}},
		{"last stage template takes the first one's code", "PATCH", at(stageTemplates, w.last), fields{"code": "S1", "survey_template": w.survey}},
		{"new stage template", "POST", stageTemplates, fields{"journey_template": w.template, "name": "S", "code": "S3", "order": 3, "trigger_event_code": "E3", "survey_template": w.survey}},
		{"survey template moves", "PATCH", at(surveyTemplates, w.survey), fields{"hospital": w.there.ID}},
		{"new journey", "POST", journeys, fields{"hospital": w.here.ID, "journey_template": w.template, "patient": w.ahmad, "department": w.parent, "encounter_id": "z" + w.name}},
		{"journey takes the next one's encounter", "PATCH", at(journeys, w.journey), fields{"encounter_id": "y" + w.name, "department": w.child}},
		{"next journey takes the encounter", "PATCH", at(journeys, w.next), fields{"encounter_id": "x" + w.name}},
		{"journey is cancelled", "PATCH", at(journeys, w.journey), fields{"status": "cancelled"}},
		{"stage is completed", "PATCH", at(stages, w.stage), fields{"status": "completed", "physician": w.surgeon, "department": w.child}},
		{"new stage", "POST", stages, fields{"journey_instance": w.journey, "stage_template": w.first}},
		{"survey is sent again", "POST", at("/api/surveys/instances/", w.asked) + "resend/", nil},
		{"survey is cancelled", "POST", at("/api/surveys/instances/", w.asked) + "cancel/", nil},
		{"survey is answered", "POST", "/api/surveys/public/" + w.token + "/", fields{"complete": true, "answers": []fields{{"section": 1, "question": w.question, "answer": []string{"1"}}}}},
		{"patient opts out", "POST", "/api/surveys/public/" + w.token + "/", fields{"opt_out": true, "answers": []fields{}}},
		{"new action", "POST", actions, fields{"hospital": w.here.ID, "title": "B", "department": w.parent, "assigned_to": w.manager, "patient": w.ahmad, "survey_instance": w.asked}},
		{"action changes", "PATCH", at(actions, w.action), fields{"priority": "low", "department": w.child, "physician": w.nurse, "patient": w.sara}},
		{"action is assigned", "POST", at(actions, w.action) + "assign/", fields{"assigned_to": w.other}},
		{"action is escalated", "POST", at(actions, w.action) + "escalate/", fields{"note": "x"}},
		{"action is worked on", "POST", at(actions, w.action) + "change_status/", fields{"status": "in_progress"}},
		{"endpoint changes", "PATCH", at(endpoints, w.endpoint), fields{"url": "https://other.example/", "hospital": w.there.ID}},
		{"endpoint is tested", "POST", at(endpoints, w.endpoint) + "test/", nil},
		{"events are replayed", "POST", at(endpoints, w.endpoint) + "replay/", fields{"since": "2026-01-01T00:00:00Z"}},
		{"patient changes", "PATCH", at(patients, w.sara), fields{"phone": "0501234567"}},
		{"template sends one survey a visit", "PATCH", at(templates, w.template), fields{"send_post_discharge_survey": true, "post_discharge_survey_template": w.survey}},
		{"config is renamed", "PATCH", at(configs, w.config), fields{"name": "LAB", "hospital": w.there.ID}},
		{"config gets a key", "POST", at(configs, w.config) + "rotate_key/", nil},
		{"hospital takes the other's code", "PATCH", at(hospitals, w.here.ID), fields{"code": "B" + w.name}},
		{"other hospital takes the code", "PATCH", at(hospitals, w.there.ID), fields{"code": "A" + w.name}},
		{"one event", "POST", oneEventPath, event("1")},
		{"events", "POST", manyEventsPath, fields{"events": []fields{event("1"), event("2"), event("3")}}},
		{"events the other way round", "POST", manyEventsPath, fields{"events": []fields{event("3"), event("2"), event("1")}}},
	}
	for path, ids := range map[string][]uuid.UUID{
		departments: {w.parent, w.child}, users: {w.manager}, physicians: {w.surgeon}, patients: {w.ahmad}, templates: {w.template, w.second},
		stageTemplates: {w.first}, surveyTemplates: {w.survey}, journeys: {w.journey}, stages: {w.stage}, configs: {w.config}, hospitals: {w.here.ID},
		actions: {w.action}, endpoints: {w.endpoint},
	} {
		for _, id := range ids {
			list = append(list, writing{"delete of " + path, "DELETE", at(path, id), nil})
		}
	}
	return list
}

// TestNoDeadlocks runs each writing operation against each other, and against itself, on the same rows. None may be
// ended by Postgres as a deadlock victim: the locks are taken in one order.
func TestNoDeadlocks(t *testing.T) {
	t.Parallel()
	s := start(t)
	px := s.person(uuid.Nil, "PX Admin")
	s.sendSurveys(t)
	delayWrites(s)
	setUp, err := pgx.Connect(context.Background(), s.dbURL)
	must(t, err)
	defer setUp.Close(context.Background())
	_, err = setUp.Exec(context.Background(), "SET session_replication_role = replica") // neither the delay nor what refers to what
	must(t, err)

	n := len(newLockWorld(t, setUp, "count").writings())
	type pair struct {
		world *lockWorld
		a, b  int
	}
	pairs := make(chan pair)
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for p := range pairs {
				s.race(t, px.access, p.world.writings()[p.a], p.world.writings()[p.b])
			}
		})
	}
	for a := range n {
		for b := a; b < n; b++ {
			pairs <- pair{newLockWorld(t, setUp, fmt.Sprintf("-%d-%d", a, b)), a, b}
		}
	}
	close(pairs)
	workers.Wait()
	if deadlocks := s.deadlocks(); deadlocks != 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
}

// sendSurveys has surveys sent, as they are due, deadlines watched and webhooks delivered until the end of the test.
func (s *system) sendSurveys(t *testing.T) {
	t.Helper()
	o := surveys.DefaultOptions()
	o.Channels = map[string]channels.Channel{channels.SMS: newMailbox(channels.SMS)}
	o.PublicURL, o.SecretKey, o.PollInterval = testPublicURL, signingKey, 5*time.Millisecond
	database, err := queries.Open(t.Context(), s.dbURL, queries.DefaultOptions())
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	watch, tell := actions.DefaultOptions(), webhooks.DefaultOptions()
	watch.Email, watch.PollInterval = newMailbox(channels.Email), o.PollInterval
	tell.SecretKey, tell.PollInterval = signingKey, o.PollInterval
	services := []func(context.Context) error{surveys.New(database, o).Run, actions.New(database, watch).Run, webhooks.New(database, tell).Run}
	for _, run := range services {
		go func() { done <- run(ctx) }()
	}
	t.Cleanup(func() {
		stop()
		for range services {
			must(t, <-done)
		}
		database.Close()
	})
}

// race sends both requests twice, all at the same time.
func (s *system) race(t *testing.T, token string, a, b writing) {
	var ready, done sync.WaitGroup
	ready.Add(4)
	for i := range 4 {
		w := a
		if i%2 == 1 {
			w = b
		}
		done.Go(func() {
			ready.Done()
			ready.Wait()
			if got := s.send(w.method, w.path, token, w.body); got.status >= http.StatusInternalServerError {
				t.Errorf("%q beside %q and %q: %d %s", w.name, a.name, b.name, got.status, got.body)
			}
		})
	}
	done.Wait()
}

// delayWrites makes every write of a row take a moment between the row's own lock and those of the foreign keys, so that
// requests at the same time do meet. Triggers fire in the order of their names, which puts the delay first. A BEFORE
// trigger would not do: it makes an UPDATE take a stronger lock.
func delayWrites(s *system) {
	s.exec(`CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep(0.002);
			RETURN NULL;
		END $$`)
	for _, table := range []string{
		"hospitals", "departments", "users", "user_roles", "physicians", "patients", "survey_templates", "journey_templates", "stage_templates",
		"journey_instances", "stage_instances", "integration_configs", "surveys", "survey_sections", "survey_messages", "events",
	} {
		s.exec(`CREATE TRIGGER "A delay" AFTER INSERT OR UPDATE OR DELETE ON ` + table + " FOR EACH ROW EXECUTE FUNCTION delay()")
	}
}

// deadlocks is how many Postgres has found in this database. A backend reports what it has counted when it ends, at the
// latest.
func (s *system) deadlocks() (n int) {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), s.dbURL)
	must(s.t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), "SET stats_fetch_consistency = none")
	must(s.t, err)
	var backends []int32
	must(s.t, conn.QueryRow(context.Background(), `SELECT coalesce(array_agg(pid) FILTER (WHERE pg_terminate_backend(pid)), '{}')
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`).Scan(&backends))
	dbtest.Eventually(s.t, "the backends have ended", func() bool {
		var left int
		must(s.t, conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1)", backends).Scan(&left))
		return left == 0
	})
	must(s.t, conn.QueryRow(context.Background(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n))
	return n
}
