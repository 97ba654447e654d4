package limits

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultInFlight is far more requests than the database answers at once, and few enough to fit into memory with their
// bodies: beyond it, waiting only makes everybody's answer late.
const DefaultInFlight = 256

const (
	// maxBodyBytes bounds the bodies in memory. Parsing takes a small multiple of a body's size.
	maxBodyBytes = 32 << 20
	// maxAnswerBytes bounds the large answers that clients are reading.
	maxAnswerBytes = 64 << 20
	// maxLoginWaits is how many logins of throttled names may wait at once. A wait holds a connection and a goroutine,
	// but no place.
	maxLoginWaits = 512
)

const (
	// callerShare is how much of a budget one caller may use: one of so many.
	callerShare = 4
	// reserveShare is how much of a budget is kept for those that are preferred: one of so many.
	reserveShare = 4
)

// Why a budget refuses.
var (
	ErrShareUsed  = errors.New("the caller's share is used up")
	ErrBudgetUsed = errors.New("the budget is used up")
)

// A Budget bounds what all callers share at one time. Nobody waits for a part of it: what is too much is refused. One
// caller can use a quarter, and a quarter is reserved for those that are preferred.
type Budget struct {
	most, others, share int64
	shareUsed, allUsed  prometheus.Counter

	mu         sync.Mutex
	used       int64
	usedOthers int64 // by those that are not preferred
	callers    map[string]int64
}

// A Lease is a part of a budget. The zero Lease is none.
type Lease struct {
	budget    *Budget
	caller    string
	preferred bool
	n         int64
}

// newBudget is a budget of so many units, at least 1.
func newBudget(most int64, shareUsed, allUsed prometheus.Counter) *Budget {
	return &Budget{
		most: most, others: max(1, most-most/reserveShare), share: max(1, most/callerShare),
		shareUsed: shareUsed, allUsed: allUsed, callers: map[string]int64{},
	}
}

// Take takes n units for a caller. The error is ErrShareUsed or ErrBudgetUsed. Who has nothing yet may take more than a
// share at once: a single answer cannot be divided.
func (b *Budget) Take(caller string, preferred bool, n int64) (Lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch has := b.callers[caller]; {
	case has > 0 && has+n > b.share:
		b.shareUsed.Inc()
		return Lease{}, ErrShareUsed
	case b.used > 0 && b.used+n > b.most, !preferred && b.usedOthers > 0 && b.usedOthers+n > b.others:
		b.allUsed.Inc()
		return Lease{}, ErrBudgetUsed
	}
	b.add(caller, preferred, n)
	return Lease{b, caller, preferred, n}, nil
}

// Grow takes more units for the same purpose; if that is an error the lease stays as it is.
func (l *Lease) Grow(n int64) error {
	more, err := l.budget.Take(l.caller, l.preferred, n)
	l.n += more.n
	return err
}

// Release gives everything back. A second call does nothing.
func (l *Lease) Release() {
	if l.n == 0 {
		return
	}
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	l.budget.add(l.caller, l.preferred, -l.n)
	l.n = 0
}

// add changes what is used. The lock is held.
func (b *Budget) add(caller string, preferred bool, n int64) {
	b.used += n
	if !preferred {
		b.usedOthers += n
	}
	if b.callers[caller] += n; b.callers[caller] == 0 {
		delete(b.callers, caller)
	}
}

// Used is how many units are in use.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Budgets are what a process shares among its callers.
type Budgets struct {
	Places     *Budget // requests that are worked on; events are preferred, as those who send them do not try again by hand
	Bodies     *Budget // bytes of bodies; small bodies are preferred
	Answers    *Budget // bytes of large answers that are being written; authenticated callers are preferred
	LoginWaits *Budget // logins of throttled names; addresses without a failed login are preferred

	SlowBodies, SlowReaders prometheus.Counter // clients that were cut off
	connections             prometheus.Counter // those above what an address may have
}

// NewBudgets makes the budgets of a process with so many places. The error is that a metric is registered already.
func NewBudgets(places int, r prometheus.Registerer) (*Budgets, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "px360_refused_total",
		Help: "What was refused to protect the process, by what was short (places, bodies, answers, login_waits, connections), and why: " +
			"caller (the caller's share was used up), all (everything was), slow (the client was cut off).",
	}, []string{"what", "why"})
	used := prometheus.NewDesc("px360_budget_used", "What is in use: places and login_waits as requests, bodies and answers in bytes.", []string{"what"}, nil)
	budgets := map[string]*Budget{}
	add := func(what string, most int64) *Budget {
		budgets[what] = newBudget(most, refused.WithLabelValues(what, "caller"), refused.WithLabelValues(what, "all"))
		return budgets[what]
	}
	b := &Budgets{
		Places: add("places", int64(places)), Bodies: add("bodies", maxBodyBytes), Answers: add("answers", maxAnswerBytes),
		LoginWaits: add("login_waits", maxLoginWaits),
		SlowBodies: refused.WithLabelValues("bodies", "slow"), SlowReaders: refused.WithLabelValues("answers", "slow"),
		connections: refused.WithLabelValues("connections", "caller"),
	}
	if r == nil {
		return b, nil
	}
	for _, c := range []prometheus.Collector{refused, budgetCollector{used, budgets}} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics of budgets: %w", err)
		}
	}
	return b, nil
}

// A budgetCollector reads the budgets when metrics are scraped.
type budgetCollector struct {
	used    *prometheus.Desc
	budgets map[string]*Budget
}

func (c budgetCollector) Describe(out chan<- *prometheus.Desc) { out <- c.used }

func (c budgetCollector) Collect(out chan<- prometheus.Metric) {
	for what, b := range c.budgets {
		out <- prometheus.MustNewConstMetric(c.used, prometheus.GaugeValue, float64(b.Used()), what)
	}
}
