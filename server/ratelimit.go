package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// What a server does about calls over a limit.
const (
	limitsEnforced = "enforce" // refuses them
	limitsReported = "report"  // counts and logs them
	limitsOff      = "off"     // does not look
)

// The policies that calls are counted under. The first three are also what the contract calls the limit
// of an operation; the last comes with the events'.
const (
	policyNone   = "none"
	policyUser   = "user"   // by user
	policyAuth   = "auth"   // by client address
	policyEvents = "events" // by source system
	policySender = "sender" // by whoever sends events
)

// A limiter knows the limits, and remembers who is over one. The counting is the database's, in
// rate_limits_take, so that all processes share it; what a limiter remembers only spares the database the
// question to which it knows the answer.
type limiter struct {
	db       *queries.DB
	log      *slog.Logger
	mode     string
	policies map[string]Limit
	declared map[string]string // the RateLimit-Policy field, by the limit of an operation
	refused  *prometheus.CounterVec
	denied   *memory[allowance]      // by key: good until a call might be admitted again
	callers  *memory[auth.Principal] // by credential: who was refused
	noted    *memory[struct{}]       // by key: what the log has said already
}

func newLimiter(database *queries.DB, o Options) (*limiter, error) {
	switch o.RateLimits {
	case limitsEnforced, limitsReported, limitsOff:
	default:
		return nil, fmt.Errorf("rate limits can be %s, %s or %s, not %q", limitsEnforced, limitsReported, limitsOff, o.RateLimits)
	}
	if err := o.Limits.validate(); err != nil {
		return nil, err
	}
	l := &limiter{
		db: database, log: o.Log, mode: o.RateLimits,
		policies: map[string]Limit{
			policyUser: o.Limits.User, policyAuth: o.Limits.Auth, policyEvents: o.Limits.Events,
			policySender: {o.Limits.Events.Calls * senderFactor, o.Limits.Events.Window},
		},
		declared: map[string]string{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_rate_limited_total", Help: "Calls over a rate limit, by policy, and whether that was enforced or only reported.",
		}, []string{"policy", "mode"}),
		denied: newMemory[allowance](), callers: newMemory[auth.Principal](), noted: newMemory[struct{}](),
	}
	for _, policy := range []string{policyUser, policyAuth, policyEvents} {
		l.declared[policy] = declaration(policy, l.policies[policy])
	}
	l.declared[policyEvents] += ", " + declaration(policySender, l.policies[policySender])
	if o.Registerer != nil {
		o.Registerer.MustRegister(l.refused)
	}
	return l, nil
}

func (l *limiter) off() bool { return l.mode == limitsOff }

// declare tells the caller which limits an operation has.
func (l *limiter) declare(header http.Header, limit string) {
	if text := l.declared[limit]; text != "" && !l.off() {
		header.Set("RateLimit-Policy", text)
	}
}

// key is what calls are counted by: a policy and whom it is about.
func key(policy, whom string) string { return policy + " " + whom }

// identity names a principal as keys do.
func identity(p auth.Principal) string {
	if p.Kind == auth.KindAPIKey {
		return p.ConfigID.String()
	}
	return p.UserID.String()
}

// An allowance is what somebody has left of a limit.
type allowance struct {
	policy, key string
	cost        int64 // of the call
	remaining   int64
	reset       time.Time // when the oldest call stops to count
	// Of a refused call: when it would be admitted, at the latest and at the earliest. The database tells a
	// duration, counted from some moment between question and answer.
	ready, until time.Time
}

func (a allowance) refused() bool { return !a.ready.IsZero() }

// A charge is what a call costs under a policy.
type charge struct {
	policy, whom string
	cost         int64
}

func (c charge) key() string { return key(c.policy, c.whom) }

