package tests

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/tests/dbtest"
)

// A clinic is a hospital with somebody to administer it, made through the API.
type clinic struct {
	*system
	px       string // the access token of a PX Admin
	hospital uuid.UUID
	admin    person // of the hospital
}

type fields = map[string]any

func (s *system) clinic() *clinic {
	s.t.Helper()
	c := &clinic{system: s, px: s.person(uuid.Nil, "PX Admin").access}
	c.hospital = c.create(c.px, "/api/organizations/hospitals/", fields{"name": unique("Hospital"), "code": unique("H")})
	c.admin = c.person(c.hospital, "Hospital Admin")
	return c
}

// post creates something of the clinic; its hospital need not be said.
func (c *clinic) post(path string, body fields) uuid.UUID {
	c.t.Helper()
	body = maps.Clone(body)
	body["hospital"] = c.hospital
	return c.create(c.px, path, body)
}

func (c *clinic) department(code string) uuid.UUID {
	c.t.Helper()
	return c.post("/api/organizations/departments/", fields{"name": "Department " + code, "code": code})
}

func (c *clinic) physician(license string) uuid.UUID {
	c.t.Helper()
	return c.post("/api/organizations/physicians/", fields{"first_name": "Sami", "last_name": "Harbi", "license_number": license, "specialization": "Cardiology"})
}

func (c *clinic) patient(mrn string) uuid.UUID {
	c.t.Helper()
	return c.post("/api/organizations/patients/", fields{
		"first_name": "Ahmad", "last_name": "Ali", "mrn": mrn, "national_id": "ID-" + mrn, "primary_hospital": c.hospital,
	})
}

func (c *clinic) survey() uuid.UUID {
	c.t.Helper()
	return c.post("/api/surveys/templates/", fields{"name": unique("Survey")})
}

// template makes a journey template whose stages are in the order given. Of a stage nothing need be
// said; its code is S1, S2 and so on, and its trigger E1, E2 and so on.
func (c *clinic) template(stages ...fields) uuid.UUID {
	c.t.Helper()
	template := c.post("/api/journeys/templates/", fields{"name": unique("Template"), "journey_type": "opd"})
	for i, stage := range stages {
		c.stageTemplate(template, i+1, stage)
	}
	return template
}

func (c *clinic) stageTemplate(template uuid.UUID, order int, stage fields) uuid.UUID {
	c.t.Helper()
	body := fields{
		"journey_template": template, "name": fmt.Sprintf("Stage %d", order), "code": fmt.Sprintf("S%d", order),
		"order": order, "trigger_event_code": fmt.Sprintf("E%d", order),
	}
	maps.Copy(body, stage)
	return c.post("/api/journeys/stage-templates/", body)
}

// journey begins one, of a new patient whose MRN is that of the encounter.
func (c *clinic) journey(template uuid.UUID, encounter string) journey {
	c.t.Helper()
	patient := c.patient("MRN-" + encounter)
	id := c.post("/api/journeys/instances/", fields{"journey_template": template, "patient": patient, "encounter_id": encounter})
	return journey{c, id, patient, template, encounter}
}

// A journey is one that runs.
type journey struct {
	*clinic
	id, patient, template uuid.UUID
	encounter             string
}

func (j journey) path() string { return "/api/journeys/instances/" + j.id.String() + "/" }

func (j journey) now() fields {
	j.t.Helper()
	return j.expect(j.t, http.StatusOK, "GET", j.path(), j.px, nil).json()
}

// stages are the journey's, in their order.
func (j journey) stages() []fields {
	j.t.Helper()
	var stages []fields
	for _, stage := range j.now()["stage_instances"].([]any) {
		stages = append(stages, stage.(fields))
	}
	return stages
}

// stage sends a change of the nth stage, from 1.
func (j journey) stage(t testing.TB, n, want int, change fields) answer {
	t.Helper()
	return j.expect(t, want, "PATCH", fmt.Sprintf("/api/journeys/stage-instances/%v/", j.stages()[n-1]["id"]), j.px, change)
}

func (j journey) progress() fields {
	j.t.Helper()
	return j.expect(j.t, http.StatusOK, "GET", j.path()+"progress/", j.px, nil).json()
}

// event sends an event about the journey as the PX Admin and returns its id.
func (j journey) event(code string, more fields) uuid.UUID {
	j.t.Helper()
	body := fields{"source_system": "his", "event_code": code, "encounter_id": j.encounter}
	maps.Copy(body, more)
	return j.create(j.px, "/api/integrations/events/", body)
}

// outcome is what became of an event, once the worker has decided on it.
func (c *clinic) outcome(event uuid.UUID) fields {
	c.t.Helper()
	var a answer
	dbtest.Eventually(c.t, "the event is processed", func() bool {
		a = c.expect(c.t, http.StatusOK, "GET", "/api/integrations/events/"+event.String()+"/", c.px, nil)
		return a.json()["status"] != "pending"
	})
	return a.json()
}

// at reads a time of an answer.
func at(t testing.TB, value any) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(value))
	must(t, err)
	return when
}

// hold runs a statement that locks rows, has all requests sent at once, waits until each waits for a
// lock, lets go, and returns their statuses: so the requests meet at their most delicate point.
func (s *system) hold(sql string, arg any, requests ...func() int) []int {
	s.t.Helper()
	return s.meet(pgx.Tx.Rollback, sql, arg, requests...)
}

// overtake is hold with a statement that stays: the requests find what it did where they had looked before.
func (s *system) overtake(sql string, arg any, requests ...func() int) []int {
	s.t.Helper()
	return s.meet(pgx.Tx.Commit, sql, arg, requests...)
}

func (s *system) meet(end func(pgx.Tx, context.Context) error, sql string, arg any, requests ...func() int) []int {
	s.t.Helper()
	ctx := context.Background()
	tx, err := s.db.Begin(ctx)
	must(s.t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	_, err = tx.Exec(ctx, sql, arg)
	must(s.t, err)
	type result struct{ i, status int }
	results := make(chan result, len(requests))
	for i, request := range requests {
		go func() { results <- result{i, request()} }()
	}
	dbtest.Eventually(s.t, "all requests wait for a lock", func() bool {
		return value[int](s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") >= len(requests)
	})
	must(s.t, end(tx, ctx))
	statuses := make([]int, len(requests))
	for range requests {
		r := <-results
		statuses[r.i] = r.status
	}
	return statuses
}
