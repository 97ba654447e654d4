package server

import (
	"sync"

	"github.com/labstack/echo/v4"
)

// eventShare of the requests in flight is kept free for new events: one of so many. The systems that send
// them have nobody who would look at an error and try again, people do.
const eventShare = 4

// inFlight counts the requests that are being answered, and turns away those that are too many.
type inFlight struct {
	most, mostOthers int

	mu          sync.Mutex
	all, others int
	callers     map[string]int // by credential
}

func newInFlight(most int) *inFlight {
	return &inFlight{most: most, mostOthers: most - most/eventShare, callers: map[string]int{}}
}

// enter takes a place, unless there is none for such a request.
func (f *inFlight) enter(event bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all >= f.most || !event && f.others >= f.mostOthers {
		return false
	}
	f.all++
	if !event {
		f.others++
	}
	return true
}

func (f *inFlight) leave(event bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	if !event {
		f.others--
	}
}

// enterAs takes a place among those of the request's credential, which are at most half of all: whoever fills
// theirs, with bodies that never end for example, leaves the others room.
func (f *inFlight) enterAs(r *request) bool {
	id := r.credential.id()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.callers[id] >= max(1, f.most/2) {
		return false
	}
	f.callers[id]++
	r.place = id
	return true
}

func (f *inFlight) leaveAs(r *request) {
	if r.place == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.callers[r.place]--; f.callers[r.place] == 0 {
		delete(f.callers, r.place)
	}
}

// bound refuses a request at once with 503 when too many are in flight. Whether the process is alive and
// ready is answered all the same: a busy one must not be taken for a dead one.
func (s *Server) bound(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if path := c.Path(); path == healthPath || path == readyPath {
			return next(c)
		}
		event := s.contract.ingests(c.Path(), c.Request().Method)
		if !s.inFlight.enter(event) {
			return busy()
		}
		defer s.inFlight.leave(event)
		return next(c)
	}
}

// ingests tells whether an operation takes in events.
func (c *contract) ingests(path, method string) bool {
	item, found := c.paths[path]
	if !found {
		return false
	}
	o, declared := item.operations[method]
	return declared && o.rateLimit == "events"
}
