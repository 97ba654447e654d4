package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// scope is whom a fault concerns.
type scope int

const (
	scopeProcess scope = iota // one process: the others go on
	scopeCluster              // Postgres, and so everybody
	scopePoison               // one event
)

// A kind is a kind of fault.
type kind struct {
	name          string
	scope         scope
	workers       bool          // its target is a worker
	either        bool          // or a server or a worker; otherwise a server
	atLeast, more time.Duration // its length is the one, and up to the other on top
	quiet         time.Duration // no other fault for so long after it began, or the wait that it causes would not show
	once          bool          // in a run
	needs         need          // what only some runs have
	inject        func(*injection) error
}

// A need is what only runs with some flag have.
type need int

const (
	needsNothing need = iota
	needsStandby
	needsDisk   // of a bounded size
	needsBefore // the program of the version before
)

// has tells whether a run with these options can inject the kind.
func (o options) has(k kind) bool {
	switch k.needs {
	case needsStandby:
		return o.standby
	case needsDisk:
		return o.disk != ""
	case needsBefore:
		return o.before != ""
	}
	return true
}

// A fault is one planned fault.
type fault struct {
	kind   kind
	at     time.Duration // since the traffic began
	length time.Duration
	target int    // which process
	choice uint64 // which of the kind's variants
}

func (f fault) String() string {
	return fmt.Sprintf("%6.1fs %-14s for %.1fs, process %d, choice %d", f.at.Seconds(), f.kind.name, f.length.Seconds(), f.target, f.choice%8)
}

// newPlan deals faults from a shuffled deck of all kinds, so that each comes before any comes again. The plan depends on
// its arguments alone.
func newPlan(seed uint64, duration time.Duration, kinds []kind) []fault {
	random := rand.New(rand.NewPCG(seed, 360))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)+1))
	}
	var plan []fault
	var deck []kind
	spent := map[string]bool{}
	for at := 4 * time.Second; ; {
		if len(deck) == 0 {
			for _, k := range kinds {
				if !spent[k.name] {
					deck = append(deck, k)
				}
			}
			if len(deck) == 0 {
				return plan
			}
			random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		k := deck[0]
		deck = deck[1:]
		spent[k.name] = k.once
		f := fault{kind: k, at: at, length: between(k.atLeast, k.atLeast+k.more), target: random.IntN(1000), choice: random.Uint64()}
		if at+max(f.length, k.quiet) > duration-2*time.Second {
			if at > duration-6*time.Second {
				return plan
			}
			at += time.Second // a shorter one may fit
			continue
		}
		plan = append(plan, f)
		switch {
		case k.quiet > 0:
			at += k.quiet
		case k.scope == scopeCluster: // one at a time
			at += f.length + between(2*time.Second, 5*time.Second)
		default: // those of processes overlap
			at += between(300*time.Millisecond, 3*time.Second)
		}
	}
}

// chosen are the kinds whose names are in a list between commas; all if that is blank.
func chosen(kinds []kind, names string) ([]kind, error) {
	if names == "" {
		return kinds, nil
	}
	var some []kind
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no fault %q", name)
		}
		some = append(some, kinds[i])
	}
	return some, nil
}
