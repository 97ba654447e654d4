package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/px360/px360/gen/client"
)

// Traffic plays visits against the servers, and notes in the ledger what was acknowledged.
type traffic struct {
	world  *world
	apis   []*api // one for each server
	turn   atomic.Int64
	ledger *ledger
	found  *findings
	pace   pace

	backlogEvery time.Duration // how often a source system sends a backlog; 0: never
}

// players is how many goroutines play visits.
const players = 48

// run plays visits until offering ends, and ends those that began by then, or when ctx ends.
func (t *traffic) run(ctx, offering context.Context, seed uint64) {
	var all sync.WaitGroup
	for i := range players {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			s := &scribe{random: random, ledger: t.ledger}
			for offering.Err() == nil {
				t.ward(ctx, s)
			}
		})
	}
	if t.backlogEvery > 0 {
		s := &scribe{random: rand.New(rand.NewPCG(seed, players)), ledger: t.ledger}
		all.Go(func() {
			for sleep(offering, t.backlogEvery) {
				t.backlog(ctx, s)
			}
		})
	}
	all.Wait()
}

// backlog sends what a source system has kept while it was cut off: some thousand events, as fast as they are answered, in
// large bulks. Of most visits the journey is there already.
func (t *traffic) backlog(ctx context.Context, s *scribe) {
	p := &player{traffic: t, random: s.random, bulk: 700, unpaced: true}
	var registered, late []*visit
	for range 30 + s.random.IntN(90) {
		v := s.keptVisit()
		if v.isLate = s.random.IntN(4) == 0; !v.isLate {
			registered = append(registered, v)
			p.create(ctx, v)
		} else {
			late = append(late, v)
		}
	}
	p.play(ctx, append(late, registered...))
	for _, v := range late {
		p.create(ctx, v)
	}
}

// ward plays some visits at once: their events come mixed, one by one or in bulks.
func (t *traffic) ward(ctx context.Context, s *scribe) {
	p := &player{traffic: t, random: s.random}
	if s.random.IntN(3) > 0 {
		p.bulk = 10 + s.random.IntN(150)
	}
	var mixed []*visit
	for range 1 + s.random.IntN(16) {
		v := s.visit()
		if v.controlled() {
			one := &player{traffic: t, random: s.random}
			one.play(ctx, []*visit{v})
			continue
		}
		mixed = append(mixed, v)
	}
	p.play(ctx, mixed)
}

// A pace admits so many events per second over all players.
type pace struct {
	mu   sync.Mutex
	each time.Duration
	next time.Time
}

func (p *pace) wait(ctx context.Context, events int) {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = at.Add(time.Duration(events) * p.each)
	p.mu.Unlock()
	sleep(ctx, time.Until(at))
}

// attempts is what happened before a call was answered at last.
type attempts struct {
	failed    int
	maybeDone bool // one of those that failed may have been done
}

// call makes a call, of one server after the other, until one does it or refuses it. What may have been done is made
// again if it is repeatable. It waits as long as the server asks.
func (t *traffic) call(ctx context.Context, repeatable bool, f func(*api) error) (a attempts, err error) {
	for {
		server := t.pick()
		err := f(server)
		var failure *client.Error
		if err == nil || !errors.As(err, &failure) {
			return a, err
		}
		a.failed++
		if failure.Status == 0 {
			server.silentAt.Store(time.Now().UnixNano())
		}
		t.judge(failure)
		if failure.MaybeDone {
			a.maybeDone = true
		}
		refused := failure.Status >= 400 && failure.Status < 500 && failure.Status != http.StatusTooManyRequests
		if refused || failure.MaybeDone && !repeatable {
			return a, err
		}
		wait := max(failure.RetryAfter, time.Duration(100+rand.IntN(300))*time.Millisecond)
		if !sleep(ctx, wait) {
			return a, err
		}
	}
}

// avoided is for how long a server that did not answer is given no requests, as by a load balancer.
const avoided = 3 * time.Second

// pick takes the servers in turn, but for those that did not answer lately.
func (t *traffic) pick() *api {
	for range t.apis {
		a := t.apis[int(t.turn.Add(1))%len(t.apis)]
		if time.Since(time.Unix(0, a.silentAt.Load())) > avoided {
			return a
		}
	}
	return t.apis[int(t.turn.Add(1))%len(t.apis)]
}

// judge counts failures, of which some must not be.
func (t *traffic) judge(failure *client.Error) {
	t.found.look(checkAnswers, 1)
	switch {
	case failure.Status == 0:
		t.ledger.count("requests without an answer", 1)
	case failure.Status == http.StatusServiceUnavailable && failure.Code == client.CodeOutcomeUnknown:
		t.ledger.count("503, outcome unknown", 1)
	case failure.Status == http.StatusServiceUnavailable:
		t.ledger.count("503, nothing done", 1)
	case failure.Status >= 500:
		t.found.add(checkAnswers, "%v", failure)
	}
}

