// Package limits is how much one caller, or all of them together, may ask for: calls in a sliding window
// (ratelimit.go and decision.go; limit.go reads a limit, cache.go keeps refusals), what is in use at one time (budget.go)
// and repeated logins (logins.go). It knows the policies and the SQL function that counts calls. It must not know who
// a caller is beyond a text that identifies them, nor any operation, request or noun.
package limits

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// What is done about calls over a limit.
const (
	ModeEnforce = "enforce" // they are refused
	ModeReport  = "report"  // they are counted and logged
	ModeOff     = "off"     // nothing: no call is counted
)

// The policies that calls are counted under.
const (
	PolicyUser   = "user"   // by user
	PolicyAuth   = "auth"   // by client address
	PolicyEvents = "events" // by source system, and beside it by sender
	PolicySender = "sender" // by whoever sends events
	PolicyKey    = "key"    // wrong API keys, by client address
)

// RateOptions of a RateLimiter.
type RateOptions struct {
	Mode       string
	Limits     Limits
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: the metric is not exported
}

// A RateLimiter says whether a call is within the limits. The counting is the database's, in rate_limits_take, so that
// all processes share it. The deny cache is this process's: it spares the database calls that are known to be refused.
type RateLimiter struct {
	db       *queries.DB
	log      *slog.Logger
	mode     string
	now      func() time.Time
	limits   map[string]Limit  // by policy
	declared map[string]string // the RateLimit-Policy field, by policy of an operation
	exceeded *prometheus.CounterVec
	denied   *Cache[allowance] // the deny cache: refused keys, until a call might be admitted again
	logged   *Cache[struct{}]  // keys that the log has a line of, for a window
}

// NewRateLimiter is an error if the mode is unknown, if a limit cannot be enforced, or if the metric is registered
// already.
func NewRateLimiter(database *queries.DB, o RateOptions) (*RateLimiter, error) {
	mode, set := o.Mode, o.Limits
	if !slices.Contains([]string{ModeEnforce, ModeReport, ModeOff}, mode) {
		return nil, fmt.Errorf("rate limits can be %s, %s or %s, not %q", ModeEnforce, ModeReport, ModeOff, mode)
	}
	if err := set.validate(); err != nil {
		return nil, err
	}
	sender := Limit{set.Events.Calls * senderFactor, set.Events.Window}
	l := &RateLimiter{
		db: database, log: o.Log, mode: mode, now: time.Now,
		limits: map[string]Limit{PolicyUser: set.User, PolicyAuth: set.Auth, PolicyEvents: set.Events, PolicySender: sender, PolicyKey: set.Auth},
		declared: map[string]string{
			PolicyUser:   policyItem(PolicyUser, set.User),
			PolicyAuth:   policyItem(PolicyAuth, set.Auth),
			PolicyEvents: policyItem(PolicyEvents, set.Events) + ", " + policyItem(PolicySender, sender),
		},
		exceeded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_rate_limited_total", Help: "Calls over a rate limit, by policy, and whether that was enforced or only reported.",
		}, []string{"policy", "mode"}),
		denied: NewCache[allowance](CacheSize), logged: NewCache[struct{}](CacheSize),
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(l.exceeded); err != nil {
			return nil, fmt.Errorf("the metric of rate limits: %w", err)
		}
	}
	return l, nil
}

// Policy is the RateLimit-Policy field of an operation under this policy; "" if its calls are not counted.
func (l *RateLimiter) Policy(policy string) string {
	if l.mode == ModeOff {
		return ""
	}
	return l.declared[policy]
}

// Limit is the limit of a policy, zero if there is no such policy.
func (l *RateLimiter) Limit(policy string) Limit { return l.limits[policy] }

// A Charge is what a call costs under a policy. Subject is whom the policy counts by. Without a cost, the call only
// asks whether one of cost 1 would be admitted.
type Charge struct {
	Policy, Subject string
	Cost            int64
}

// key is what the database counts by. A change of its form opens every window afresh.
func (c Charge) key() string { return c.Policy + " " + c.Subject }

// Charges are what a call costs, in the order that rate_limits_take needs; none if it is not counted. Events count
// once for each source system, and as many times for the sender; without a source that can be told, once. Sources
// matter under PolicyEvents only.
func (l *RateLimiter) Charges(policy, caller string, sources []string) []Charge {
	if _, counted := l.limits[policy]; !counted || l.mode == ModeOff {
		return nil
	}
	if policy != PolicyEvents {
		return []Charge{{policy, caller, 1}}
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(sources)))
	charges := make([]Charge, 0, len(distinct)+1)
	for _, source := range distinct {
		charges = append(charges, Charge{PolicyEvents, source, 1})
	}
	return append(charges, Charge{PolicySender, caller, int64(max(1, len(distinct)))})
}

