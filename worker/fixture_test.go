package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/fixtures"
	"github.com/px360/px360/tests/hospitalday"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(processURL); url != "" {
		os.Exit(runProcess(url))
	}
	dbtest.Main(m)
}

// fixture is a database set up for a model: hospitals, people and templates at first, journeys when
// a test creates them.
type fixture struct {
	testing.TB
	*queries.DB
	workers     *queries.DB // likewise, for the workers
	model       hospitalday.Model
	hospitals   map[string]*fixtures.Hospital
	surveys     map[string]uuid.UUID // by hospital and name
	physicians  map[uuid.UUID]string
	departments map[uuid.UUID]string
	journeys    []uuid.UUID // one for each of the model's, created or not
	templates   []uuid.UUID // likewise
	patients    []uuid.UUID // likewise
}

func newFixture(t testing.TB, model hospitalday.Model) *fixture {
	t.Helper()
	url := dbtest.New(t)
	open := func(name string) *queries.DB {
		database, err := queries.Open(t.Context(), url, slowly(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(database.Close)
		return database
	}
	f := &fixture{TB: t, DB: open("test"), workers: open("worker"), model: model}
	f.setUp()
	return f
}

// slowly are options of a pool with long timeouts: however busy the machine is that tests this, its slowness is not what
// is tested.
func slowly(name string) queries.Options {
	o := queries.DefaultOptions()
	o.Name = name
	o.LockTimeout, o.StatementTimeout, o.IdleInTransaction, o.AcquireTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	return o
}

func (f *fixture) setUp() {
	f.hospitals, f.surveys = map[string]*fixtures.Hospital{}, map[string]uuid.UUID{}
	f.physicians, f.departments = map[uuid.UUID]string{}, map[uuid.UUID]string{}
	for hospital, licenses := range f.model.Physicians {
		for _, license := range licenses {
			f.physicians[f.hospital(hospital).Physician(license)] = license
		}
	}
	for hospital, codes := range f.model.Departments {
		for _, code := range codes {
			f.departments[f.hospital(hospital).Department(code)] = code
		}
	}
	for _, j := range f.model.Journeys {
		h := f.hospital(j.Hospital)
		template := h.Template()
		for i, s := range j.Stages {
			h.Stage(template, i+1, func(p *db.StageTemplateInsertParams) {
				p.Name, p.Code, p.Order, p.TriggerEventCode = s.Code, s.Code, int32(s.Order), s.TriggerEventCode
				p.SurveyTemplate, p.AutoSendSurvey, p.SurveyDelayHours = f.survey(j.Hospital, s.SurveyTemplate), s.AutoSendSurvey, int32(s.SurveyDelayHours)
				p.RequiresPhysician, p.RequiresDepartment, p.IsOptional = s.RequiresPhysician, s.RequiresDepartment, s.IsOptional
			})
		}
		patient := h.Patient(j.PatientMRN, func(p *db.PatientInsertParams) { p.NationalID = j.PatientNationalID })
		f.templates, f.patients = append(f.templates, template), append(f.patients, patient)
		f.journeys = append(f.journeys, uuid.New())
	}
}

func (f *fixture) hospital(name string) *fixtures.Hospital {
	h, found := f.hospitals[name]
	if !found {
		h = fixtures.NewHospital(f, f.Pool, func(p *db.HospitalInsertParams) { p.Name = name })
		f.hospitals[name] = h
	}
	return h
}

func (f *fixture) survey(hospital, name string) *uuid.UUID {
	if name == "" {
		return nil
	}
	id, found := f.surveys[hospital+"/"+name]
	if !found {
		id = f.hospital(hospital).Survey(func(p *db.SurveyTemplateInsertParams) {
			p.Name, p.IsActive = name, slices.Contains(f.model.ActiveSurveys, name)
		})
		f.surveys[hospital+"/"+name] = id
	}
	return &id
}

func (f *fixture) exec(sql string, args ...any) {
	f.Helper()
	if _, err := f.Pool.Exec(context.Background(), sql, args...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

// one returns the single value that a query gives.
func one[T any](f *fixture, sql string, args ...any) (value T) {
	f.Helper()
	if err := f.Pool.QueryRow(context.Background(), sql, args...).Scan(&value); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
	return value
}

// create makes the model's journey the way in which the server does. It may be called from any goroutine.
func (f *fixture) create(index int) {
	f.Helper()
	err := f.InTx(context.Background(), func(q *db.Queries) error { return f.createIn(q, index) })
	if err != nil {
		f.Error(err)
	}
}

func (f *fixture) createIn(q *db.Queries, index int) error {
	ctx, j := context.Background(), f.model.Journeys[index]
	if err := q.EncounterLock(ctx, db.EncounterLockParams{EncounterID: j.EncounterID}); err != nil {
		return err
	}
	status := "active"
	if j.Cancelled {
		status = "cancelled"
	}
	hospital, start := f.hospitals[j.Hospital].ID, j.StatedStart
	if start.IsZero() {
		start = time.Now()
	}
	err := fixtures.InsertJourney(q, ctx, db.JourneyInsertParams{
		JourneyTemplate: f.templates[index], Patient: f.patients[index], EncounterID: j.EncounterID, Hospital: hospital,
		Status: status, Metadata: []byte(`{}`), StartedAt: start, StartedAtStated: !j.StatedStart.IsZero(),
		ID: f.journeys[index],
	})
	if err != nil {
		return err
	}
	for _, code := range j.Skipped {
		var id uuid.UUID
		stages, err := q.StageListOf(ctx, []uuid.UUID{f.journeys[index]})
		if err != nil {
			return err
		}
		for i, s := range f.inOrder(index) {
			if s.Code == code {
				id = stages[i].ID
			}
		}
		row, err := q.StageLock(ctx, db.StageLockParams{ID: id})
		if err != nil {
			return err
		}
		row.Status = "skipped"
		if err := q.StageUpdate(ctx, db.StageUpdateParams(row)); err != nil {
			return err
		}
	}
	_, err = q.EventRequeue(ctx, db.EventRequeueParams{EncounterID: j.EncounterID, Hospital: hospital})
	return err
}

// inOrder returns the stages of a journey in the order of the database.
func (f *fixture) inOrder(index int) []hospitalday.StageState {
	m := hospitalday.Model{Journeys: f.model.Journeys[index : index+1]}
	return m.Run(nil).Journeys[0].Stages
}

// send stores events in their order, as one request of a sender of that hospital does, of one for all hospitals ("") or
// of one for some ("among H0 H2"), and returns their ids. It may be called from any goroutine.
func (f *fixture) send(hospital string, events ...hospitalday.Event) []uuid.UUID {
	f.Helper()
	p := db.EventInsertParams{
		SenderKinds: []string{"user"}, SenderIds: []uuid.UUID{uuid.New()}, ClientIps: []string{""}, RequestIds: []string{""},
		Hospitals: []uuid.UUID{uuid.Nil}, // of none
	}
	if h := f.hospitals[hospital]; h != nil {
		p.Hospitals[0] = h.ID
	}
	if among, ok := strings.CutPrefix(hospital, "among "); ok {
		var ids []string
		for name := range strings.FieldsSeq(among) {
			ids = append(ids, f.hospitals[name].ID.String())
		}
		p.AmongHospitals = []string{"{" + strings.Join(ids, ",") + "}"}
	}
	for _, e := range events {
		p.Ids = append(p.Ids, uuid.Must(uuid.NewV7()))
		p.SourceSystems = append(p.SourceSystems, "his")
		p.EventCodes = append(p.EventCodes, e.EventCode)
		p.EncounterIds = append(p.EncounterIds, e.EncounterID)
		p.PatientIdentifiers = append(p.PatientIdentifiers, e.PatientIdentifier)
		payload := string(e.PayloadJSON)
		if payload == "" {
			payload = "{}"
		}
		p.Payloads = append(p.Payloads, payload)
		p.SourceEventIds = append(p.SourceEventIds, "")
		p.Requests = append(p.Requests, 1)
	}
	err := f.InTx(context.Background(), func(q *db.Queries) error {
		_, err := q.EventInsert(context.Background(), p)
		return err
	})
	if err != nil {
		f.Error(err)
	}
	return p.Ids
}

// start runs a worker until the test ends or stop is called, whichever comes first.
func (f *fixture) start(change ...func(*Options)) (stop func()) {
	f.Helper()
	return f.run(f.worker(change...))
}

// worker is a worker of the default options, changed by these functions, that logs to the test.
func (f *fixture) worker(change ...func(*Options)) *Worker {
	o := DefaultOptions()
	o.Log = slog.New(slog.NewTextHandler(f.Output(), nil))
	for _, c := range change {
		c(&o)
	}
	return New(f.workers, o)
}

func (f *fixture) run(w *Worker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	}
	f.Cleanup(stop)
	return stop
}

func (f *fixture) waitUntilDrained() {
	f.Helper()
	dbtest.Eventually(f, "nothing is pending", func() bool {
		return one[int](f, `SELECT count(*) FROM events WHERE status = 'pending'`) == 0
	})
}

// verdict is an event's status and reason, waited for while it is pending.
func (f *fixture) verdict(id uuid.UUID) string {
	f.Helper()
	var verdict string
	dbtest.Eventually(f, "the event is done", func() bool {
		verdict = one[string](f, `SELECT trim(status || ' ' || reason) FROM events WHERE id = $1`, id)
		return verdict != "pending"
	})
	return verdict
}

// simple is a model of one hospital with a journey for each encounter, whose stages A, B, C… are
// triggered by the events of the same names.
func simple(stages string, encounters ...string) hospitalday.Model {
	var m hospitalday.Model
	for i, encounter := range encounters {
		j := hospitalday.Journey{Hospital: "H", EncounterID: encounter, PatientMRN: fmt.Sprint("M", i)}
		for order, code := range strings.Split(stages, "") {
			j.Stages = append(j.Stages, hospitalday.Stage{Code: code, Order: order, TriggerEventCode: code})
		}
		m.Journeys = append(m.Journeys, j)
	}
	return m
}

func eventOf(encounter, code string) hospitalday.Event {
	return hospitalday.Event{EncounterID: encounter, EventCode: code}
}

// goroutines returns the stacks of the goroutines that workers started.
func goroutines() (found []string) {
	all := make([]byte, 1<<22)
	all = all[:runtime.Stack(all, true)]
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if strings.Contains(stack, "worker.(*Worker).") || strings.Contains(stack, "worker.(*poller).") {
			found = append(found, stack)
		}
	}
	return found
}
