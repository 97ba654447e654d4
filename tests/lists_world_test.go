package tests

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/client"
)

// A listsWorld has rows that make each filter, search and ordering of each list matter. The rows of a kind
// are numbered from 0, and each column orders them differently, so that no column can stand in for another.
type listsWorld struct {
	*clinic
	otherHospital                                                  uuid.UUID // another hospital with rows
	actions, departments, patients, surveys, templates, physicians []uuid.UUID
}

const listsRows = 8 // of most kinds

func newListsWorld(t *testing.T) *listsWorld {
	w := &listsWorld{clinic: startServer(t).clinic()}
	w.addHospitals()
	w.addDepartments()
	w.addUsers()
	w.addRoles()
	w.addPhysicians()
	w.addPatients()
	w.addTemplates()
	w.addJourneys()
	w.addSurveys()
	w.addActions()
	w.addWebhooks()
	w.addConfigs()
	w.addEvents()
	w.shuffleTimes()
	return w
}

// word is text whose order among the rows is that of (i+1)·k modulo 11. The orders of k and 11-k are
// reverses of each other.
func word(stem string, k, i int) string { return stem + string(rune('a'+(i+1)*k%11)) }

// named is a word followed by others that several rows share, for searches: two spellings of the same
// word, and wildcards beside texts that they would match.
func named(stem string, k, i int) string {
	tail := map[int]string{
		2: ` 50%off a_b back\slash`,
		3: " 50-off axb backslash",
		4: " ZeBra أُسامَـة إلى قرآن",
		5: " zEbRa اسامه الي قران",
	}[i]
	return fmt.Sprintf("%s %s %s%s", word(stem, k, i), oneOf(i, "even", "odd"), oneOf(i/2, "low", "high"), tail)
}

// status is the status of a row that can be active or inactive.
func status(i int) string {
	return oneOf(i, "active", "inactive", "inactive", "active", "inactive", "active", "inactive", "active")
}

func oneOf[T any](i int, choices ...T) T { return choices[i%len(choices)] }

// hospitalOf is the hospital of a row.
func (w *listsWorld) hospitalOf(i int) uuid.UUID {
	if i%3 == 2 {
		return w.otherHospital
	}
	return w.hospital
}

// departmentOf is a department of the row's hospital, or null.
func (w *listsWorld) departmentOf(i int) any {
	if i%3 == 2 {
		return w.departments[2]
	}
	return oneOf[any](i, w.departments[0], nil, nil, w.departments[1])
}

func (w *listsWorld) addHospitals() {
	for i := range listsRows {
		var capacity any
		if i != 3 {
			capacity = (i + 1) * 4 % 11 * 7 // with one and with two digits
		}
		id := w.create(w.px.access, "/api/organizations/hospitals/", fields{
			"name": named("hosp", 2, i), "name_ar": word("isma", 5, i), "code": word("CODE", 3, i), "city": oneOf(i/2, "riyadh", "jeddah", ""),
			"capacity": capacity, "status": status(i), "address": word("street", 1, i), "license_number": word("license", 1, i),
		})
		if i == 0 {
			w.otherHospital = id
		}
	}
}

func (w *listsWorld) addDepartments() {
	parents := map[int]int{3: 0, 4: 0, 5: 2, 6: 1}
	for i := range listsRows {
		body := fields{
			"hospital": w.hospitalOf(i), "name": named("dept", 2, i), "name_ar": word("isma", 5, i), "code": word("CODE", 3, i),
			"location": oneOf(i, word("floor", 4, i), word("floor", 4, i), ""), "phone": word("phone", 1, i), "status": status(i),
		}
		if parent, has := parents[i]; has {
			body["parent"] = w.departments[parent]
		}
		w.departments = append(w.departments, w.create(w.px.access, "/api/organizations/departments/", body))
	}
	for _, i := range []int{1, 3} { // audit entries of a second user
		try(w.admin.UpdateDepartment(w.t.Context(), w.departments[i], client.DepartmentUpdate{Phone: client.Ptr(word("other", 1, i))})).ok(w.t)
	}
}

func (w *listsWorld) addUsers() {
	for i := range listsRows {
		roles := oneOf(i, []string{"Nurse"}, []string{"Nurse", "Viewer"}, nil, []string{"Staff"})
		p := w.person(w.hospitalOf(i), roles...)
		w.expect(w.t, 200, "PATCH", userPath(p.id), w.px.access, fields{
			"username": word("login", 4, i), "email": word("mail", 3, i) + "@example.org", "first_name": named("first", 2, i), "last_name": word("Last", 5, i),
			"employee_id": oneOf(i, word("EMP", 7, i), word("EMP", 7, i), ""), "is_active": status(i) == "active", "department": w.departmentOf(i), "phone": word("phone", 1, i),
		})
		if i%2 == 1 {
			w.exec("UPDATE users SET last_login = $2 WHERE id = $1", p.id, monthsLater(i*3%listsRows))
		}
	}
}

