package main

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/px360/px360/tests/hospitalday"
	"github.com/px360/px360/tests/hospitalday/demo"
)

// playDay plays the hospital day beside the other traffic, as `px360 demo` does, of one server after the other. What a
// fault interrupts is played again from its beginning: what is there already is found.
func (h *harness) playDay(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		server := h.servers[i%len(h.servers)]
		if _, err := demo.Run(ctx, demo.Options{URL: server.url(), Username: adminName, Password: adminPassword}); err == nil {
			h.dayPlayed = true
			return
		}
		h.ledger.count("times that the hospital day was interrupted", 1)
		sleep(ctx, time.Second)
	}
}

// A dayEvent is an event of the day as it is stored.
type dayEvent struct{ SourceSystem, SourceEventID, Status, Reason string }

// A dayJourney is what became of an encounter of the day.
type dayJourney struct {
	Encounter, Status string
	Stages            []string // codes of those that are completed, with an asterisk where a survey is scheduled
}

// checkDay compares the day's events and journeys with the model's. The events are stored in the order of the day, those
// that were sent twice once.
func (h *harness) checkDay(ctx context.Context) error {
	if !h.dayPlayed {
		h.say("the hospital day was not played to its end")
		return nil
	}
	day, err := hospitalday.Load()
	if err != nil {
		return err
	}
	conn, err := h.cluster.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	stored, err := rowsOf[dayEvent](ctx, conn, `SELECT source_system, source_event_id, status, reason FROM events WHERE source_system <> $1 ORDER BY seq`, sourceSystem)
	if err != nil {
		return err
	}
	rows, err := rowsOf[dayJourney](ctx, conn, `
		SELECT j.encounter_id AS encounter, j.status,
		    ARRAY(SELECT s.code || CASE WHEN v.id IS NULL THEN '' ELSE '*' END
		        FROM stage_instances s LEFT JOIN surveys v ON v.stage_instance_id = s.id
		        WHERE s.journey_instance_id = j.id AND s.status = 'completed' ORDER BY s."order", s.code)::text[] AS stages
		FROM journey_instances j JOIN hospitals h ON h.id = j.hospital_id WHERE h.code = $1`, hospitalday.DemoPlan().Hospital.Code)
	if err != nil {
		return err
	}
	journeys := map[string]*dayJourney{}
	for _, j := range rows {
		journeys[j.Encounter] = j
	}

	model, events := day.Model(hospitalday.DemoPlan(), h.began)
	events = slices.DeleteFunc(events, func(e hospitalday.ReceivedEvent) bool { return e.EncounterID == "" }) // which the API refuses
	want := model.Run(events)
	h.found.expect(checkDay, len(stored) == len(events), "%d events of the hospital day are stored, it has %d", len(stored), len(events))
	for i := range min(len(stored), len(events)) {
		got, event, outcome := stored[i], events[i], want.Outcomes[i]
		h.found.expect(checkDay, *got == dayEvent{event.SourceSystem, event.SourceEventID, outcome.Status, outcome.Reason},
			"event %d of the hospital day is %+v, in the model %s of %s: %s %s", i, *got, event.SourceEventID, event.SourceSystem, outcome.Status, outcome.Reason)
	}
	h.found.expect(checkDay, len(journeys) == len(want.Journeys), "%d journeys of the hospital day are there, it has %d", len(journeys), len(want.Journeys))
	for i, state := range want.Journeys {
		encounter := model.Journeys[i].EncounterID
		expected := dayJourney{Encounter: encounter, Status: state.Status, Stages: []string{}}
		for _, s := range state.Stages {
			switch {
			case s.Status != hospitalday.StageCompleted:
			case s.ScheduledSurvey != nil:
				expected.Stages = append(expected.Stages, s.Code+"*")
			default:
				expected.Stages = append(expected.Stages, s.Code)
			}
		}
		got := journeys[encounter]
		h.found.expect(checkDay, got != nil && reflect.DeepEqual(*got, expected), "journey %s of the hospital day is %+v, in the model %+v", encounter, got, expected)
	}
	return nil
}
