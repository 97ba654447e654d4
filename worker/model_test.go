package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/tests/hospitalday"
)

// TestModel feeds random hospitals with random events, in requests of random sizes sent by several
// senders at once, half of the journeys created in between, to three workers at once, and compares
// what comes out with the reference model.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			g := &generator{rand.New(rand.NewPCG(seed, 360))}
			f := newFixture(t, g.model())
			for _, batch := range []int{7, 50, 1000} {
				f.start(func(o *Options) { o.Batch, o.PollInterval = batch, 50*time.Millisecond })
			}
			f.live(g)
			f.waitUntilDrained()
			f.compare()
		})
	}
}

// live sends events and creates journeys, until all is sent and every journey is there.
func (f *fixture) live(g *generator) {
	late := []int{}
	for i, j := range f.model.Journeys {
		// Whether there are two candidates depends on when the second journey comes, by design.
		shared := slices.ContainsFunc(f.model.Journeys, func(o hospitalday.Journey) bool {
			return o.EncounterID == j.EncounterID && o.Hospital != j.Hospital
		})
		if shared || g.IntN(2) == 0 {
			f.create(i)
		} else {
			late = append(late, i)
		}
	}
	// What is sent of an encounter at the same time has no order. So each sender has encounters of its
	// own, and also random numbers of its own, so that what it sends depends on the seed alone.
	const senderCount = 3
	encounters := make([]hospitalday.Model, senderCount)
	for _, j := range f.model.Journeys {
		m := &encounters[crc32.ChecksumIEEE([]byte(j.EncounterID))%senderCount]
		m.Journeys = append(m.Journeys, j)
	}
	var senders sync.WaitGroup
	for _, m := range encounters {
		own := &generator{rand.New(rand.NewPCG(g.Uint64(), 1))}
		senders.Go(func() {
			for range 12 {
				events := make([]hospitalday.Event, 1+own.IntN(40))
				for i := range events {
					events[i] = own.event(m)
				}
				f.send(own.pick("", "H0", "H1", "H2", "among H0 H2", "among H1"), events...)
			}
		})
	}
	senders.Go(func() {
		for _, i := range late {
			f.create(i)
		}
	})
	senders.Wait()
}

// generator makes random models and events, from few names so that they meet.
type generator struct{ *rand.Rand }

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }
func (g *generator) one(in int) bool            { return g.IntN(in) == 0 }

func (g *generator) model() hospitalday.Model {
	m := hospitalday.Model{
		ActiveSurveys: []string{"Asked"},
		Physicians:    map[string][]string{"H0": {"L0", "L1"}, "H1": {"L1"}, "H2": {}},
		Departments:   map[string][]string{"H0": {"D0"}, "H1": {"D0", "D1"}, "H2": {}},
	}
	for h := range 3 {
		for e := range 15 {
			if g.one(3) {
				continue
			}
			id := fmt.Sprint("E", h, e)
			if e == 0 {
				id = "shared"
			}
			j := hospitalday.Journey{
				Hospital: fmt.Sprint("H", h), EncounterID: id, PatientMRN: fmt.Sprint("M", h, e), Cancelled: g.one(10),
			}
			if g.one(2) {
				j.PatientNationalID = fmt.Sprint("N", h, e)
			}
			if g.one(2) {
				j.StatedStart = time.Unix(g.Int64N(1700000000), 0)
			}
			for s := range g.IntN(6) {
				code := fmt.Sprint("S", s)
				j.Stages = append(j.Stages, hospitalday.Stage{
					Code: code, Order: g.IntN(3), TriggerEventCode: g.code(), AutoSendSurvey: g.one(2),
					SurveyTemplate: g.pick("", "Asked", "Asked", "Retired"), SurveyDelayHours: g.IntN(50),
					RequiresPhysician: g.one(5), RequiresDepartment: g.one(5), IsOptional: g.one(3),
				})
				if g.one(8) {
					j.Skipped = append(j.Skipped, code)
				}
			}
			m.Journeys = append(m.Journeys, j)
		}
	}
	return m
}

func (g *generator) code() string { return g.pick("A", "B", "C", "D", "E") }

func (g *generator) event(m hospitalday.Model) hospitalday.Event {
	j := m.Journeys[g.IntN(len(m.Journeys))]
	e := hospitalday.Event{EventCode: g.code(), EncounterID: j.EncounterID, PayloadJSON: g.payload()}
	if g.one(40) {
		e.EncounterID = "nobody's"
	}
	switch g.IntN(12) {
	case 0:
		e.PatientIdentifier = "M?"
	case 1, 2, 3:
		e.PatientIdentifier = j.PatientMRN
	case 4, 5:
		e.PatientIdentifier = j.PatientNationalID
	}
	return e
}