// monthsLater is a time in the past, n months after another.
func monthsLater(n int) time.Time { return time.Date(2025, time.Month(1+n), 1, 8, 0, 0, 0, time.UTC) }

// addRoles inserts roles in addition to the seeded ones, since the API cannot.
func (w *listsWorld) addRoles() {
	for i := range listsRows {
		w.exec("INSERT INTO roles (id, name, description) VALUES ($1, $2, $3)",
			fmt.Sprintf("01900000-0000-7000-8000-%012d", 100+i), named("role", 2, i), word("about", 1, i))
	}
}

func (w *listsWorld) addPhysicians() {
	for i := range listsRows {
		w.physicians = append(w.physicians, w.create(w.px.access, "/api/organizations/physicians/", fields{
			"hospital": w.hospitalOf(i), "department": w.departmentOf(i), "first_name": named("first", 2, i), "last_name": word("Last", 5, i),
			"first_name_ar": word("awal", 1, i), "last_name_ar": word("akhir", 1, i), "license_number": word("LIC", 3, i),
			"specialization": oneOf(i/2, "cardiology", "neurology", "urology"), "status": status(i), "phone": word("phone", 1, i),
		}))
	}
}

func (w *listsWorld) addPatients() {
	for i := range listsRows + 1 {
		body := fields{
			"mrn": word("MRN", 3, i), "first_name": named("first", 2, i), "last_name": oneOf(i, word("Last", 5, i), word("Last", 5, i), "Lasta"),
			"first_name_ar": word("awal", 1, i), "last_name_ar": word("akhir", 1, i), "gender": oneOf(i, "male", "female", "", "other", "female"),
			"city": oneOf(i/2, "riyadh", "jeddah", ""), "status": status(i), "phone": word("phone", 1, i),
			"email": word("mail", 4, i) + "@example.org", "national_id": word("national", 1, i), "address": word("street", 1, i),
		}
		if i != 3 {
			body["date_of_birth"] = fmt.Sprintf("19%02d-07-15", 10+(i+1)*4%11)
		}
		if i < listsRows { // a patient with a journey needs a hospital
			body["primary_hospital"] = w.hospitalOf(i)
		}
		w.patients = append(w.patients, w.create(w.px.access, "/api/organizations/patients/", body))
	}
}

func (w *listsWorld) addTemplates() {
	for i := range listsRows {
		w.surveys = append(w.surveys, w.create(w.px.access, "/api/surveys/templates/", fields{
			"hospital": w.hospitalOf(i), "name": named("name", 2, i), "name_ar": word("isma", 5, i), "is_active": status(i) == "active",
		}))
		w.templates = append(w.templates, w.create(w.px.access, "/api/journeys/templates/", fields{
			"hospital": w.hospitalOf(i), "name": named("name", 2, i), "name_ar": word("isma", 5, i), "is_active": i != 3 && i != 6,
			"journey_type": oneOf(i, "ems", "opd", "inpatient", "inpatient", "ems", "opd", "opd", "ems"), "is_default": i%2 == 1 && i < 6, "description": word("about", 1, i),
		}))
	}
	for i, template := range []int{0, 2, 0, 1, 0, 2, 1, 7} {
		w.create(w.px.access, "/api/journeys/stage-templates/", fields{
			"journey_template": w.templates[template], "name": named("name", 2, i), "name_ar": word("isma", 5, i), "code": word("CODE", 3, i),
			"order": (i + 1) * 4 % 11, "trigger_event_code": oneOf(i*i/2, "checkedin", "discharge", "triagedup"), "is_active": i != 1 && i != 7,
			"is_optional": i == 2 || i == 6,
		})
	}
}

