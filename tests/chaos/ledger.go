package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A ledger has all that the harness sent and what was acknowledged of it. A visit is changed by the goroutine that plays
// it, and read by the checks once that has ended.
type ledger struct {
	run   string // tells this run's ids
	began time.Time

	mu      sync.Mutex
	visits  []*visit
	events  []*event // by number
	acks    []time.Time
	changes []change
	tally   map[string]int // what happened, for the report
}

// A change is an acknowledged change that has an audit row.
type change struct {
	request   string // X-Request-ID of the answer
	operation string
	object    uuid.UUID
}

func newLedger(run string) *ledger {
	return &ledger{run: run, began: time.Now(), tally: map[string]int{}}
}

func (l *ledger) newVisit() *visit {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &visit{
		number: int64(len(l.visits)), encounter: fmt.Sprintf("V%s-%d", l.run, len(l.visits)),
		startedAt: l.began.Add(-2 * time.Hour).UTC().Truncate(time.Microsecond),
	}
	l.visits = append(l.visits, v)
	return v
}

// newEvent makes an event of a visit, which happened a millisecond after the one before.
func (l *ledger) newEvent(v *visit, code string) *event {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &event{number: int64(len(l.events)), visit: v, code: code}
	e.body = bodyOf(e.number, l.began.Add(-time.Hour+time.Duration(e.number)*time.Millisecond).UTC(), "")
	l.events = append(l.events, e)
	v.events = append(v.events, e)
	return e
}

// acknowledge notes that events were answered with 200 or 201.
func (l *ledger) acknowledge(events ...*event) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		e.ack, e.unknown = now, false
	}
	l.acks = append(l.acks, now)
	l.tally["events acknowledged"] += len(events)
}

// changed notes an acknowledged change.
func (l *ledger) changed(c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = append(l.changes, c)
	l.acks = append(l.acks, time.Now())
	l.tally["changes acknowledged"]++
}

// count adds to a line of the report.
func (l *ledger) count(what string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally[what] += n
}

func (l *ledger) counted(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally[what]
}

// firstAckAfter is how long after a time the first request was acknowledged; false if none was.
func (l *ledger) firstAckAfter(t time.Time) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.acks) - 1; i >= 0; i-- {
		if l.acks[i].Before(t) {
			if i+1 == len(l.acks) {
				return 0, false
			}
			return l.acks[i+1].Sub(t), true
		}
	}
	return 0, false
}
