package tests

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/server/auth"
)

// The two hospitals of the matrix, and those who live in them.

// A side is one of the hospitals. Its rows are recognizable wherever they turn up: their ids begin
// alike, and their texts have the hospital's mark in them.
type side struct {
	mark   string
	prefix string
	ids    map[string]uuid.UUID // of the rows that are there from the start, by noun
}

func (at *side) id(noun string) uuid.UUID { return at.ids[noun] }

// A principal is one who tries everything.
type principal struct {
	name   string
	person         // the zero value: shows no token
	apiKey string  // shown instead
	role   string  // "" for none
	home   *side   // nil for none
	scope  []*side // whose rows it sees
}

func (p *principal) isPXAdmin() bool { return p.role == auth.RolePXAdmin }

// A matrixWorld is a system with two hospitals in it, each with a row of every noun.
type matrixWorld struct {
	*system
	a, b       *side
	principals []*principal
	rows       atomic.Int64
	// frozen makes row return the rows that are there from the start, so that nothing changes.
	frozen bool
}

func newMatrixWorld(t *testing.T) *matrixWorld {
	w := &matrixWorld{
		system: startServer(t),
		a:      &side{mark: "Alnoor", prefix: "aaaaaaaa", ids: map[string]uuid.UUID{}},
		b:      &side{mark: "Barzan", prefix: "bbbbbbbb", ids: map[string]uuid.UUID{}},
	}
	for _, at := range []*side{w.a, w.b} {
		for _, noun := range nouns {
			at.ids[noun] = w.insert(noun, at)
		}
	}
	// Another of each, so that a list of both hospitals has not as many rows as a list of one.
	for _, noun := range nouns {
		w.insert(noun, w.b)
	}
	w.people()
	w.frozen = true
	return w
}

// people are a stranger, an integration, and users with each role, in either hospital and in none.
func (w *matrixWorld) people() {
	add := func(p *principal, roles ...string) {
		if p.apiKey == "" && p.name != "anonymous" {
			at, hospital := &side{mark: "Nowhere", prefix: "cccccccc"}, uuid.Nil
			if p.home != nil {
				at, hospital = p.home, p.home.id("hospital")
				p.scope = []*side{p.home}
			}
			p.person = w.personNamed(w.newID(at), unique(at.mark), hospital, roles...)
		}
		if len(roles) > 0 {
			p.role = roles[0]
		}
		if p.isPXAdmin() {
			p.scope = []*side{w.a, w.b}
		}
		w.principals = append(w.principals, p)
	}
	add(&principal{name: "anonymous"})
	add(&principal{name: "API key of A", home: w.a, apiKey: w.apiKey()})
	add(&principal{name: "user of A without role", home: w.a})
	for _, role := range roleNames {
		add(&principal{name: role + " of A", home: w.a}, role)
		add(&principal{name: role + " of B", home: w.b}, role)
	}
	add(&principal{name: "user without hospital and role"})
	add(&principal{name: "Hospital Admin without hospital"}, auth.RoleHospitalAdmin)
	add(&principal{name: "PX Admin"}, auth.RolePXAdmin)
}

var roleNames = []string{"PX Admin", "Hospital Admin", "Department Manager", "PX Coordinator", "Physician", "Nurse", "Staff", "Viewer"}

// apiKey makes a config of hospital A.
func (w *matrixWorld) apiKey() string {
	hasher, err := auth.NewKeyHasher([]byte(signingKey), nil)
	must(w.t, err)
	key := auth.NewAPIKey()
	w.exec("INSERT INTO integration_configs (id, name, source_system, hospital_id, api_key_hash) VALUES ($1, $2, 'his', $3, $4)",
		w.newID(w.a), w.a.mark, w.a.id("hospital"), hasher.Hash(key))
	return key
}

// clone is a principal like p, for a cell that uses its principal up.
func (w *matrixWorld) clone(p *principal) *principal {
	if p.access == "" {
		return p
	}
	again := *p
	at, hospital, roles := &side{mark: "Nowhere", prefix: "cccccccc"}, uuid.Nil, []string{p.role}
	if p.home != nil {
		at, hospital = p.home, p.home.id("hospital")
	}
	again.person = w.personNamed(w.newID(at), unique(at.mark), hospital, roles...)
	return &again
}

func (w *matrixWorld) newID(at *side) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%s-0000-7000-8000-%012x", at.prefix, w.rows.Add(1)))
}

// unknownID is the id of nothing.
var unknownID = uuid.MustParse("dddddddd-0000-7000-8000-000000000001")

// row is a row of the hospital that a cell may do anything with.
func (w *matrixWorld) row(noun string, at *side) uuid.UUID {
	if w.frozen {
		return at.id(noun)
	}
	return w.insert(noun, at)
}

func (w *matrixWorld) insert(noun string, at *side) uuid.UUID {
	id := w.newID(at)
	args := pgx.NamedArgs{"id": id, "text": w.text(at)}
	for have, row := range at.ids {
		args[have] = row
	}
	// The columns of a text differ in type, so the parameter needs one of its own.
	w.exec(strings.ReplaceAll(inserts[noun], "@text", "@text::text"), args)
	return id
}

// text is new, and has the hospital's mark.
func (w *matrixWorld) text(at *side) string {
	return fmt.Sprintf("%s-%d", at.mark, w.rows.Add(1))
}

