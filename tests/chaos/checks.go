package main

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/tests/hospitalday"
)

// checkAll compares what was acknowledged with what is there.
func (h *harness) checkAll(t *truth, faults []happened) {
	h.checkStorage(t)
	for _, v := range h.ledger.visits {
		h.checkVisit(t, v)
	}
	h.checkAudit(t)
	h.checkWaiting(t, faults)
}

// checkStorage: what was acknowledged is stored once, what was refused is not, and nothing else is.
func (h *harness) checkStorage(t *truth) {
	found := h.found
	for _, e := range h.ledger.events {
		stored := len(t.events[e.number])
		switch {
		case !e.ack.IsZero():
			found.expect(checkStored, stored == 1, "event %d of %s, acknowledged at %s, is stored %d times",
				e.number, e.visit.encounter, e.ack.Format(time.TimeOnly), stored)
		case e.unknown:
			found.expect(checkStored, stored <= 1, "event %d of %s, of which nobody knows, is stored %d times", e.number, e.visit.encounter, stored)
		default:
			found.expect(checkRefused, stored == 0, "event %d of %s, never accepted, is stored %d times", e.number, e.visit.encounter, stored)
		}
		if e.id != uuid.Nil && stored == 1 {
			found.expect(checkStored, t.events[e.number][0].ID == e.id, "event %d has another id than was answered", e.number)
		}
	}
	found.look(checkUnsent, len(t.events))
	for number, rows := range t.events {
		if number >= int64(len(h.ledger.events)) {
			found.add(checkUnsent, "event %d was never made, and is stored %d times", number, len(rows))
		}
	}
	if t.strange > 0 {
		found.add(checkUnsent, "%d events without a number are stored", t.strange)
	}
}

// checkVisit compares a visit with the model's.
func (h *harness) checkVisit(t *truth, v *visit) {
	rows := h.countedOnce(t.visits[v.encounter])
	h.checkOrder(v, t)
	journey := t.journeys[v.encounter]
	if v.created {
		h.found.expect(checkJourneys, t.byID[v.journey] != nil, "journey of %s was acknowledged and is not there", v.encounter)
	}
	if v.refused {
		h.found.expect(checkRefused, journey == nil && t.journeys[v.provisional()] == nil, "journey of %s was never accepted and is there", v.encounter)
	}
	for _, row := range rows {
		if e := h.ledger.events[*row.Number]; e.poison != "" {
			h.found.expect(checkPoison, row.Status == hospitalday.EventFailed && row.Reason == "internal_error" && row.Attempts <= 3,
				"event %d (%s) is %s %s after %d attempts", e.number, e.poison, row.Status, row.Reason, row.Attempts)
		}
	}
	if v.unresolved {
		return
	}
	h.checkModel(v, rows, journey)
}

// countedOnce leaves out repeats of an event, which checkStorage has told.
func (h *harness) countedOnce(rows []*storedEvent) []*storedEvent {
	seen := map[int64]bool{}
	return slices.DeleteFunc(slices.Clone(rows), func(row *storedEvent) bool {
		if row.Number == nil || *row.Number >= int64(len(h.ledger.events)) || seen[*row.Number] {
			return true
		}
		seen[*row.Number] = true
		return false
	})
}

// checkOrder: each event was answered before the next was sent, or came before it in a bulk.
func (h *harness) checkOrder(v *visit, t *truth) {
	last := int64(-1)
	for _, e := range v.events {
		if e.ack.IsZero() || len(t.events[e.number]) == 0 {
			continue
		}
		seq := t.events[e.number][0].Seq
		h.found.expect(checkOrder, seq > last, "event %d of %s has seq %d, one before it has %d", e.number, v.encounter, seq, last)
		last = seq
	}
}

// handAfter is how many events of a visit come before the stage that is completed by hand.
const handAfter = 2

// checkModel runs the model on the visit's events, in the order in which they are stored.
func (h *harness) checkModel(v *visit, rows []*storedEvent, journey *storedJourney) {
	model := hospitalday.Model{ActiveSurveys: []string{surveyName}}
	if journey != nil {
		model.Journeys = []hospitalday.Journey{{
			Hospital: "H", EncounterID: v.encounter, PatientMRN: patientMRN, StatedStart: v.startedAt, Stages: stagesOf(v.byHand),
		}}
	}
	var applied []*storedEvent // nil: by hand
	var events []hospitalday.ReceivedEvent
	byHand := v.byHand && journey != nil
	for _, row := range rows {
		e := h.ledger.events[*row.Number]
		if e.poison != "" || row.Status == "pending" {
			continue
		}
		if e.afterCancel && v.cancelled {
			h.found.expect(checkOutcome, row.Status == hospitalday.EventIgnored && row.Reason == hospitalday.ReasonJourneyNotActive,
				"event %d of %s, cancelled before, is %s %s", e.number, v.encounter, row.Status, row.Reason)
			continue
		}
		if byHand && slices.Index(v.events, e) >= handAfter {
			byHand = false
			if at := journey.handAt(); at != nil {
				applied, events = append(applied, nil), append(events, handEvent(v, *at))
			}
		}
		applied = append(applied, row)
		events = append(events, hospitalday.ReceivedEvent{
			Event: hospitalday.Event{
				SourceSystem: sourceSystem, EventCode: e.code, EncounterID: v.encounter, PatientIdentifier: patientMRN, PayloadJSON: e.body,
			},
			Hospital: "H", ReceivedAt: row.ReceivedAt,
		})
	}
	if byHand {
		if at := journey.handAt(); at != nil {
			applied, events = append(applied, nil), append(events, handEvent(v, *at))
		}
	}
	result := model.Run(events)
	by := map[string]uuid.UUID{} // the event that completes a stage
	for i, outcome := range result.Outcomes {
		if applied[i] == nil {
			continue
		}
		h.found.expect(checkOutcome, applied[i].Status == outcome.Status && applied[i].Reason == outcome.Reason,
			"event %d of %s is %s %s, in the model %s %s", *applied[i].Number, v.encounter, applied[i].Status, applied[i].Reason, outcome.Status, outcome.Reason)
		if outcome.Status == hospitalday.EventProcessed {
			by[outcome.Stage] = applied[i].ID
		}
	}
	if journey != nil {
		h.compareJourney(v, journey, result.Journeys[0], by)
	}
}