// sendOne sends an event in a request of its own, in one of three ways.
func (t *traffic) sendOne(ctx context.Context, e *event, way int) {
	t.pace.wait(ctx, 1)
	t.found.look(checkRefused, 1)
	switch way % 3 {
	case 0: // under an Idempotency-Key, by a client that retries by itself
		t.sendAs(ctx, e, true, func(a *api) (*client.StoredEvent, error) {
			return a.sender.CreateEvent(ctx, e.create(), client.WithIdempotencyKey(fmt.Sprintf("%s-%d", t.ledger.run, e.number)))
		})
	case 1: // under its own id
		e.sourceID = fmt.Sprintf("%s-%d", t.ledger.run, e.number)
		t.sendAs(ctx, e, true, func(a *api) (*client.StoredEvent, error) { return a.keyless.CreateEvent(ctx, e.create()) })
	default: // under neither: it must not be repeated where it may have been done
		t.sendAs(ctx, e, false, func(a *api) (*client.StoredEvent, error) { return a.keyless.CreateEvent(ctx, e.create()) })
	}
}

func (t *traffic) sendAs(ctx context.Context, e *event, repeatable bool, create func(*api) (*client.StoredEvent, error)) {
	var stored *client.StoredEvent
	a, err := t.call(ctx, repeatable, func(a *api) (err error) {
		stored, err = create(a)
		return err
	})
	if err != nil {
		t.failed(err, a, e)
		return
	}
	e.id = stored.ID
	t.ledger.acknowledge(e)
	if stored.Duplicate && !a.maybeDone {
		t.found.add(checkRefused, "event %d is a duplicate, though the %d answers before said that nothing was done", e.number, a.failed)
	}
}

// failed notes events whose request got no good answer.
func (t *traffic) failed(err error, a attempts, events ...*event) {
	for _, e := range events {
		e.unknown = a.maybeDone
	}
	var failure *client.Error
	if errors.As(err, &failure) && failure.Status >= 400 && failure.Status < 500 {
		t.found.add(checkAnswers, "event %d: %v", events[0].number, failure)
	}
	what := "events refused"
	if a.maybeDone {
		what = "events unknown"
	}
	t.ledger.count(what, len(events))
}

// mostItems is how many events a bulk may have.
const mostItems = 1000

// sendBulk sends events in one request, and with them some that are invalid and, if they have ids of their own, some that
// were sent before.
func (t *traffic) sendBulk(ctx context.Context, random *rand.Rand, events, before []*event) {
	byID := random.IntN(2) == 0
	for _, e := range events {
		if byID {
			e.sourceID = fmt.Sprintf("%s-%d", t.ledger.run, e.number)
		}
	}
	var body client.EventBulkCreate
	invalid, repeated := 0, 0
	for _, e := range events {
		body.Events = append(body.Events, e.create())
		if random.IntN(50) == 0 {
			invalid++
			body.Events = append(body.Events, client.EventCreate{SourceSystem: sourceSystem, EncounterID: e.visit.encounter})
		}
	}
	for _, e := range before {
		if byID && e.sourceID != "" && !e.ack.IsZero() && len(body.Events) < mostItems && random.IntN(5) == 0 {
			repeated++
			body.Events = append(body.Events, e.create())
		}
	}
	key := client.WithIdempotencyKey(fmt.Sprintf("%s-bulk-%d", t.ledger.run, events[0].number))
	var result *client.EventBulkResult
	a, err := t.call(ctx, true, func(a *api) (err error) {
		if byID {
			result, err = a.keyless.BulkCreateEvents(ctx, body)
		} else {
			result, err = a.sender.BulkCreateEvents(ctx, body, key)
		}
		return err
	})
	if err != nil {
		t.failed(err, a, events...)
		return
	}
	t.ledger.acknowledge(events...)
	created, duplicates := int(result.Created), int(result.Duplicates)
	told := created == len(events) && duplicates == repeated || byID && a.maybeDone && created+duplicates == len(events)+repeated
	t.found.expect(checkBulk, told && int(result.Failed) == invalid && len(result.Errors) == invalid,
		"bulk of event %d: created %d, duplicates %d, failed %d; sent %d new, %d repeated, %d invalid (after %+v)",
		events[0].number, created, duplicates, result.Failed, len(events), repeated, invalid, a)
}

// create is the body of the event's request.
func (e *event) create() client.EventCreate {
	body := client.EventCreate{
		SourceSystem: sourceSystem, EventCode: e.code, EncounterID: e.visit.encounter, PatientIdentifier: client.Ptr(patientMRN),
		PayloadJSON: json.RawMessage(e.body),
	}
	if e.sourceID != "" {
		body.SourceEventID = &e.sourceID
	}
	return body
}
