package server

import (
	"context"
	"slices"
	"time"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

// admitEvents decides which of the events their sender may send, and counts the call against the limits
// of their source systems and of the sender: against all of them, or, if one is used up, against none. It
// returns for each event what is wrong with it, nil if nothing is.
func (s *Server) admitEvents(ctx context.Context, list []api.EventCreate) ([]fieldErrors, error) {
	r := requestOf(ctx)
	if r.recalled {
		if denied := s.limiter.deniedSources(sourcesOf(r.principal, list)); len(denied) > 0 {
			return nil, s.limiter.settle(ctx, r, denied...)
		}
		if err := s.confirm(ctx, r); err != nil {
			return nil, err
		}
	}
	wrong := make([]fieldErrors, len(list))
	for i, event := range list {
		wrong[i] = checkSource(r.principal, event)
	}
	sources := sourcesOf(r.principal, list)
	if s.limiter.off() || len(sources) == 0 {
		return wrong, nil
	}
	denied := s.limiter.deniedSources(sources)
	if len(denied) > 0 {
		return nil, s.limiter.settle(ctx, r, denied...)
	}
	left, err := s.limiter.takeSources(ctx, sources, identity(r.principal))
	if err != nil {
		return nil, err
	}
	return wrong, s.limiter.settle(ctx, r, left...)
}

// sourcesOf are the source systems that the principal may name and does, sorted.
func sourcesOf(p auth.Principal, list []api.EventCreate) []string {
	var sources []string
	for _, event := range list {
		if checkSource(p, event) == nil {
			sources = append(sources, event.SourceSystem)
		}
	}
	slices.Sort(sources)
	return slices.Compact(sources)
}

// deniedSources are the allowances of those sources that are known to be used up.
func (l *limiter) deniedSources(sources []string) []allowance {
	var denied []allowance
	now := time.Now()
	for _, source := range sources {
		if a, found := l.denied.get(key(policyEvents, source), now); found {
			denied = append(denied, a)
		}
	}
	return denied
}

// takeSources counts a call once for each source, and as many times for the sender.
func (l *limiter) takeSources(ctx context.Context, sources []string, sender string) ([]allowance, error) {
	var take db.RateLimitTakeAllParams
	var asked []question
	add := func(policy, whom string, cost int) {
		ask := l.ask(policy, int64(cost))
		asked = append(asked, ask)
		take.Keys = append(take.Keys, key(policy, whom))
		take.Costs = append(take.Costs, ask.cost)
		take.Quotas = append(take.Quotas, ask.limit.Calls)
		take.WindowsUs = append(take.WindowsUs, ask.limit.Window.Microseconds())
	}
	// In the order of the keys, as the statement wants them.
	for _, source := range sources {
		add(policyEvents, source, 1)
	}
	add(policySender, sender, len(sources))
	var row db.RateLimitTakeAllRow
	err := l.db.Read(ctx, func(q *db.Queries) (err error) {
		row, err = q.RateLimitTakeAll(ctx, take)
		return err
	})
	if err != nil {
		return nil, err
	}
	var left []allowance
	for i, whom := range append(slices.Clone(sources), sender) {
		left = append(left, asked[i].answer(whom, row.Remaining[i], row.Resets[i], row.Waits[i])...)
	}
	return left, nil
}
