package limits

import (
	"sync"

	"golang.org/x/sync/semaphore"
)

// DefaultInFlight is far more requests than the database answers at once, and few enough to fit into memory with their
// bodies: beyond it, waiting only makes everybody's answer late.
const DefaultInFlight = 256

// eventShare of the requests in flight is reserved for new events: one of so many. The systems that send them have
// nobody who would look at an error and try again, people do.
const eventShare = 4

// InFlight bounds the requests that are being answered. Nobody waits for a place: a request that is one too many is
// refused.
type InFlight struct {
	most        int
	all, others *semaphore.Weighted // others than events

	mu      sync.Mutex
	callers map[string]int // places taken
}

// NewInFlight has so many places, at least 1.
func NewInFlight(most int) *InFlight {
	return &InFlight{
		most: most, all: semaphore.NewWeighted(int64(most)), others: semaphore.NewWeighted(int64(most - most/eventShare)),
		callers: map[string]int{},
	}
}

// Enter takes a place, unless there is none for such a request. If ok, leave must be called once; otherwise it does
// nothing.
func (f *InFlight) Enter(event bool) (leave func(), ok bool) {
	if !event && !f.others.TryAcquire(1) {
		return func() {}, false
	}
	leaveOthers := func() {
		if !event {
			f.others.Release(1)
		}
	}
	if !f.all.TryAcquire(1) {
		leaveOthers()
		return func() {}, false
	}
	return func() { f.all.Release(1); leaveOthers() }, true
}

// EnterAs takes a place among those of one caller, which are at most half of all: a caller who fills theirs, with
// bodies that never end for example, leaves the others room. If ok, leave must be called once; otherwise it does
// nothing.
func (f *InFlight) EnterAs(caller string) (leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.callers[caller] >= max(1, f.most/2) {
		return func() {}, false
	}
	f.callers[caller]++
	return func() { f.leaveAs(caller) }, true
}

func (f *InFlight) leaveAs(caller string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.callers[caller]--; f.callers[caller] == 0 {
		delete(f.callers, caller)
	}
}
