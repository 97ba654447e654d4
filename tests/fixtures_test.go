package tests

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/fixtures"
)

// A clinic is a hospital with a PX Admin and a Hospital Admin. The methods of the embedded Hospital
// insert rows directly; a test of a create operation calls it.
type clinic struct {
	*system
	*fixtures.Hospital
	px       person    // a PX Admin
	hospital uuid.UUID // its id
	admin    person    // of the hospital
}

type fields = map[string]any

func (s *system) clinic() *clinic {
	s.t.Helper()
	h := fixtures.NewHospital(s.t, s.db)
	return &clinic{
		system: s, Hospital: h, hospital: h.ID,
		px: s.person(uuid.Nil, "PX Admin"), admin: s.person(h.ID, "Hospital Admin"),
	}
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

// createJourney is journey through the API.
func (c *clinic) createJourney(template uuid.UUID, encounter string) journey {
	c.t.Helper()
	patient := c.Patient("MRN-" + encounter)
	made := try(c.px.CreateJourneyInstance(context.Background(), client.JourneyInstanceCreate{
		Hospital: c.hospital, JourneyTemplate: template, Patient: patient, EncounterID: encounter,
	})).ok(c.t)
	return journey{c, made.ID, patient, template, encounter}
}

// A journey identifies a journey instance. Its methods call the API as the PX Admin.
type journey struct {
	*clinic
	id, patient, template uuid.UUID
	encounter             string
}

func (j journey) now() *client.JourneyInstanceDetail {
	j.t.Helper()
	return try(j.px.RetrieveJourneyInstance(context.Background(), j.id)).ok(j.t)
}

func (j journey) change(change client.JourneyInstanceUpdate) reply[client.JourneyInstanceDetail] {
	return try(j.px.UpdateJourneyInstance(context.Background(), j.id, change))
}

func (j journey) setStatus(status client.JourneyStatus) reply[client.JourneyInstanceDetail] {
	return j.change(client.JourneyInstanceUpdate{Status: &status})
}

// stages returns the stages in their order.
func (j journey) stages() []client.StageInstance {
	j.t.Helper()
	return j.now().StageInstances
}

// changeStage changes the nth stage, from 1.
func (j journey) changeStage(n int, change client.StageInstanceUpdate) reply[client.StageInstance] {
	j.t.Helper()
	return try(j.px.UpdateStageInstance(context.Background(), j.stages()[n-1].ID, change))
}

func (j journey) setStage(n int, status client.StageStatus) reply[client.StageInstance] {
	j.t.Helper()
	return j.changeStage(n, client.StageInstanceUpdate{Status: &status})
}

func (j journey) progress() *client.JourneyProgress {
	j.t.Helper()
	return try(j.px.RetrieveJourneyProgress(context.Background(), j.id)).ok(j.t)
}

// event sends an event about the journey and returns its id.
func (j journey) event(code string, more ...func(*client.EventCreate)) uuid.UUID {
	j.t.Helper()
	event := eventOf(j.encounter, append([]func(*client.EventCreate){coded(code)}, more...)...)
	return try(j.px.CreateEvent(context.Background(), event)).ok(j.t).ID
}

// outcome waits until the worker has processed the event and returns it.
func (c *clinic) outcome(event uuid.UUID) *client.Event {
	c.t.Helper()
	var e *client.Event
	dbtest.Eventually(c.t, "the event is processed", func() bool {
		e = try(c.px.RetrieveEvent(context.Background(), event)).ok(c.t)
		return e.Status != client.EventStatusPending
	})
	return e
}

// eventOf is an event of the encounter, by default one of his with the code E1.
func eventOf(encounter string, more ...func(*client.EventCreate)) client.EventCreate {
	event := client.EventCreate{SourceSystem: "his", EventCode: "E1", EncounterID: encounter}
	for _, change := range more {
		change(&event)
	}
	return event
}

// Options of an event.

func coded(code string) func(*client.EventCreate) {
	return func(e *client.EventCreate) { e.EventCode = code }
}

func from(source string) func(*client.EventCreate) {
	return func(e *client.EventCreate) { e.SourceSystem = source }
}

// withPayload sets the payload to the value as JSON.
func withPayload(value any) func(*client.EventCreate) {
	return func(e *client.EventCreate) { e.PayloadJSON = json.RawMessage(jsonText(value)) }
}

func withSourceID(id string) func(*client.EventCreate) {
	return func(e *client.EventCreate) { e.SourceEventID = &id }
}

// is reports whether a value that may be null is this one. Times are in UTC, as in answers.
func is[T comparable](value *T, want T) bool { return value != nil && *value == want }

// at is a time as answers have it.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, text)
	must(t, err)
	return when.UTC()
}

// sendWhileLocked runs a statement that locks rows, makes the calls concurrently, waits until all are
// blocked, rolls back, and returns their errors. So the calls race for the same rows.
func (s *system) sendWhileLocked(sql string, arg any, calls ...func() error) []error {
	s.t.Helper()
	return s.sendBlocked(pgx.Tx.Rollback, sql, arg, calls...)
}

// sendBeforeCommit is sendWhileLocked, but commits the statement: the calls see its effect after checks
// that they made before.
func (s *system) sendBeforeCommit(sql string, arg any, calls ...func() error) []error {
	s.t.Helper()
	return s.sendBlocked(pgx.Tx.Commit, sql, arg, calls...)
}

func (s *system) sendBlocked(end func(pgx.Tx, context.Context) error, sql string, arg any, calls ...func() error) []error {
	s.t.Helper()
	ctx := context.Background()
	tx, err := s.db.Begin(ctx)
	must(s.t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	_, err = tx.Exec(ctx, sql, arg)
	must(s.t, err)
	errs := make([]error, len(calls))
	var group sync.WaitGroup
	for i, call := range calls {
		group.Go(func() { errs[i] = call() })
	}
	dbtest.Eventually(s.t, "all calls wait for a lock", func() bool {
		return value[int](s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") >= len(calls)
	})
	must(s.t, end(tx, ctx))
	group.Wait()
	return errs
}

// oneError is the one error among those of concurrent calls.
func oneError(t testing.TB, errs []error) error {
	t.Helper()
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(failed) != 1 {
		t.Fatalf("%d calls failed, want one: %v", len(failed), failed)
	}
	return failed[0]
}