// charges are what a request costs, sorted by key, that comes from p as far as is known. Sending events counts
// once for each source system, and as many times for the sender; without a source that can be told, once.
// Before its body is read, a request only has to ask what the sender has left.
func (l *limiter) charges(r *request, limit string, p auth.Principal) []charge {
	if _, counted := l.policies[limit]; !counted || l.off() {
		return nil
	}
	whom := identity(p)
	switch {
	case limit != policyEvents:
		return []charge{{limit, whom, 1}}
	case r.unread:
		return []charge{{policySender, whom, 0}}
	}
	var list []charge
	sources := r.sources(p)
	for _, source := range sources {
		list = append(list, charge{policyEvents, source, 1})
	}
	return append(list, charge{policySender, whom, int64(max(1, len(sources)))})
}

// A question asks the database to make charges. Element i of each list belongs together.
type question struct {
	keys, policies           []string
	costs, quotas, windowsUs []int64
	asked                    time.Time
}

func (l *limiter) question(charges []charge) question {
	q := question{asked: time.Now()}
	for _, c := range charges {
		limit := l.policies[c.policy]
		q.keys, q.policies = append(q.keys, c.key()), append(q.policies, c.policy)
		q.costs, q.quotas = append(q.costs, c.cost), append(q.quotas, limit.Calls)
		q.windowsUs = append(q.windowsUs, limit.Window.Microseconds())
	}
	return q
}

