package tests

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/tests/fixtures"
)

// The hospitals and principals of the matrix.

// A side is one of the two hospitals. Its rows are recognizable in any answer: their ids have the
// side's prefix, and their texts contain its mark.
type side struct {
	*fixtures.Hospital
	mark   string
	prefix string
	ids    map[string]uuid.UUID // of the shared rows, by noun
}

func (at *side) id(noun string) uuid.UUID { return at.ids[noun] }

// A principal is a caller of the operations.
type principal struct {
	name     string
	person             // zero: sends no token
	apiKey   string    // sent instead of a token
	config   uuid.UUID // the key's
	event    uuid.UUID // one that the key sent
	role     string    // "" for none
	hospital *side     // nil: no hospital
	scope    []*side   // the hospitals whose rows it sees
}

func (p *principal) isPXAdmin() bool { return p.role == auth.RolePXAdmin }

// A matrixWorld is a system with two hospitals, each with a row of every noun.
type matrixWorld struct {
	*system
	a, b       *side
	principals []*principal
	rows       atomic.Int64
	// frozen makes row return the shared rows instead of inserting new ones.
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
	// A second row of each noun, so that a list of both hospitals is longer than the list of
	// either.
	for _, noun := range nouns {
		w.insert(noun, w.b)
	}
	w.addPrincipals()
	w.frozen = true
	return w
}