// Peek is what events cost whose body is not read yet: nothing, but their sender must have calls left.
func (l *RateLimiter) Peek(caller string) []Charge {
	if l.mode == ModeOff {
		return nil
	}
	return []Charge{{PolicySender, caller, 0}}
}

// A Question is charges as arguments of the SQL function rate_limits_take, to be asked together with the principal.
// Element i of each list belongs together.
type Question struct {
	Keys, Policies           []string
	Costs, Quotas, WindowsUs []int64
	asked                    time.Time
}

// Ask makes a Question, to be sent at once: the time that a refused call has to wait is counted from here.
func (l *RateLimiter) Ask(charges []Charge) Question {
	q := Question{asked: l.now()}
	for _, c := range charges {
		limit := l.limits[c.Policy]
		q.Keys, q.Policies = append(q.Keys, c.key()), append(q.Policies, c.Policy)
		q.Costs, q.Quotas = append(q.Costs, c.Cost), append(q.Quotas, limit.Calls)
		q.WindowsUs = append(q.WindowsUs, limit.Window.Microseconds())
	}
	return q
}

// Decide reads the database's answer to a question: three numbers for each charge in turn, which are the calls that
// remain, and in µs the time until the oldest call leaves the window and the time that this call has to wait. There
// are no numbers if the database counted nothing.
func (l *RateLimiter) Decide(q Question, charges []Charge, numbers []int64) Decision {
	now := l.now()
	states := make([]allowance, len(numbers)/3)
	for i := range states {
		c, remaining, reset, wait := charges[i], numbers[3*i], microseconds(numbers[3*i+1]), microseconds(numbers[3*i+2])
		states[i] = allowance{policy: c.Policy, key: c.key(), cost: c.Cost, remaining: remaining, reset: now.Add(reset)}
		if wait > 0 {
			states[i].ready, states[i].until = now.Add(wait), q.asked.Add(wait)
		}
	}
	return l.decision(states, now)
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// Cached is the decision on a call of which the deny cache knows that it is refused.
func (l *RateLimiter) Cached(charges []Charge) (Decision, bool) {
	var refused []allowance
	now := l.now()
	for _, c := range charges {
		if a, denied := l.denied.Get(c.key(), now); denied {
			refused = append(refused, a)
		}
	}
	return l.decision(refused, now), len(refused) > 0
}

// Take decides on a call in a round trip of its own, or without one if the deny cache can tell. Its errors are the
// database's; then nothing is known of the call.
func (l *RateLimiter) Take(ctx context.Context, charges []Charge) (Decision, error) {
	if d, refused := l.Cached(charges); refused || len(charges) == 0 {
		return d, nil
	}
	ask := l.Ask(charges)
	var numbers []int64
	err := l.db.Read(ctx, func(q *db.Queries) (err error) {
		numbers, err = q.RateLimitsTake(ctx, db.RateLimitsTakeParams{Keys: ask.Keys, Costs: ask.Costs, Quotas: ask.Quotas, WindowsUs: ask.WindowsUs})
		return err
	})
	if err != nil {
		return Decision{}, err
	}
	return l.Decide(ask, charges, numbers), nil
}

// Record counts, logs and caches what was decided on a call. The metric counts it once for each policy. The log has a
// line for each key once in a window, with attrs about the call: a flood is logged request by request as it is. The
// deny cache keeps a refusal until the call might be admitted.
func (l *RateLimiter) Record(ctx context.Context, d Decision, attrs ...slog.Attr) {
	var counted []string
	for _, a := range d.states {
		if !a.refused() {
			continue
		}
		if !slices.Contains(counted, a.policy) {
			counted = append(counted, a.policy)
			l.exceeded.WithLabelValues(a.policy, l.mode).Inc()
		}
		limit := l.limits[a.policy]
		if l.logged.PutNew(a.key, struct{}{}, d.at.Add(limit.Window), d.at) {
			l.log.LogAttrs(ctx, slog.LevelWarn, "over the rate limit", slices.Concat(attrs, []slog.Attr{
				slog.String("mode", l.mode), slog.String("policy", a.policy), slog.String("key", a.key), slog.String("limit", limit.String()),
			})...)
		}
		if d.enforced && a.cacheable() {
			l.denied.Put(a.key, a, a.until, d.at)
		}
	}
}

// ClientAddress is whom a limit by client address counts by. A network of IPv6 counts as one: whoever has an address
// has all 2⁶⁴ of it.
func ClientAddress(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	address = address.Unmap().WithZone("")
	if address.Is6() {
		return netip.PrefixFrom(address, 64).Masked().String()
	}
	return address.String()
}