func (g *generator) payload() json.RawMessage {
	if g.one(8) {
		return json.RawMessage(g.pick(`null`, `[]`, `"timestamp"`, `7`, `[{"physician_license": "L0"}]`,
			`{"physician_license": 7, "department_code": {"code": "D0"}, "timestamp": null}`,
			`{"Physician_License": "L0", "DEPARTMENT_CODE": "D0", "Timestamp": "2001-01-01T00:00:00Z"}`,
			`{"timestamp": true, "physician_license": "L1", "department_code": "D0"}`, `{"timestamp": 1e300}`, `{"timestamp": 86400.000001}`,
			fmt.Sprintf(`{"timestamp": %d}`, g.Int64N(1700000000)), fmt.Sprintf(`{"timestamp": %d.5}`, g.Int64N(1700000000000)),
			`{"nested": {"physician_license": "L0"}, "department_code": ["D0"], "timestamp": ["2001-01-01T00:00:00Z"]}`,
			`{"physician_license": "L9", "physician_license": "L0", "department_code": ""}`))
	}
	payload := map[string]string{}
	if !g.one(4) {
		payload["physician_license"] = g.pick("L0", "L1", "L1", "L1", "l1", "L2", "ل")
	}
	if !g.one(4) {
		payload["department_code"] = g.pick("D0", "D0", "D0", "D1", "D2")
	}
	if !g.one(3) {
		at := time.Unix(g.Int64N(1700000000), g.Int64N(1e9)).In(time.FixedZone("", 60*(g.IntN(1600)-800)))
		payload["timestamp"] = g.pick("2999-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "soon", "", "1899-12-31T00:00:00Z",
			strings.Repeat("2", 200), at.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano),
			at.Format("2006-01-02 15:04-0700"), at.Format("20060102150405.9999-0700"), at.Format("2006-01-02T15:04:05"))
	}
	text, _ := json.Marshal(payload)
	return text
}

// compare runs the stored events through the model in the order in which they were received, and
// compares what the workers made of them and of the journeys.
func (f *fixture) compare() {
	f.Helper()
	events, ids, got := f.storedEvents()
	want := f.model.Run(events)
	stages := f.storedStages()
	for i, w := range want.Outcomes {
		g := got[i]
		journey, stage := uuid.Nil, ""
		if w.Journey >= 0 {
			journey = f.journeys[w.Journey]
		}
		if g.stage != uuid.Nil {
			stage = stages.codes[g.stage]
		}
		if g.status != w.Status || g.reason != w.Reason || g.journey != journey || stage != w.Stage {
			f.Errorf("event %d, %s of %s and %q from %q with %s:\ngot  %s %s, stage %q, journey %v\nwant %s %s, stage %q, journey %v",
				i, events[i].EventCode, events[i].EncounterID, events[i].PatientIdentifier, events[i].Hospital, events[i].PayloadJSON, g.status, g.reason, stage, g.journey, w.Status, w.Reason, w.Stage, journey)
		}
		if (len(g.warnings) > 0) != w.Warned {
			f.Errorf("event %d with %s, received at %v: warnings %q, want %v", i, events[i].PayloadJSON, events[i].ReceivedAt, g.warnings, w.Warned)
		}
		if (g.message == "") != (g.reason == "") || g.attempts < 1 || g.tries != 0 || g.processedAt.Before(events[i].ReceivedAt) {
			f.Errorf("event %d: message %q, %d attempts, %d tries, processed at %v", i, g.message, g.attempts, g.tries, g.processedAt)
		}
		if survey := stages.surveys[g.stage].id; g.status == rules.EventProcessed && (g.survey != survey || stages.completedBy[g.stage] != ids[i]) {
			f.Errorf("event %d names survey %v, its stage has %v and was completed by %v", i, g.survey, survey, stages.completedBy[g.stage])
		}
	}
	for i, w := range want.Journeys {
		var status string
		var completedAt *time.Time
		if err := f.Pool.QueryRow(context.Background(), `SELECT status, completed_at FROM journey_instances WHERE id = $1`,
			f.journeys[i]).Scan(&status, &completedAt); err != nil {
			f.Fatal(err)
		}
		if status != w.Status || completedAt != nil && !completedAt.Equal(w.CompletedAt) {
			f.Errorf("journey %d: %s at %v, want %s at %v", i, status, completedAt, w.Status, w.CompletedAt)
		}
		if g := stages.of[f.journeys[i]]; !reflect.DeepEqual(g, summaries(w.Stages)) {
			f.Errorf("journey %d:\ngot  %v\nwant %v", i, g, summaries(w.Stages))
		}
	}
}