// addPrincipals adds an anonymous caller, an API key, and users with each role, in either hospital
// and in none.
func (w *matrixWorld) addPrincipals() {
	add := func(p *principal, roles ...string) {
		if p.apiKey == "" && p.name != "anonymous" {
			at, hospital := &side{mark: "Nowhere", prefix: "cccccccc"}, uuid.Nil
			if p.hospital != nil {
				at, hospital = p.hospital, p.hospital.id("hospital")
				p.scope = []*side{p.hospital}
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
	add(w.apiKey("API key of A", w.a, 1))
	add(w.apiKey("another API key of A", w.a, 2))
	add(w.apiKey("API key of B", w.b, 1))
	add(w.apiKey("API key of no hospital", nil, 3))
	add(&principal{name: "user of A without role", hospital: w.a})
	for _, role := range roleNames {
		add(&principal{name: role + " of A", hospital: w.a}, role)
		add(&principal{name: role + " of B", hospital: w.b}, role)
	}
	add(&principal{name: "user without hospital and role"})
	add(&principal{name: "Hospital Admin without hospital"}, auth.RoleHospitalAdmin)
	add(&principal{name: "PX Admin"}, auth.RolePXAdmin)
}

var roleNames = []string{"PX Admin", "Hospital Admin", "Department Manager", "PX Coordinator", "Physician", "Nurse", "Staff", "Viewer"}

// apiKey inserts a config of a hospital, or with nil of none, whose key has sent so many events.
func (w *matrixWorld) apiKey(name string, home *side, events int) *principal {
	hasher, err := auth.NewKeyHasher([]byte(signingKey), nil)
	must(w.t, err)
	at := home
	if home == nil {
		at = &side{mark: "Nowhere", prefix: "cccccccc"}
	}
	p := &principal{name: name, hospital: home, apiKey: auth.NewAPIKey(), config: w.newID(at)}
	w.config(at, p.config, at.mark, hasher.Hash(p.apiKey))
	for range events {
		p.event = w.newID(at)
		w.exec(`INSERT INTO events (id, hospital_id, source_system, event_code, encounter_id, sender_kind, sender_id, status, reason, processed_at)
			VALUES ($1, $2, 'his', $3, $3, 'key', $4, 'failed', 'patient_mismatch', now())`, p.event, at.hospitalID(), w.text(at), p.config)
	}
	return p
}

// hospitalID is nil for a side without a hospital.
func (at *side) hospitalID() *uuid.UUID {
	if at.Hospital == nil {
		return nil
	}
	return &at.ID
}

// clone is a new principal like p, for a cell that changes its principal.
func (w *matrixWorld) clone(p *principal) *principal {
	if p.access == "" {
		return p
	}
	again := *p
	at, hospital, roles := &side{mark: "Nowhere", prefix: "cccccccc"}, uuid.Nil, []string{}
	if p.role != "" {
		roles = append(roles, p.role)
	}
	if p.hospital != nil {
		at, hospital = p.hospital, p.hospital.id("hospital")
	}
	again.person = w.personNamed(w.newID(at), unique(at.mark), hospital, roles...)
	return &again
}

func (w *matrixWorld) newID(at *side) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%s-0000-7000-8000-%012x", at.prefix, w.rows.Add(1)))
}

// unknownID is an id that no row has.
var unknownID = uuid.MustParse("dddddddd-0000-7000-8000-000000000001")

// row is a row of the hospital that a cell may change.
func (w *matrixWorld) row(noun string, at *side) uuid.UUID {
	if w.frozen {
		return at.id(noun)
	}
	return w.insert(noun, at)
}

func (w *matrixWorld) insert(noun string, at *side) uuid.UUID {
	id := w.newID(at)
	inserts[noun](w, at, id, w.text(at))
	return id
}

// text is unique and contains the hospital's mark.
func (w *matrixWorld) text(at *side) string {
	return fmt.Sprintf("%s-%d", at.mark, w.rows.Add(1))
}

// nouns are sorted by their dependencies.
var nouns = []string{
	"hospital", "department", "user", "physician", "patient", "survey_template", "journey_template", "stage_template",
	"journey_instance", "stage_instance", "survey_instance", "sent_survey", "action", "pending_action", "webhook_endpoint", "webhook_message", "config", "event", "audit_entry",
}

// inserts insert a row with this id, and with the text in the columns that the API returns.
var inserts = map[string]func(w *matrixWorld, at *side, id uuid.UUID, text string){
	"hospital": func(w *matrixWorld, at *side, id uuid.UUID, text string) {
		h := fixtures.NewHospital(w.t, w.db, func(p *db.HospitalInsertParams) { p.ID, p.Name, p.Code = id, text, text })
		if at.Hospital == nil {
			at.Hospital = h
		}
	},
	"department": func(_ *matrixWorld, at *side, id uuid.UUID, text string) {
		at.Department(text, func(p *db.DepartmentInsertParams) { p.ID, p.Name = id, text })
	},
	"user": func(w *matrixWorld, at *side, id uuid.UUID, text string) { w.personNamed(id, text, at.ID) },
	"physician": func(_ *matrixWorld, at *side, id uuid.UUID, text string) {
		at.Physician(text, func(p *db.PhysicianInsertParams) { p.ID, p.FirstName, p.LastName = id, text, "Physician" })
	},
	"patient": func(_ *matrixWorld, at *side, id uuid.UUID, text string) {
		at.Patient(text, func(p *db.PatientInsertParams) { p.ID, p.FirstName, p.LastName = id, text, "Patient" })
	},
	"survey_template": func(_ *matrixWorld, at *side, id uuid.UUID, text string) {
		at.Survey(func(p *db.SurveyTemplateInsertParams) { p.ID, p.Name = id, text })
	},
	"journey_template": func(_ *matrixWorld, at *side, id uuid.UUID, text string) {
		at.TemplateWith(func(p *db.JourneyTemplateInsertParams) { p.ID, p.Name = id, text })
	},
	"stage_template": func(_ *matrixWorld, at *side, id uuid.UUID, text string) {
		at.Stage(at.id("journey_template"), 1, func(p *stageTemplate) { p.ID, p.Name, p.Code, p.TriggerEventCode = id, text, text, "CHECKED_IN" })
	},
	// Without stages, which cells add; so it is not the fixture's Journey.
	"journey_instance": func(w *matrixWorld, at *side, id uuid.UUID, text string) {
		must(w.t, db.New(w.db).JourneyInsert(context.Background(), db.JourneyInsertParams{
			ID: id, Hospital: at.ID, JourneyTemplate: at.id("journey_template"), Patient: at.id("patient"), EncounterID: text,
			Status: "active", Metadata: []byte("{}"),
		}))
	},
	// By SQL, since a journey has a stage once and the cells need many of the same two.
	"stage_instance":  func(w *matrixWorld, at *side, id uuid.UUID, text string) { w.stage(at, id, text) },
	"survey_instance": func(w *matrixWorld, at *side, id uuid.UUID, _ string) { w.survey(at, id, "pending") },
	"sent_survey":     func(w *matrixWorld, at *side, id uuid.UUID, _ string) { w.survey(at, id, "sent") },
	"action":          func(w *matrixWorld, at *side, id uuid.UUID, text string) { w.action(at, id, text, "open") },
	"pending_action":  func(w *matrixWorld, at *side, id uuid.UUID, text string) { w.action(at, id, text, "pending_approval") },
	"webhook_endpoint": func(w *matrixWorld, at *side, id uuid.UUID, text string) {
		w.exec("INSERT INTO webhook_endpoints (id, hospital_id, url, events, secret) VALUES ($1, $2, $3, '{action.created}', '')", id, at.ID, "https://partner.example/"+text)
	},
	"webhook_message": func(w *matrixWorld, at *side, id uuid.UUID, _ string) {
		w.exec(`WITH event AS (INSERT INTO webhook_events (hospital_id, type, object_id, version, fanned_out) VALUES ($2, 'action.created', $3, 1, true) RETURNING *)
			INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type) SELECT $1, $4, seq, object_id, type FROM event`,
			id, at.ID, at.id("action"), at.id("webhook_endpoint"))
	},
	"config": func(w *matrixWorld, at *side, id uuid.UUID, text string) {
		hash := sha256.Sum256([]byte(text))
		w.config(at, id, text, hash[:])
	},
	"event": func(w *matrixWorld, at *side, id uuid.UUID, text string) {
		w.exec(`INSERT INTO events (id, hospital_id, source_system, event_code, encounter_id, sender_kind, sender_id, status, reason, processed_at)
			VALUES ($1, $2, 'his', $3, $3, 'user', $4, 'failed', 'patient_mismatch', now())`, id, at.ID, text, at.id("user"))
	},
	"audit_entry": func(w *matrixWorld, at *side, _ uuid.UUID, text string) {
		user := at.id("user")
		must(w.t, db.New(w.db).AuditInsert(context.Background(), db.AuditInsertParams{
			Hospital: &at.ID, ActorKind: "user", ActorID: &user, ActorName: text, Operation: "updatePatient",
			ObjectType: "patient", ObjectID: at.id("patient"), ChangedFields: []string{"phone"},
		}))
	},
}

// stage inserts a stage of the hospital's journey.
func (w *matrixWorld) stage(at *side, id uuid.UUID, text string) {
	w.exec(`INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order",
			trigger_event_code, auto_send_survey, survey_delay_hours, requires_physician, requires_department, is_optional)
		VALUES ($1, $2, $3, $4, $5, '', $5, 1, 'CHECKED_IN', false, 0, false, false, false)`,
		id, at.ID, at.id("journey_instance"), at.id("stage_template"), text)
}

// survey inserts a survey about a stage of its own.
func (w *matrixWorld) survey(at *side, id uuid.UUID, status string) {
	stage := w.newID(at)
	w.stage(at, stage, w.text(at))
	w.exec(`INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at, status, asked_at, sent_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, now(), $6, CASE WHEN $6 = 'sent' THEN now() END, CASE WHEN $6 = 'sent' THEN now() END, now() + interval '1 day')`,
		id, at.ID, at.id("survey_template"), at.id("journey_instance"), stage, status)
}

// action inserts an action of the hospital.
func (w *matrixWorld) action(at *side, id uuid.UUID, title, status string) {
	w.exec(`INSERT INTO actions (id, hospital_id, source_type, title, priority, status, resolution, sla)
		SELECT $1, $2, 'manual', $3, 'low', $4, 'Solved', jsonb_build_object('timezone', timezone, 'business_hours', business_hours, 'action_sla', action_sla)
		FROM hospitals WHERE id = $2`, id, at.ID, title, status)
}

// config inserts an integration config of the hospital.
func (w *matrixWorld) config(at *side, id uuid.UUID, name string, keyHash []byte) {
	must(w.t, db.New(w.db).ConfigInsert(context.Background(), db.ConfigInsertParams{
		ID: id, Hospital: at.hospitalID(), Name: name, SourceSystem: "his", APIKeyHash: keyHash, IsActive: true, ConfigJSON: []byte("{}"),
	}))
}

// tables has the table of a noun, and its column with the hospital.
var tables = map[string][2]string{
	"hospital": {"hospitals", "id"}, "department": {"departments", "hospital_id"}, "user": {"users", "hospital_id"},
	"physician": {"physicians", "hospital_id"}, "patient": {"patients", "primary_hospital_id"},
	"survey_template": {"survey_templates", "hospital_id"}, "journey_template": {"journey_templates", "hospital_id"},
	"stage_template": {"stage_templates", "hospital_id"}, "journey_instance": {"journey_instances", "hospital_id"},
	"stage_instance": {"stage_instances", "hospital_id"}, "survey_instance": {"surveys", "hospital_id"}, "action": {"actions", "hospital_id"}, "webhook_endpoint": {"webhook_endpoints", "hospital_id"},
	"webhook_message": {"webhook_messages m JOIN webhook_endpoints e ON e.id = m.endpoint_id", "e.hospital_id"},
	"config":          {"integration_configs", "hospital_id"},
	"event":           {"events", "hospital_id"}, "audit_entry": {"audit_log", "hospital_id"},
}

// visible is the number of rows of a noun that the principal sees.
func (w *matrixWorld) visible(noun string, p *principal) int {
	switch {
	case noun == "role":
		return len(roleNames)
	case p.isPXAdmin():
		return value[int](w.system, "SELECT count(*) FROM "+tables[noun][0])
	case p.apiKey != "": // lists only events
		return value[int](w.system, "SELECT count(*) FROM events WHERE sender_kind = 'key' AND sender_id = $1", p.config)
	case p.hospital == nil && noun == "user":
		return 1
	case p.hospital == nil:
		return 0
	}
	return value[int](w.system, "SELECT count(*) FROM "+tables[noun][0]+" WHERE "+tables[noun][1]+" = $1", p.hospital.id("hospital"))
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

// leak returns the mark of the hospital whose row an answer discloses to a principal who does not
// see it, "" for none. Texts that the request contains do not count.
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
		if !sees && p.hospital != at && (strings.Contains(body, at.prefix) || strings.Contains(body, strings.ToLower(at.mark))) {
			return at.mark
		}
	}
	return ""
}
