package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/px360/px360/gen/client"
)

// A player plays the scripts of some visits, mixed.
type player struct {
	*traffic
	random  *rand.Rand
	bulk    int  // events of a request at most; 0: one by one
	unpaced bool // the pace does not count its events

	waiting []*event // for the next bulk
	sent    []*event
}

// play plays each script in its order.
func (p *player) play(ctx context.Context, visits []*visit) {
	at := make([]int, len(visits))
	for len(visits) > 0 && ctx.Err() == nil {
		i := p.random.IntN(len(visits))
		v := visits[i]
		if at[i] == len(v.steps) {
			last := len(visits) - 1
			visits[i], at[i] = visits[last], at[last]
			visits, at = visits[:last], at[:last]
			continue
		}
		p.step(ctx, v, v.steps[at[i]])
		at[i]++
	}
	p.flush(ctx)
}

func (p *player) step(ctx context.Context, v *visit, s step) {
	if s.kind != stepSend {
		p.flush(ctx) // what came before in the script is sent before
	}
	if s.kind > stepCreate && v.journey == [16]byte{} && s.kind != stepSettle {
		v.unresolved = true // nobody knows its id
	}
	if v.unresolved && s.kind != stepSend {
		return
	}
	switch s.kind {
	case stepSend:
		p.send(ctx, s.event)
	case stepCreate:
		p.create(ctx, v)
	case stepRename:
		p.patch(ctx, v, client.JourneyInstanceUpdate{EncounterID: &v.encounter})
	case stepSettle:
		p.settle(ctx, v)
	case stepHand:
		p.completeByHand(ctx, v)
	case stepCancel:
		v.cancelled = p.patch(ctx, v, client.JourneyInstanceUpdate{Status: client.Ptr(client.JourneyStatusCancelled)})
	case stepReopen:
		if p.patch(ctx, v, client.JourneyInstanceUpdate{Status: client.Ptr(client.JourneyStatusActive)}) {
			v.cancelled = false
		}
	case stepReprocess:
		p.reprocess(ctx, v)
	}
}

func (p *player) send(ctx context.Context, e *event) {
	e.afterCancel = e.visit.cancelled
	if p.bulk == 0 {
		p.sendOne(ctx, e, p.random.IntN(3))
		p.sent = append(p.sent, e)
		return
	}
	if p.waiting = append(p.waiting, e); len(p.waiting) == p.bulk {
		p.flush(ctx)
	}
}

func (p *player) flush(ctx context.Context) {
	if len(p.waiting) == 0 {
		return
	}
	if !p.unpaced {
		p.pace.wait(ctx, len(p.waiting))
	}
	p.sendBulk(ctx, p.random, p.waiting, p.sent)
	p.sent, p.waiting = append(p.sent, p.waiting...), nil
}

// create creates the visit's journey. A second creation is refused where the first was done.
func (p *player) create(ctx context.Context, v *visit) {
	body := client.JourneyInstanceCreate{
		EncounterID: v.encounter, Hospital: p.world.hospital, JourneyTemplate: p.world.templates[v.byHand], Patient: p.world.patient,
		StartedAt: &v.startedAt,
	}
	for _, s := range v.steps {
		if s.kind == stepRename {
			body.EncounterID = v.provisional()
		}
	}
	var journey *client.JourneyInstanceDetail
	var answer client.Answer
	p.found.look(checkRefused, 1)
	a, err := p.call(ctx, true, func(a *api) (err error) {
		journey, err = a.admin.CreateJourneyInstance(ctx, body, client.WithAnswer(&answer))
		return err
	})
	var failure *client.Error
	switch {
	case err == nil:
		v.journey, v.created = journey.ID, true
		p.ledger.changed(change{answer.Header.Get("X-Request-ID"), "createJourneyInstance", journey.ID})
	case errors.As(err, &failure) && saysExists(failure):
		if !a.maybeDone {
			p.found.add(checkRefused, "journey of %s exists, though the %d answers before said that nothing was done", v.encounter, a.failed-1)
		}
		p.find(ctx, v, body.EncounterID)
	default:
		v.refused, v.unresolved = !a.maybeDone, a.maybeDone
	}
}

// find looks up a journey whose creation got no answer.
func (p *player) find(ctx context.Context, v *visit, encounter string) {
	_, err := p.call(ctx, true, func(a *api) error {
		list, err := a.admin.ListJourneyInstances(ctx, &client.ListJourneyInstancesParams{Search: &encounter})
		if err != nil {
			return err
		}
		for _, found := range list.Results {
			if found.EncounterID == encounter {
				v.journey = found.ID
			}
		}
		return nil
	})
	v.unresolved = err != nil || v.journey == [16]byte{}
}