// nouns come in an order in which each finds what it refers to.
var nouns = []string{
	"hospital", "department", "user", "physician", "patient", "survey_template", "journey_template", "stage_template",
	"journey_instance", "stage_instance", "config", "event", "audit_entry",
}

var inserts = map[string]string{
	"hospital":         "INSERT INTO hospitals (id, name, code) VALUES (@id, @text, @text)",
	"department":       "INSERT INTO departments (id, hospital_id, name, code) VALUES (@id, @hospital, @text, @text)",
	"user":             "INSERT INTO users (id, hospital_id, username, email, first_name, password) VALUES (@id, @hospital, @text, 'someone@example.org', @text, '!')",
	"physician":        "INSERT INTO physicians (id, hospital_id, first_name, last_name, license_number, specialization) VALUES (@id, @hospital, @text, 'Physician', @text, 'Cardiology')",
	"patient":          "INSERT INTO patients (id, primary_hospital_id, first_name, last_name, mrn) VALUES (@id, @hospital, @text, 'Patient', @text)",
	"survey_template":  "INSERT INTO survey_templates (id, hospital_id, name) VALUES (@id, @hospital, @text)",
	"journey_template": "INSERT INTO journey_templates (id, hospital_id, name, journey_type) VALUES (@id, @hospital, @text, 'opd')",
	"stage_template":   `INSERT INTO stage_templates (id, hospital_id, journey_template_id, name, code, "order", trigger_event_code) VALUES (@id, @hospital, @journey_template, @text, @text, 1, 'CHECKED_IN')`,
	"journey_instance": "INSERT INTO journey_instances (id, hospital_id, journey_template_id, patient_id, encounter_id) VALUES (@id, @hospital, @journey_template, @patient, @text)",
	"stage_instance": `INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order",
		trigger_event_code, auto_send_survey, survey_delay_hours, requires_physician, requires_department, is_optional)
		VALUES (@id, @hospital, @journey_instance, @stage_template, @text, '', @text, 1, 'CHECKED_IN', false, 0, false, false, false)`,
	"config": "INSERT INTO integration_configs (id, hospital_id, name, source_system, api_key_hash) VALUES (@id, @hospital, @text, 'his', sha256(@text::bytea))",
	"event": `INSERT INTO events (id, hospital_id, source_system, event_code, encounter_id, sender_kind, sender_id, status, reason, processed_at)
		VALUES (@id, @hospital, 'his', @text, @text, 'user', @user, 'failed', 'patient_mismatch', now())`,
	"audit_entry": `INSERT INTO audit_log (hospital_id, actor_kind, actor_id, actor_name, operation, object_type, object_id, changed_fields)
		VALUES (@hospital, 'user', @user, @text, 'updatePatient', 'patient', @patient, '{phone}')`,
}

// tables says where the rows of a noun are, and which column has their hospital.
var tables = map[string][2]string{
	"hospital": {"hospitals", "id"}, "department": {"departments", "hospital_id"}, "user": {"users", "hospital_id"},
	"physician": {"physicians", "hospital_id"}, "patient": {"patients", "primary_hospital_id"},
	"survey_template": {"survey_templates", "hospital_id"}, "journey_template": {"journey_templates", "hospital_id"},
	"stage_template": {"stage_templates", "hospital_id"}, "journey_instance": {"journey_instances", "hospital_id"},
	"stage_instance": {"stage_instances", "hospital_id"}, "config": {"integration_configs", "hospital_id"},
	"event": {"events", "hospital_id"}, "audit_entry": {"audit_log", "hospital_id"},
}

// visible is how many rows of a noun the principal sees.
func (w *matrixWorld) visible(noun string, p *principal) int {
	switch {
	case noun == "role":
		return len(roleNames)
	case p.isPXAdmin():
		return value[int](w.system, "SELECT count(*) FROM "+tables[noun][0])
	case p.home == nil && noun == "user":
		return 1
	case p.home == nil:
		return 0
	}
	return value[int](w.system, "SELECT count(*) FROM "+tables[noun][0]+" WHERE "+tables[noun][1]+" = $1", p.home.id("hospital"))
}

// contents are all rows of all tables, as text.
func (w *matrixWorld) contents() map[string]bool {
	ctx, all := context.Background(), map[string]bool{}
	rows, err := w.db.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
	must(w.t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(w.t, err)
	for _, name := range names {
		rows, err := w.db.Query(ctx, "SELECT t::text FROM "+pgx.Identifier{name}.Sanitize()+" t")
		must(w.t, err)
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(w.t, err)
		for _, text := range texts {
			all[name+" "+text] = true
		}
	}
	return all
}

// leak tells which of a hospital's rows an answer betrays to a principal who does not see that
// hospital. What the client itself sent does not count.
func (w *matrixWorld) leak(p *principal, sent, body string) string {
	for _, word := range strings.FieldsFunc(sent, func(r rune) bool { return strings.ContainsRune("/=?:[] ", r) }) {
		if strings.Contains(word, "-") || word == w.a.mark || word == w.b.mark {
			body = strings.ReplaceAll(body, word, "")
		}
	}
	body = strings.ToLower(body)
	for _, at := range []*side{w.a, w.b} {
		sees := false
		for _, s := range p.scope {
			sees = sees || s == at
		}
		if !sees && p.home != at && (strings.Contains(body, at.prefix) || strings.Contains(body, strings.ToLower(at.mark))) {
			return at.mark
		}
	}
	return ""
}
