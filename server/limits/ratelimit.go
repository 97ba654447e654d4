// Package limits is how much one caller, or all of them together, may ask for: calls in a sliding window
// (ratelimit.go and decision.go; limit.go reads a limit, cache.go keeps refusals), what is in use at one time (budget.go,
// connections.go; turns.go shares it by address) and repeated logins (logins.go). It knows the policies and the SQL function that counts calls. It must not know who
// a caller is beyond a text that identifies them, nor any operation, request or noun.
package limits

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
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
	PolicyEvents = "events" // by hospital and source system, and beside it the next two
	PolicySource = "source" // events by source system
	PolicySender = "sender" // events by whoever sends them
	PolicyKey    = "key"    // wrong API keys, by client address
	PolicyLink   = "link"   // wrong links to surveys, by client address
)

// bytesOf is the policy that the bytes of a policy's calls are counted under.
func bytesOf(policy string) string { return policy + "-bytes" }

func isBytes(policy string) bool { return strings.HasSuffix(policy, "-bytes") }

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
	l := &RateLimiter{
		db: database, log: o.Log, mode: mode, now: time.Now,
		limits: map[string]Limit{
			PolicyUser: set.User, PolicyAuth: set.Auth, PolicyKey: set.Auth, PolicyLink: set.Auth,
			PolicyEvents: set.Events, PolicySource: set.Events.overall(), PolicySender: set.Events.overall(),
			bytesOf(PolicyEvents): set.EventBytes, bytesOf(PolicySource): set.EventBytes.overall(),
		},
		declared: map[string]string{},
		exceeded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_rate_limited_total", Help: "Calls over a rate limit, by policy, and whether that was enforced or only reported.",
		}, []string{"policy", "mode"}),
		denied: NewCache[allowance](CacheSize), logged: NewCache[struct{}](CacheSize),
	}
	for policy, told := range map[string][]string{
		PolicyUser: {PolicyUser}, PolicyAuth: {PolicyAuth},
		PolicyEvents: {PolicyEvents, PolicySource, PolicySender, bytesOf(PolicyEvents), bytesOf(PolicySource)},
	} {
		var items []string
		for _, name := range told {
			items = append(items, policyItem(name, l.limits[name]))
		}
		l.declared[policy] = strings.Join(items, ", ")
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

// A Caller is whom calls are counted by.
type Caller struct {
	ID       string
	Hospital *uuid.UUID // under PolicyEvents; nil: all of them
}

// A Charge is what a call costs under a policy. Subject is whom the policy counts by, under PolicyEvents beside the
// hospital. Without a cost, the call only asks whether one of cost 1 would be admitted.
type Charge struct {
	Policy, Subject string
	Hospital        *uuid.UUID
	Cost, Bytes     int64
}

// hospitalPlace stands in a key of PolicyEvents for a hospital that is not known yet; the statement that loads the
// caller puts it in.
const hospitalPlace = "{hospital}"

// key is what the database counts by. A change of its form opens every window afresh.
func (c Charge) key() string {
	hospital := "all"
	if c.Hospital != nil {
		hospital = c.Hospital.String()
	}
	return c.keyIn(hospital)
}

func (c Charge) keyIn(hospital string) string {
	if c.Policy == PolicyEvents {
		return c.Policy + " " + hospital + " " + c.Subject
	}
	return c.Policy + " " + c.Subject
}

// Charges are what a call costs, in the order that rate_limits_take needs; none if it is not counted. Events count
// once for each source system, with all bytes of their body, and as many times for the sender; without a source that
// can be told, once. Sources and bytes matter under PolicyEvents only.
func (l *RateLimiter) Charges(policy string, caller Caller, sources []string, bytes int64) []Charge {
	if _, counted := l.limits[policy]; !counted || l.mode == ModeOff {
		return nil
	}
	if policy != PolicyEvents {
		return []Charge{{Policy: policy, Subject: caller.ID, Cost: 1}}
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(sources)))
	charges := make([]Charge, 0, 2*len(distinct)+1)
	for _, policy := range []string{PolicyEvents, PolicySource} {
		for _, source := range distinct {
			charges = append(charges, Charge{policy, source, caller.Hospital, 1, bytes})
		}
	}
	return append(charges, Charge{Policy: PolicySender, Subject: caller.ID, Cost: int64(max(1, len(distinct)))})
}