func (w *listsWorld) addJourneys() {
	var journeys []journey
	for i := range listsRows {
		template := w.templates[oneOf(i, 0, 1)]
		if w.hospitalOf(i) == w.otherHospital {
			template = w.templates[2]
		}
		encounter, patient := word("ENC", 7, i), w.patients[min(i, 6)] // one patient has two journeys
		id := w.create(w.px.access, "/api/journeys/instances/", fields{
			"hospital": w.hospitalOf(i), "journey_template": template, "patient": patient, "encounter_id": encounter,
			"department": w.departmentOf(i), "started_at": monthsLater(i * 5 % listsRows),
		})
		journeys = append(journeys, journey{w.clinic, id, patient, template, encounter})
	}
	for _, i := range []int{3, 7, 0, 4} {
		for n := range journeys[i].stages() {
			if now := journeys[i].now(); now.StageInstances[n].Status == client.StageStatusPending && now.Status == client.JourneyStatusActive {
				journeys[i].setStage(n+1, client.StageStatusCompleted).ok(w.t)
			}
		}
	}
	journeys[1].setStage(1, client.StageStatusSkipped).ok(w.t)
	journeys[2].setStage(1, client.StageStatusInProgress).ok(w.t)
	journeys[6].setStage(2, client.StageStatusInProgress).ok(w.t)
	journeys[1].setStatus(client.JourneyStatusCancelled).ok(w.t)
	journeys[5].setStatus(client.JourneyStatusCancelled).ok(w.t)
}

// addSurveys inserts a survey about each stage, since only a worker makes some of them what they are.
func (w *listsWorld) addSurveys() {
	w.exec(`UPDATE stage_instances s SET physician_id = p.id
		FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM stage_instances) o, physicians p
		WHERE o.id = s.id AND p.hospital_id = s.hospital_id AND p.id = ($1::uuid[])[1 + o.n % 4]`, w.physicians[:3])
	w.exec(`INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at, sent_at, completed_at, status, reason,
			is_negative, created_at)
		SELECT uuid7(), s.hospital_id, (SELECT t.id FROM survey_templates t WHERE t.hospital_id = s.hospital_id ORDER BY t.name OFFSET s.n % 2 LIMIT 1),
			s.journey_instance_id, s.id, '2025-01-01T00:00:00Z'::timestamptz + s.n * 3 % 11 * interval '1 day',
			CASE WHEN s.n % 4 < 3 THEN '2025-03-01T00:00:00Z'::timestamptz + s.n * 5 % 13 * interval '1 day' END,
			CASE WHEN s.n % 4 = 1 THEN '2025-04-01T00:00:00Z'::timestamptz + s.n % 3 * interval '1 day' END,
			(ARRAY['sent', 'completed', 'expired', 'skipped'])[1 + s.n % 4], CASE WHEN s.n % 4 = 3 THEN (ARRAY['too_old', 'no_contact'])[1 + s.n / 4 % 2] ELSE '' END,
			CASE WHEN s.n % 4 = 1 THEN s.n / 4 % 2 = 0 END, '2025-02-01T00:00:00Z'::timestamptz + s.n * 7 % 17 * interval '1 day'
		FROM (SELECT x.*, row_number() OVER (ORDER BY x.journey_instance_id, x."order") - 1 AS n FROM stage_instances x) s`)
}

// addActions opens actions of each kind. Their deadlines and statuses are set by hand, as nobody works on them.
func (w *listsWorld) addActions() {
	for i := range listsRows {
		body := fields{
			"title": named("title", 3, i), "description": word("about", 2, i), "hospital": w.hospitalOf(i), "priority": oneOf(i, "low", "medium", "high", "urgent"),
			"source_type": oneOf(i/2, "manual", "complaint", "social_media", "call_center"),
		}
		if departments := w.ids("SELECT id FROM departments WHERE hospital_id = $1 ORDER BY code", body["hospital"]); len(departments) > 0 {
			body["department"] = departments[i%len(departments)]
		}
		if users := w.ids("SELECT id FROM users WHERE hospital_id = $1 AND is_active ORDER BY username", body["hospital"]); len(users) > 0 {
			body["assigned_to"] = users[i%len(users)]
		}
		w.actions = append(w.actions, w.create(w.px.access, "/api/actions/", body))
	}
	w.exec(`UPDATE actions a SET escalation_level = n.i * 2 % 3, due_at = CASE WHEN n.i % 4 < 3 THEN now() + (n.i - 4) * 5 % 11 * interval '1 day' END,
			status = (ARRAY['open', 'in_progress', 'on_hold', 'pending_approval', 'approved', 'closed', 'cancelled', 'open'])[n.i]
		FROM (SELECT id, row_number() OVER (ORDER BY id) AS i FROM actions) n WHERE n.id = a.id`)
	for i, by := range []person{w.px, w.admin, w.px} {
		w.expect(w.t, http.StatusOK, "POST", "/api/actions/"+w.actions[0].String()+"/add_note/", by.access, fields{"note": word("note", 1, i)})
	}
}