// patch changes the journey, and reports whether that was acknowledged.
func (p *player) patch(ctx context.Context, v *visit, body client.JourneyInstanceUpdate) bool {
	var answer client.Answer
	_, err := p.call(ctx, true, func(a *api) error {
		_, err := a.admin.UpdateJourneyInstance(ctx, v.journey, body, client.WithAnswer(&answer))
		return err
	})
	if err != nil {
		p.unresolve(v, err)
		return false
	}
	p.ledger.changed(change{answer.Header.Get("X-Request-ID"), "updateJourneyInstance", v.journey})
	p.confirm(ctx, v)
	return true
}

// unresolve notes a step that was not acknowledged. A refusal other than for want of time was not to be expected, but of a
// journey that was only seen in a list: what is seen may yet be lost with its server, and only an answer is a promise.
func (p *player) unresolve(v *visit, err error) {
	v.unresolved = true
	var failure *client.Error
	lost := errors.As(err, &failure) && failure.Status == http.StatusNotFound && !v.created
	if failure != nil && failure.Status >= 400 && failure.Status < 500 && !lost {
		p.found.add(checkAnswers, "visit %s: %v", v.encounter, failure)
	}
}

func (p *player) completeByHand(ctx context.Context, v *visit) {
	var journey *client.JourneyInstanceDetail
	if _, err := p.call(ctx, true, func(a *api) (err error) {
		journey, err = a.admin.RetrieveJourneyInstance(ctx, v.journey)
		return err
	}); err != nil {
		p.unresolve(v, err)
		return
	}
	for _, stage := range journey.StageInstances {
		if stage.StageOrder != 5 {
			continue
		}
		var answer client.Answer
		if _, err := p.call(ctx, true, func(a *api) error {
			_, err := a.admin.UpdateStageInstance(ctx, stage.ID, client.StageInstanceUpdate{Status: client.Ptr(client.StageStatusCompleted)}, client.WithAnswer(&answer))
			return err
		}); err != nil {
			p.unresolve(v, err)
			return
		}
		p.ledger.changed(change{answer.Header.Get("X-Request-ID"), "updateStageInstance", stage.ID})
		p.confirm(ctx, v)
	}
}

// reprocess puts the last event back into the queue. Where that may have been done, a second time is refused.
func (p *player) reprocess(ctx context.Context, v *visit) {
	e := v.lastSent()
	if e == nil || e.ack.IsZero() {
		v.unresolved = true
		return
	}
	var answer client.Answer
	p.found.look(checkRefused, 1)
	a, err := p.call(ctx, true, func(a *api) error {
		_, err := a.admin.ReprocessEvent(ctx, e.id, client.WithAnswer(&answer))
		return err
	})
	var failure *client.Error
	switch {
	case err == nil:
		p.ledger.changed(change{answer.Header.Get("X-Request-ID"), "reprocessEvent", e.id})
	case errors.As(err, &failure) && failure.Status == http.StatusConflict:
		if !a.maybeDone {
			p.found.add(checkRefused, "event %d is reprocessed already, though the %d answers before said that nothing was done: %v", e.number, a.failed-1, failure)
		}
	default:
		p.unresolve(v, err)
		return
	}
	e.isReprocessed = true
}

// lastSent is the last event that was sent so far.
func (v *visit) lastSent() *event {
	var last *event
	for _, e := range v.events {
		if !e.ack.IsZero() || e.unknown {
			last = e
		}
	}
	return last
}

// settle waits until the visit's events have an outcome.
func (p *player) settle(ctx context.Context, v *visit) {
	for _, e := range v.events {
		v.unresolved = v.unresolved || e.unknown
		for e.outcomeAt == nil && !e.ack.IsZero() && !v.unresolved {
			now, err := p.retrieve(ctx, e)
			if err != nil || !sleep(ctx, 50*time.Millisecond) {
				v.unresolved = true
				return
			}
			e.outcomeAt = now.ProcessedAt
		}
	}
}

// confirm looks whether the outcomes that were waited for came before a change that was acknowledged since. The worker
// commits outcomes asynchronously: a crash of Postgres may undo one that was seen, and then it is decided on again, after
// the change. Once the change is acknowledged, what came before it is durable.
func (p *player) confirm(ctx context.Context, v *visit) {
	for _, e := range v.events {
		if e.outcomeAt == nil {
			continue
		}
		now, err := p.retrieve(ctx, e)
		if err != nil {
			v.unresolved = true
			return
		}
		if now.ProcessedAt == nil || !now.ProcessedAt.Equal(*e.outcomeAt) {
			v.unresolved = true
			p.ledger.count("outcomes undone by a crash of Postgres", 1)
		}
	}
}

func (p *player) retrieve(ctx context.Context, e *event) (now *client.Event, err error) {
	_, err = p.call(ctx, true, func(a *api) (err error) {
		now, err = a.admin.RetrieveEvent(ctx, e.id)
		return err
	})
	return now, err
}