// handEvent is what completing a stage by hand is to the model.
func handEvent(v *visit, at time.Time) hospitalday.ReceivedEvent {
	return hospitalday.ReceivedEvent{
		Event: hospitalday.Event{EventCode: codeHand, EncounterID: v.encounter}, Hospital: "H", ReceivedAt: at,
	}
}

// handAt is when the stage that is completed by hand was completed; nil if it was not.
func (j *storedJourney) handAt() *time.Time {
	for _, s := range j.stages {
		if s.Order == 5 {
			return s.CompletedAt
		}
	}
	return nil
}

func (h *harness) compareJourney(v *visit, journey *storedJourney, want hospitalday.JourneyState, by map[string]uuid.UUID) {
	status := want.Status
	if v.cancelled {
		status = hospitalday.JourneyCancelled
	}
	h.found.expect(checkJourneys, journey.Status == status && same(journey.CompletedAt, want.CompletedAt),
		"journey of %s is %s (%s), in the model %s (%s)", v.encounter, journey.Status, show(journey.CompletedAt), status, want.CompletedAt.Format(time.RFC3339Nano))
	h.found.expect(checkStages, len(journey.stages) == len(want.Stages), "journey of %s has %d stages", v.encounter, len(journey.stages))
	for i := range min(len(journey.stages), len(want.Stages)) {
		got, want := journey.stages[i], want.Stages[i]
		event := uuid.Nil
		if got.Event != nil {
			event = *got.Event
		}
		h.found.expect(checkStages, got.Status == want.Status && same(got.CompletedAt, want.CompletedAt) && event == by[want.Code],
			"stage %s of %s is %s (%s, by %s), in the model %s (%s, by %s)", want.Code, v.encounter,
			got.Status, show(got.CompletedAt), event, want.Status, want.CompletedAt.Format(time.RFC3339Nano), by[want.Code])
		surveys := int64(0)
		due := time.Time{}
		if want.ScheduledSurvey != nil {
			surveys, due = 1, want.ScheduledSurvey.DueAt
		}
		h.found.expect(checkSurveys, got.Surveys == surveys && same(got.SurveyDue, due),
			"stage %s of %s has %d surveys (due %s), in the model %d (%s)", want.Code, v.encounter, got.Surveys, show(got.SurveyDue), surveys, due.Format(time.RFC3339Nano))
	}
}

func same(got *time.Time, want time.Time) bool {
	return got == nil && want.IsZero() || got != nil && got.Equal(want)
}

func show(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (h *harness) checkAudit(t *truth) {
	for _, c := range h.ledger.changes {
		h.found.expect(checkAudit, t.audits[c.request] == 1, "%s of %s (request %s) has %d audit rows", c.operation, c.object, c.request, t.audits[c.request])
	}
}

// longestWait is how long an event may wait besides the time in which faults excuse it. A poison event that hangs costs the
// others of its batch a statement_timeout of 10 s, and the poller that tries it alone another one.
const longestWait = 30 * time.Second

// checkWaiting: no event waited for long without an excuse. Those that wait for their journey, for a poison event or to be
// reprocessed are left out.
func (h *harness) checkWaiting(t *truth, faults []happened) {
	slices.SortFunc(faults, func(a, b happened) int { return a.begin.Compare(b.begin) })
	for _, v := range h.ledger.visits {
		if v.waits() {
			continue
		}
		for _, row := range t.visits[v.encounter] {
			end := h.ended
			if row.ProcessedAt != nil {
				end = *row.ProcessedAt
			}
			wait := unexcused(row.ReceivedAt, end, faults)
			h.found.expect(checkWaits, wait <= longestWait, "an event of %s, received at %s, waited %s, %s of it beside any fault",
				v.encounter, row.ReceivedAt.Local().Format(time.TimeOnly), end.Sub(row.ReceivedAt).Round(time.Second), wait.Round(time.Second))
		}
	}
}

// waits reports whether events of the visit wait for something of their own.
func (v *visit) waits() bool {
	if v.isLate {
		return true
	}
	for i, s := range v.steps {
		if s.kind == stepCreate && i > 0 || s.kind == stepRename || s.kind == stepReprocess {
			return true
		}
	}
	return slices.ContainsFunc(v.events, func(e *event) bool { return e.poison != "" })
}

// unexcused is the part of a time that no fault excuses. The faults are in the order of their beginning.
func unexcused(from, to time.Time, faults []happened) time.Duration {
	var wait time.Duration
	for _, f := range faults {
		if f.begin.After(from) {
			if !f.begin.Before(to) {
				break
			}
			wait += f.begin.Sub(from)
			from = f.begin
		}
		if excused := f.excused(); excused.After(from) {
			from = excused
		}
	}
	return wait + max(0, to.Sub(from))
}
