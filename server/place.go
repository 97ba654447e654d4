package server

import (
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// A place is a request's place among those that are worked on, of which there are few. A request that only waits gives
// it back: for the rest of a body, for the turn of a throttled login, for a client that reads its answer. So a slow
// client takes nothing that others need. One goroutine uses a place. A nil place is that of a path outside the contract.
type place struct {
	budgets *limits.Budgets
	caller  string // whom the shares are counted by: a user, a known API key, or the client address of a stranger
	known   bool   // the caller has proved who they are
	event   bool   // for which places are reserved
	lease   limits.Lease
	body    limits.Lease
	// The body was read to its end.
	received bool
}

// take takes a place, if none is taken. The error is a 503.
func (p *place) take() (err error) {
	p.lease.Release()
	if p.lease, err = p.budgets.Places.Take(p.caller, p.event, 1); err != nil {
		return problem.Busy()
	}
	return nil
}

// pause gives the place back until resume takes one again, which may be a 503.
func (p *place) pause() (resume func() error) {
	p.lease.Release()
	return p.take
}

// leave gives back the place and what the body takes, once there is an answer.
func (p *place) leave() {
	if p != nil {
		p.lease.Release()
		p.body.Release()
	}
}
