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

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/fixtures"
)

// A clinic is a hospital with a PX Admin and a Hospital Admin. The methods of the embedded Hospital
// insert rows directly; a test of a create operation uses post.
type clinic struct {
	*system
	*fixtures.Hospital
	px       string    // the access token of a PX Admin
	hospital uuid.UUID // its id
	admin    person    // of the hospital
}

type fields = map[string]any

func (s *system) clinic() *clinic {
	s.t.Helper()
	h := fixtures.NewHospital(s.t, s.db)
	return &clinic{
		system: s, Hospital: h, hospital: h.ID,
		px: s.person(uuid.Nil, "PX Admin").access, admin: s.person(h.ID, "Hospital Admin"),
	}
}

// post creates an object through the API. It sets the hospital if the body lacks one.
func (c *clinic) post(path string, body fields) uuid.UUID {
	c.t.Helper()
	body = maps.Clone(body)
	body["hospital"] = c.hospital
	return c.create(c.px, path, body)
}

// Options of a stage template.

type stageTemplate = db.StageTemplateInsertParams

func optional(s *stageTemplate)        { s.IsOptional = true }
func needsPhysician(s *stageTemplate)  { s.RequiresPhysician = true }
func needsDepartment(s *stageTemplate) { s.RequiresDepartment = true }

func triggeredBy(code string) func(*stageTemplate) {
	return func(s *stageTemplate) { s.TriggerEventCode = code }
}

// sendsSurvey makes a stage send a survey so many hours after its completion.
func sendsSurvey(survey uuid.UUID, hours int32) func(*stageTemplate) {
	return func(s *stageTemplate) { s.SurveyTemplate, s.AutoSendSurvey, s.SurveyDelayHours = &survey, true, hours }
}

// journey inserts a journey of a new patient whose MRN is "MRN-" and the encounter id.
func (c *clinic) journey(template uuid.UUID, encounter string) journey {
	c.t.Helper()
	patient := c.Patient("MRN-" + encounter)
	return journey{c, c.Journey(template, patient, encounter), patient, template, encounter}
}

// postJourney is journey through the API.
func (c *clinic) postJourney(template uuid.UUID, encounter string) journey {
	c.t.Helper()
	patient := c.Patient("MRN-" + encounter)
	id := c.post(journeyPath, fields{"journey_template": template, "patient": patient, "encounter_id": encounter})
	return journey{c, id, patient, template, encounter}
}

// A journey identifies a journey instance.
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

// stages returns the stages in their order.
func (j journey) stages() []fields {
	j.t.Helper()
	var stages []fields
	for _, stage := range j.now()["stage_instances"].([]any) {
		stages = append(stages, stage.(fields))
	}
	return stages
}

// stage sends a PATCH of the nth stage, from 1.
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

// outcome waits until the worker has processed the event and returns it.
func (c *clinic) outcome(event uuid.UUID) fields {
	c.t.Helper()
	var a answer
	dbtest.Eventually(c.t, "the event is processed", func() bool {
		a = c.expect(c.t, http.StatusOK, "GET", "/api/integrations/events/"+event.String()+"/", c.px, nil)
		return a.json()["status"] != "pending"
	})
	return a.json()
}

// at parses a time of an answer.
func at(t testing.TB, value any) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(value))
	must(t, err)
	return when
}

// sendWhileLocked runs a statement that locks rows, sends the requests concurrently, waits until all
// are blocked, rolls back, and returns their statuses. So the requests race for the same rows.
func (s *system) sendWhileLocked(sql string, arg any, requests ...func() int) []int {
	s.t.Helper()
	return s.sendBlocked(pgx.Tx.Rollback, sql, arg, requests...)
}

// sendBeforeCommit is sendWhileLocked, but commits the statement: the requests see its effect after checks
// that they made before.
func (s *system) sendBeforeCommit(sql string, arg any, requests ...func() int) []int {
	s.t.Helper()
	return s.sendBlocked(pgx.Tx.Commit, sql, arg, requests...)
}

func (s *system) sendBlocked(end func(pgx.Tx, context.Context) error, sql string, arg any, requests ...func() int) []int {
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
