package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/tests/hospitalday"
)

// The event codes of the harness. The stages of a journey are ARRIVE, three of TICK and LEAVE, and where somebody
// completes one by hand also HAND. Of the three stages with one code each TICK completes the next, so that events that
// were applied in another order show. NOISE triggers nothing.
const (
	codeArrive = "ARRIVE"
	codeTick   = "TICK"
	codeLeave  = "LEAVE"
	codeNoise  = "NOISE"
	codeHand   = "HAND" // triggers the stage that is completed by hand; nobody sends it
)

const surveyName = "Experience"

// stagesOf are the stages of a journey, as in its template.
func stagesOf(byHand bool) []hospitalday.Stage {
	stages := []hospitalday.Stage{
		{Name: "Arrival", Code: "S1", Order: 1, TriggerEventCode: codeArrive},
		{Name: "First tick", Code: "S2", Order: 2, TriggerEventCode: codeTick},
		{Name: "Second tick", Code: "S3", Order: 3, TriggerEventCode: codeTick, SurveyTemplate: surveyName, AutoSendSurvey: true, SurveyDelayHours: 2},
		{Name: "Third tick", Code: "S4", Order: 4, TriggerEventCode: codeTick, IsOptional: true},
		{Name: "Leave", Code: "S6", Order: 6, TriggerEventCode: codeLeave, SurveyTemplate: surveyName, AutoSendSurvey: true, SurveyDelayHours: 24},
	}
	if byHand {
		stages = append(stages, hospitalday.Stage{
			Name: "By hand", Code: "S5", Order: 5, TriggerEventCode: codeHand, SurveyTemplate: surveyName, AutoSendSurvey: true,
		})
	}
	return stages
}

// What a visit does next.
type stepKind int

const (
	stepSend      stepKind = iota // send an event
	stepCreate                    // create the journey
	stepRename                    // give the journey the encounter id that its events name
	stepSettle                    // wait until the events so far have an outcome
	stepHand                      // complete the stage HAND by hand
	stepCancel                    // cancel the journey
	stepReopen                    // make it active again
	stepReprocess                 // reprocess the last event
)

type step struct {
	kind  stepKind
	event *event
}

// A visit is an encounter: what is sent for it, in order, and what was acknowledged.
type visit struct {
	number    int64
	encounter string
	byHand    bool
	isLate    bool // its journey is created after all of its events
	steps     []step
	startedAt time.Time

	journey   uuid.UUID // nil until it is known
	created   bool      // its creation was acknowledged; a journey may also be known from a list
	refused   bool      // the creation was refused for good, with the promise that nothing was done
	events    []*event  // in the order of the script
	cancelled bool      // for good: what follows is ignored
	// unresolved: nobody knows whether a step that the outcome depends on was done. Only what holds for every visit is
	// checked.
	unresolved bool
}

// An event is one that the harness sends.
type event struct {
	number   int64 // unique; in the payload
	visit    *visit
	code     string
	body     json.RawMessage
	sourceID string
	poison   string // the mischief of its trigger, blank for none

	id            uuid.UUID  // where the answer told it
	ack           time.Time  // zero: not acknowledged
	unknown       bool       // it may be stored
	outcomeAt     *time.Time // when it got the outcome that was waited for
	afterCancel   bool       // sent to a journey that was cancelled for good
	isReprocessed bool       // ignored at first, and put back into the queue
}

// A scribe writes the scripts of visits. It is not safe for concurrent use.
type scribe struct {
	random *rand.Rand
	ledger *ledger
}

// visit writes a script.
func (s *scribe) visit() *visit {
	v := s.ledger.newVisit()
	switch p := s.random.Float64(); {
	case p < 0.06:
		s.cancelledVisit(v)
	case p < 0.12:
		s.handVisit(v)
	case p < 0.20:
		s.renamedVisit(v)
	case p < 0.24: // no journey: every event is ignored
		v.add(s.events(v)...)
	default:
		steps := s.events(v)
		at := 0
		if s.random.IntN(2) == 0 { // late, as when the laboratory is faster than the registration
			at = s.random.IntN(len(steps) + 1)
		}
		v.add(steps[:at]...)
		v.add(step{kind: stepCreate})
		v.add(steps[at:]...)
	}
	return v
}

// keptVisit writes the script of a visit whose many events a source system has kept. Its journey is created apart.
func (s *scribe) keptVisit() *visit {
	v := s.ledger.newVisit()
	for range 4 + s.random.IntN(5) {
		v.add(s.events(v)...)
	}
	return v
}

func (v *visit) add(steps ...step) { v.steps = append(v.steps, steps...) }

// controlled reports whether the visit waits for outcomes, so that its events are sent one by one.
func (v *visit) controlled() bool {
	for _, s := range v.steps {
		if s.kind == stepSettle {
			return true
		}
	}
	return false
}

// events are the events of a visit in an order that is mostly the usual one.
func (s *scribe) events(v *visit) []step {
	codes := []string{codeArrive}
	for range s.random.IntN(5) {
		codes = append(codes, codeTick)
	}
	if s.random.IntN(3) == 0 {
		codes = append(codes, codeNoise)
	}
	if s.random.IntN(10) > 0 {
		codes = append(codes, codeLeave)
	}
	if s.random.IntN(4) == 0 {
		s.random.Shuffle(len(codes), func(i, j int) { codes[i], codes[j] = codes[j], codes[i] })
	}
	var steps []step
	for _, code := range codes {
		steps = append(steps, s.send(v, code))
	}
	return steps
}

func (s *scribe) send(v *visit, code string) step {
	return step{stepSend, s.ledger.newEvent(v, code)}
}

// renamedVisit creates the journey under another encounter id and mends it later.
func (s *scribe) renamedVisit(v *visit) {
	steps := s.events(v)
	at := s.random.IntN(len(steps) + 1)
	v.add(step{kind: stepCreate})
	v.add(steps[:at]...)
	v.add(step{kind: stepRename})
	v.add(steps[at:]...)
}

func (s *scribe) handVisit(v *visit) {
	v.byHand = true
	v.add(step{kind: stepCreate}, s.send(v, codeArrive), s.send(v, codeTick), step{kind: stepSettle}, step{kind: stepHand},
		s.send(v, codeNoise), s.send(v, codeTick), s.send(v, codeLeave))
}

func (s *scribe) cancelledVisit(v *visit) {
	v.add(step{kind: stepCreate}, s.send(v, codeArrive), s.send(v, codeTick), step{kind: stepSettle}, step{kind: stepCancel}, s.send(v, codeTick))
	if s.random.IntN(2) == 0 {
		v.add(s.send(v, codeLeave))
		return
	}
	v.add(step{kind: stepSettle}, step{kind: stepReopen}, step{kind: stepReprocess}, s.send(v, codeTick), s.send(v, codeLeave))
}

// provisional is the encounter id of a journey that is renamed later.
func (v *visit) provisional() string { return v.encounter + "-provisional" }

// bodyOf is the payload of an event: its number, and a time of its own.
func bodyOf(number int64, happened time.Time, poison string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"chaos": %d, "timestamp": %q, "poison": %q}`, number, happened.Format("2006-01-02T15:04:05.000000Z"), poison))
}
