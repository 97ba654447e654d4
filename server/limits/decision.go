package limits

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/px360/px360/server/problem"
)

// A Decision is what the limits say of a call. The zero Decision admits a call that was not counted.
type Decision struct {
	states   []allowance // the longest wait first, then the least that remains
	at       time.Time
	enforced bool
}

// An allowance is what somebody has left of a limit.
type allowance struct {
	policy, key string
	cost        int64 // of the call
	remaining   int64
	reset       time.Time // when the oldest call leaves the window, or the bucket is full
	// Of a refused call: when it would be admitted, at the latest and at the earliest. The database tells a
	// duration, counted from some moment between question and answer.
	ready, until time.Time
}

func (a allowance) refused() bool { return !a.ready.IsZero() }

// cacheable is whether the refusal holds for every call under the key. That of a call which cost more than others do
// says nothing of those.
func (a allowance) cacheable() bool { return a.refused() && a.cost <= 1 }

func (l *RateLimiter) decision(states []allowance, now time.Time) Decision {
	slices.SortFunc(states, func(a, b allowance) int {
		return cmp.Or(b.ready.Compare(a.ready), cmp.Compare(a.remaining, b.remaining), b.reset.Compare(a.reset))
	})
	return Decision{states, now, l.mode == ModeEnforce}
}

// Field is the RateLimit field, which tells the caller what is left: of each policy the limit that is nearest to being
// used up. It is "" if there is nothing to tell.
func (d Decision) Field() string {
	field := make([]byte, 0, 128)
	for i, a := range d.states {
		if slices.ContainsFunc(d.states[:i], func(before allowance) bool { return before.policy == a.policy }) {
			continue
		}
		if i > 0 {
			field = append(field, ", "...)
		}
		field = a.appendItem(field, d.at)
	}
	return string(field)
}

// Refused is whether Err is an error. It is false if limits are only reported.
func (d Decision) Refused() bool {
	return d.enforced && len(d.states) > 0 && d.states[0].refused()
}

// Err is a *problem.Problem, 429 with Retry-After, if the call is refused and limits are enforced.
func (d Decision) Err() error {
	if !d.Refused() {
		return nil
	}
	return throttled(d.states[0].ready.Sub(d.at))
}

// Until is how long the deny cache keeps the refusal once it is recorded; zero if it does not. A caller's own cache of
// who was refused has no use beyond that time.
func (d Decision) Until() time.Time {
	var latest time.Time
	for _, a := range d.states {
		if d.enforced && a.cacheable() && a.until.After(latest) {
			latest = a.until
		}
	}
	return latest
}

// throttled is the answer to a call that would be admitted after wait.
func throttled(wait time.Duration) *problem.Problem {
	seconds := max(1, wholeSeconds(wait))
	plural := "s"
	if seconds == 1 {
		plural = ""
	}
	p := problem.New(http.StatusTooManyRequests, fmt.Sprintf("Request was throttled. Expected available in %d second%s.", seconds, plural))
	p.Header = map[string]string{"Retry-After": strconv.FormatInt(seconds, 10)}
	return p
}

// policyItem is a member of the RateLimit-Policy field, and appendItem one of RateLimit, as in
// draft-ietf-httpapi-ratelimit-headers: structured fields (RFC 9651), whose times are whole seconds.
func policyItem(policy string, limit Limit) string {
	item := fmt.Sprintf("%q;q=%d;w=%d", policy, limit.Quota, wholeSeconds(limit.Window))
	if isBytes(policy) {
		item += `;qu="content-bytes"`
	}
	return item
}

func (a allowance) appendItem(field []byte, now time.Time) []byte {
	field = append(strconv.AppendQuote(field, a.policy), ";r="...)
	field = append(strconv.AppendInt(field, a.remaining, 10), ";t="...)
	return strconv.AppendInt(field, wholeSeconds(a.reset.Sub(now)), 10)
}

// wholeSeconds rounds up, so that whoever comes back then does not come too early.
func wholeSeconds(d time.Duration) int64 {
	return max(0, int64((d+time.Second-1)/time.Second))
}
