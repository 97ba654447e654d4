package limits

import (
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func newTestBudget(most int64) *Budget {
	counter := func(name string) prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: name}) }
	return newBudget(most, counter("share"), counter("all"))
}

// take is Take that must be granted, or refused with this error.
func (b *Budget) take(t *testing.T, want error, caller string, preferred bool, n int64) Lease {
	t.Helper()
	lease, err := b.Take(caller, preferred, n)
	if !errors.Is(err, want) {
		t.Fatalf("%d for %s (preferred: %v): %v, want %v", n, caller, preferred, err, want)
	}
	return lease
}

// A quarter is reserved for those that are preferred.
func TestBudgetReserve(t *testing.T) {
	t.Parallel()
	b := newTestBudget(8)
	for _, caller := range []string{"a", "b", "c"} {
		b.take(t, nil, caller, false, 2)
	}
	b.take(t, ErrBudgetUsed, "d", false, 1)
	last := b.take(t, nil, "d", true, 2)
	b.take(t, ErrBudgetUsed, "e", true, 1)
	last.Release()
	last.Release() // does nothing
	b.take(t, ErrBudgetUsed, "e", false, 1)
	b.take(t, nil, "e", true, 2)
	b.take(t, ErrBudgetUsed, "f", true, 1)
}

// Those that are preferred use the unreserved part, too, and a refused one leaves nothing behind.
func TestBudgetFullOfPreferred(t *testing.T) {
	t.Parallel()
	b := newTestBudget(4)
	var leases []Lease
	for _, caller := range []string{"a", "b", "c", "d"} {
		leases = append(leases, b.take(t, nil, caller, true, 1))
	}
	for range 8 {
		refused := b.take(t, ErrBudgetUsed, "e", false, 1)
		refused.Release()
	}
	for i := range leases {
		leases[i].Release()
	}
	if b.Used() != 0 || b.usedOthers != 0 || len(b.callers) != 0 {
		t.Errorf("%d used, %d by others, callers %v, want nothing", b.Used(), b.usedOthers, b.callers)
	}
	for _, caller := range []string{"a", "b", "c"} {
		b.take(t, nil, caller, false, 1)
	}
}

// A caller has a quarter at most, whatever is free.
func TestBudgetShare(t *testing.T) {
	t.Parallel()
	b := newTestBudget(16)
	first := b.take(t, nil, "a", true, 3)
	if err := first.Grow(1); err != nil {
		t.Error(err)
	}
	if err := first.Grow(1); !errors.Is(err, ErrShareUsed) {
		t.Errorf("grew above the share: %v", err)
	}
	b.take(t, ErrShareUsed, "a", true, 1)
	b.take(t, nil, "b", true, 4)
	first.Release()
	b.take(t, nil, "a", true, 4)
}

// Whoever has nothing may take what is larger than a share, and a budget of one admits each kind.
func TestBudgetOfOne(t *testing.T) {
	t.Parallel()
	for _, preferred := range []bool{false, true} {
		b := newTestBudget(1)
		lease := b.take(t, nil, "a", preferred, 1)
		b.take(t, ErrBudgetUsed, "b", preferred, 1)
		lease.Release()
		b.take(t, nil, "b", preferred, 100)
	}
}

// What is refused and what is in use can be seen in the metrics.
func TestBudgetMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	b, err := NewBudgets(4, registry)
	if err != nil {
		t.Fatal(err)
	}
	b.Places.take(t, nil, "a", false, 1)
	b.Places.take(t, ErrShareUsed, "a", false, 1)
	b.SlowBodies.Inc()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			if value := m.GetGauge().GetValue() + m.GetCounter().GetValue(); value != 0 {
				got[name] = value
			}
		}
	}
	want := "map[px360_budget_used places:1 px360_refused_total bodies slow:1 px360_refused_total places caller:1]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v\nwant %s", got, want)
	}
	if _, err := NewBudgets(4, registry); err == nil {
		t.Error("registered twice")
	}
}