// Peek is what events cost whose body is not read yet: nothing, but there must be calls left for their sender, and for
// those source systems that are known.
func (l *RateLimiter) Peek(caller Caller, sources []string) []Charge {
	charges := l.Charges(PolicyEvents, caller, sources, 0)
	for i := range charges {
		charges[i].Cost = 0
	}
	return charges
}

// A Question is charges as arguments of the SQL function rate_limits_take, to be asked together with the principal.
type Question struct {
	Keys, Policies []string
	Numbers        []int64 // numbersPerCharge for each
	asked          time.Time
}

// Ask makes a Question, to be sent at once: the time that a refused call has to wait is counted from here.
func (l *RateLimiter) Ask(charges []Charge) Question { return l.ask(charges, Charge.key) }

// AskInHospital is Ask for a caller whose hospital is not known yet.
func (l *RateLimiter) AskInHospital(charges []Charge) Question {
	return l.ask(charges, func(c Charge) string { return c.keyIn(hospitalPlace) })
}

func (l *RateLimiter) ask(charges []Charge, key func(Charge) string) Question {
	q := Question{asked: l.now()}
	if len(charges) == 0 {
		return q
	}
	q.Keys, q.Policies = make([]string, len(charges)), make([]string, len(charges))
	q.Numbers = make([]int64, 0, numbersPerCharge*len(charges))
	for i, c := range charges {
		limit := l.limits[c.Policy]
		q.Keys[i], q.Policies[i] = key(c), c.Policy
		var refill, burst int64
		if c.Bytes > 0 {
			bytes := l.limits[bytesOf(c.Policy)]
			refill, burst = bytes.refill(c.Bytes).Microseconds()+1, bytes.Window.Microseconds() // rounded up, as 0 counts nothing
		}
		q.Numbers = append(q.Numbers, c.Cost, limit.Quota, limit.Window.Microseconds(), refill, burst)
	}
	return q
}

// numbersPerCharge is how many numbers the database is asked with, and answers, for each charge.
const numbersPerCharge = 5

// Decide reads the database's answer to a question: five numbers for each charge in turn, which are the calls that
// remain, and in µs the time until the oldest call leaves the window, the time that this call has to wait, the time
// until the bucket of bytes is full, and the time that this call has to wait for it. There are no numbers if the
// database counted nothing.
func (l *RateLimiter) Decide(q Question, charges []Charge, numbers []int64) Decision {
	now := l.now()
	states := make([]allowance, 0, 2*len(charges))
	add := func(a allowance, reset, wait time.Duration) {
		a.reset = now.Add(reset)
		if wait > 0 {
			a.ready, a.until = now.Add(wait), q.asked.Add(wait)
		}
		states = append(states, a)
	}
	for i := range len(numbers) / numbersPerCharge {
		c, n := charges[i], numbers[numbersPerCharge*i:]
		add(allowance{policy: c.Policy, key: c.key(), cost: c.Cost, remaining: n[0]}, microseconds(n[1]), microseconds(n[2]))
		// Bytes are told once a tenth of them is used up: few calls come near.
		if missing := microseconds(n[3]); c.Bytes > 0 && (n[4] > 0 || missing > l.limits[bytesOf(c.Policy)].Window/10) {
			policy := bytesOf(c.Policy)
			limit := l.limits[policy]
			left := max(0, int64(float64(limit.Quota)*(1-float64(missing)/float64(limit.Window))))
			add(allowance{policy: policy, key: c.key() + " bytes", cost: c.Bytes, remaining: left}, missing, microseconds(n[4]))
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
		numbers, err = q.RateLimitsTake(ctx, db.RateLimitsTakeParams{Keys: ask.Keys, Numbers: ask.Numbers})
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