func (w *listsWorld) ids(query string, arguments ...any) []uuid.UUID {
	rows, err := w.db.Query(context.Background(), query, arguments...)
	must(w.t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	must(w.t, err)
	return ids
}

// addWebhooks makes endpoints, and messages as a worker would make them.
func (w *listsWorld) addWebhooks() {
	for i := range listsRows {
		body := fields{"url": "https://" + word("partner", 1, i) + ".example/", "events": []string{"action.created"}, "status": oneOf(i*5/3, "active", "disabled")}
		if i != 4 {
			body["hospital"] = w.hospitalOf(i)
		}
		w.create(w.px.access, "/api/webhooks/endpoints/", body)
	}
	w.exec(`INSERT INTO webhook_events (hospital_id, type, object_id, version, fanned_out)
		SELECT hospital_id, (ARRAY['action.created', 'action.updated', 'sla.breached'])[1 + n % 3], id, n, true
		FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM actions) a`)
	w.exec(`INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type, status, created_at)
		SELECT uuid7(), e.id, v.seq, v.object_id, v.type, (ARRAY['pending', 'delivered', 'failed'])[1 + v.seq * 2 / 3 % 3],
			'2025-01-01T00:00:00Z'::timestamptz + v.seq * 5 % 11 * interval '1 day'
		FROM webhook_events v JOIN LATERAL (SELECT * FROM webhook_endpoints e ORDER BY e.id OFFSET v.seq % 4 LIMIT 1) e ON true`)
}

func (w *listsWorld) addConfigs() {
	for i := range listsRows {
		body := fields{
			"name": named("name", 2, i), "description": word("about", 3, i), "source_system": oneOf(i, "his", "lab", "ehr"),
			"is_active": status(i) == "active", "api_url": "https://" + word("host", 1, i) + ".example.org/",
		}
		if i != 4 {
			body["hospital"] = w.hospitalOf(i)
		}
		w.create(w.px.access, "/api/integrations/configs/", body)
	}
}

// addEvents sends events and sets their outcomes, as there is no worker.
func (w *listsWorld) addEvents() {
	for i := range listsRows {
		id := try(w.px.CreateEvent(w.t.Context(), client.EventCreate{
			SourceSystem: oneOf(i, "his", "lab", "ehr"), EventCode: oneOf(i*i/2, "checkedin", "discharge", "triagedup"), EncounterID: word("ENC", 3, i/2),
		})).ok(w.t).ID
		if status := oneOf(i*5/3, "pending", "processed", "failed", "ignored"); status != "pending" {
			w.exec("UPDATE events SET status = $2, processed_at = $3, reason = $4 WHERE id = $1", id, status, monthsLater(i*5%listsRows), oneOf(i*i/3, "", "no_stage", "no_journey"))
		}
	}
}

// shuffleTimes sets times that are distinct and not in the order of the inserts.
func (w *listsWorld) shuffleTimes() {
	tables := []string{
		"hospitals", "departments", "users", "roles", "physicians", "patients", "survey_templates", "journey_templates", "stage_templates",
		"journey_instances", "stage_instances", "actions", "webhook_endpoints", "integration_configs", "events",
	}
	for _, table := range tables {
		key, number, created := "t.id", "row_number() OVER (ORDER BY %s)", "created_at"
		switch table {
		case "stage_instances":
			key = `t.journey_instance_id, t."order"`
		case "events":
			created = "received_at"
		case "roles":
			number = "greatest(" + number + ", 9)" // the seeded rows have the same time
		}
		w.exec(fmt.Sprintf(`UPDATE %s r
			SET %s = '2025-01-01T00:00:00Z'::timestamptz + n.i * 12 %% 31 * interval '1 day', updated_at = '2025-02-01T00:00:00Z'::timestamptz + n.i * 18 %% 31 * interval '1 day'
			FROM (SELECT t.id, %s AS i FROM %s t) n
			WHERE n.id = r.id`, table, created, fmt.Sprintf(number, key), table))
	}
}

// addHiddenFields adds to the rows of a list the fields that it searches but does not return.
func (w *listsWorld) addHiddenFields(t testing.TB, operation string, rows []fields) {
	if operation != "listJourneyInstances" {
		return
	}
	patients := (&list{listsWorld: w, path: "/api/organizations/patients/"}).get(t, nil)
	for _, row := range rows {
		i := slices.IndexFunc(patients, func(p fields) bool { return p["id"] == row["patient"] })
		for name, text := range patients[i] {
			row["patient."+name] = text
		}
	}
}