// answer reads what the database says of each charge in turn, three numbers; nothing, if it made none.
func (q question) answer(charges []charge, numbers []int64) []allowance {
	now := time.Now()
	left := make([]allowance, len(numbers)/3)
	for i := range left {
		remaining, reset, wait := numbers[3*i], microseconds(numbers[3*i+1]), microseconds(numbers[3*i+2])
		left[i] = allowance{policy: charges[i].policy, key: charges[i].key(), cost: charges[i].cost, remaining: remaining, reset: now.Add(reset)}
		if wait > 0 {
			left[i].ready, left[i].until = now.Add(wait), q.asked.Add(wait)
		}
	}
	return left
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// identify finds out who sends a request, and what is left to them of the limits. A caller who was refused
// a moment ago is recalled, if that is enough to refuse this call too: so a flood of such calls never
// reaches the database.
func (s *Server) identify(ctx context.Context, r *request, limit string) (left []allowance, err error) {
	if known, found := s.limiter.callers.get(r.credential.id(), time.Now()); found {
		left = s.limiter.refusals(s.limiter.charges(r, limit, known))
		if len(left) > 0 {
			r.principal = known
			return left, nil
		}
	}
	r.principal, left, err = s.authenticate(ctx, r, limit)
	return left, err
}

// refusals are what is remembered of charges that were refused, and would be again.
func (l *limiter) refusals(charges []charge) []allowance {
	var known []allowance
	now := time.Now()
	for _, c := range charges {
		if a, denied := l.denied.get(c.key(), now); denied {
			known = append(known, a)
		}
	}
	return known
}

// settle tells the caller what is left of each limit that a call counts under, and is an error if one of
// them has to be enforced.
func (l *limiter) settle(ctx context.Context, r *request, left ...allowance) error {
	if len(left) == 0 {
		return nil
	}
	now := time.Now()
	// The longest wait first, then the least that is left: of each policy only the first is shown.
	slices.SortFunc(left, func(a, b allowance) int {
		return cmp.Or(b.ready.Compare(a.ready), cmp.Compare(a.remaining, b.remaining), b.reset.Compare(a.reset))
	})
	var shown, fields []string
	for _, a := range left {
		if a.refused() {
			l.note(ctx, r, a, now)
			l.remember(r, a, now)
		}
		if slices.Contains(shown, a.policy) {
			continue
		}
		shown, fields = append(shown, a.policy), append(fields, a.field(now))
		if a.refused() {
			l.refused.WithLabelValues(a.policy, l.mode).Inc()
		}
	}
	r.header.Set("RateLimit", strings.Join(fields, ", "))
	if left[0].refused() && l.mode == limitsEnforced {
		return throttled(left[0].ready.Sub(now))
	}
	return nil
}

// note writes to the log who is over a limit, once in each window: a flood has a line for each request
// as it is.
func (l *limiter) note(ctx context.Context, r *request, a allowance, now time.Time) {
	if l.noted.putNew(a.key, struct{}{}, now.Add(l.policies[a.policy].Window), now) {
		l.log.WarnContext(ctx, "over the rate limit", "request_id", r.id, "mode", l.mode, "policy", a.policy, "key", a.key,
			"limit", l.policies[a.policy].String(), "caller", r.caller(), "ip", r.clientIP)
	}
}

// remember keeps a refusal, so that until it ends the same call costs the database nothing. It also
// keeps who made it: whether that caller may do a thing at all goes before whether it may now. A call that
// cost more than others do says nothing of those.
func (l *limiter) remember(r *request, a allowance, now time.Time) {
	if l.mode != limitsEnforced || a.cost > 1 {
		return
	}
	l.denied.put(a.key, a, a.until, now)
	if r.principal.Kind != auth.KindAnonymous {
		l.callers.put(r.credential.id(), r.principal, a.until, now)
	}
}

// charge makes charges that nothing else is asked together with, unless one is known to be refused, and is an
// error if one is that has to be enforced.
func (l *limiter) charge(ctx context.Context, r *request, charges []charge) error {
	left := l.refusals(charges)
	if len(charges) > 0 && len(left) == 0 {
		ask := l.question(charges)
		var numbers []int64
		err := l.db.Read(ctx, func(q *db.Queries) (err error) {
			numbers, err = q.RateLimitsTake(ctx, db.RateLimitsTakeParams{Keys: ask.keys, Costs: ask.costs, Quotas: ask.quotas, WindowsUs: ask.windowsUs})
			return err
		})
		if err != nil {
			return err
		}
		left = ask.answer(charges, numbers)
	}
	return l.settle(ctx, r, left...)
}

// chargeAddress counts a call by the address that it comes from, having no other name.
func (l *limiter) chargeAddress(ctx context.Context, r *request) error {
	if l.off() {
		return nil
	}
	return l.charge(ctx, r, []charge{{policyAuth, address(r.clientIP), 1}})
}

// throttled is the answer to a call that would be admitted after wait.
func throttled(wait time.Duration) *problem {
	seconds := max(1, wholeSeconds(wait))
	plural := "s"
	if seconds == 1 {
		plural = ""
	}
	return &problem{
		http.StatusTooManyRequests,
		detail{Detail: fmt.Sprintf("Request was throttled. Expected available in %d second%s.", seconds, plural)},
		map[string]string{"Retry-After": strconv.FormatInt(seconds, 10)},
	}
}

// declaration is a member of the RateLimit-Policy field, and field one of RateLimit, as in
// draft-ietf-httpapi-ratelimit-headers: structured fields (RFC 9651), whose times are whole seconds.
func declaration(policy string, limit Limit) string {
	return fmt.Sprintf("%q;q=%d;w=%d", policy, limit.Calls, wholeSeconds(limit.Window))
}

func (a allowance) field(now time.Time) string {
	return fmt.Sprintf("%q;r=%d;t=%d", a.policy, a.remaining, wholeSeconds(a.reset.Sub(now)))
}

// wholeSeconds rounds up: who comes back then does not come too early.
func wholeSeconds(d time.Duration) int64 {
	return max(0, int64((d+time.Second-1)/time.Second))
}

// address is whom a limit by client address is about. A network of IPv6 counts as one: whoever has an
// address has all 2⁶⁴ of it.
func address(clientIP string) string {
	ip, err := netip.ParseAddr(clientIP)
	if err != nil {
		return clientIP
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

// forgetInterval is how often a process removes what idle keys left. Each does, and together they do it
// no less well.
const forgetInterval = 10 * time.Minute

// run removes the rows of idle keys, at once and then now and then, until ctx ends.
func (l *limiter) run(ctx context.Context) {
	for pause := time.Duration(0); !l.off(); pause = forgetInterval/2 + rand.N(forgetInterval) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		err := l.db.Read(ctx, func(q *db.Queries) error {
			_, err := q.RateLimitForget(ctx)
			return err
		})
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "idle rate limits not removed", "error", logged(err))
		}
	}
}