// storedEvent is what became of an event.
type storedEvent struct {
	status, reason, message string
	attempts, tries         int
	processedAt             time.Time
	journey, stage, survey  uuid.UUID
	warnings                []string
}

func (f *fixture) storedEvents() (events []hospitalday.ReceivedEvent, ids []uuid.UUID, got []storedEvent) {
	names := map[uuid.UUID]string{}
	for name, h := range f.hospitals {
		names[h.ID] = name
	}
	rows, _ := f.Pool.Query(context.Background(), `
		SELECT id, event_code, encounter_id, patient_identifier, payload_json, coalesce(hospital_id, $1), among_hospital_ids, received_at, status,
			reason, error_message, attempts, tries, processed_at, coalesce(journey_instance_id, $1), coalesce(stage_instance_id, $1),
			coalesce(survey_id, $1), warnings
		FROM events ORDER BY seq`, uuid.Nil)
	for rows.Next() {
		var e hospitalday.ReceivedEvent
		var id, hospital uuid.UUID
		var among []uuid.UUID
		var g storedEvent
		if err := rows.Scan(&id, &e.EventCode, &e.EncounterID, &e.PatientIdentifier, &e.PayloadJSON, &hospital, &among, &e.ReceivedAt,
			&g.status, &g.reason, &g.message, &g.attempts, &g.tries, &g.processedAt, &g.journey, &g.stage, &g.survey, &g.warnings); err != nil {
			f.Fatal(err)
		}
		e.Hospital = names[hospital]
		for _, id := range among {
			e.Among = append(e.Among, names[id])
		}
		events, ids, got = append(events, e), append(ids, id), append(got, g)
	}
	if rows.Err() != nil {
		f.Fatal(rows.Err())
	}
	return events, ids, got
}

// storedStages is what became of all stages.
type storedStages struct {
	codes       map[uuid.UUID]string
	completedBy map[uuid.UUID]uuid.UUID
	surveys     map[uuid.UUID]survey
	of          map[uuid.UUID][]string // summaries, by journey, in their order
}

type survey struct {
	id       uuid.UUID
	template string
	dueAt    time.Time
}

func (f *fixture) storedStages() storedStages {
	s := storedStages{map[uuid.UUID]string{}, map[uuid.UUID]uuid.UUID{}, map[uuid.UUID]survey{}, map[uuid.UUID][]string{}}
	rows, _ := f.Pool.Query(context.Background(), `
		SELECT s.id, s.journey_instance_id, s.code, s.status, s.completed_at, coalesce(s.completed_by_event, $1),
			coalesce(s.physician_id, $1), coalesce(s.department_id, $1), coalesce(v.id, $1), coalesce(t.name, ''), v.due_at
		FROM stage_instances s
		LEFT JOIN surveys v ON v.stage_instance_id = s.id
		LEFT JOIN survey_templates t ON t.id = v.survey_template_id
		ORDER BY s.journey_instance_id, s."order", s.code`, uuid.Nil)
	defer rows.Close()
	for rows.Next() {
		var id, journey, by, physician, department uuid.UUID
		var code, status string
		var completedAt, dueAt *time.Time
		var v survey
		if err := rows.Scan(&id, &journey, &code, &status, &completedAt, &by, &physician, &department, &v.id, &v.template, &dueAt); err != nil {
			f.Fatal(err)
		}
		if dueAt != nil {
			v.dueAt = *dueAt
		}
		s.codes[id], s.completedBy[id], s.surveys[id] = code, by, v
		s.of[journey] = append(s.of[journey],
			summary(code, status, completedAt, f.physicians[physician], f.departments[department], v.template, v.dueAt))
	}
	if rows.Err() != nil {
		f.Fatal(rows.Err())
	}
	return s
}

func summaries(stages []hospitalday.StageState) (list []string) {
	for _, s := range stages {
		var v survey
		if s.ScheduledSurvey != nil {
			v = survey{template: s.ScheduledSurvey.Template, dueAt: s.ScheduledSurvey.DueAt}
		}
		list = append(list, summary(s.Code, s.Status, &s.CompletedAt, s.Physician, s.Department, v.template, v.dueAt))
	}
	return list
}

func summary(code, status string, completedAt *time.Time, physician, department, survey string, dueAt time.Time) string {
	if completedAt == nil {
		completedAt = new(time.Time)
	}
	return fmt.Sprintf("%s %s %v by %q in %q asks %q at %v", code, status, completedAt.UTC(), physician, department, survey, dueAt.UTC())
}
