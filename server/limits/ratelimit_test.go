package limits

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/problem"
	"github.com/px360/px360/tests/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// A testLimiter is a RateLimiter with a fake clock.
type testLimiter struct {
	*RateLimiter
	at       time.Time
	text     bytes.Buffer // the log
	registry *prometheus.Registry
}

func newTestLimiter(t *testing.T, mode string, limits Limits) *testLimiter {
	t.Helper()
	s := &testLimiter{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), registry: prometheus.NewRegistry()}
	l, err := NewRateLimiter(nil, RateOptions{Mode: cmp.Or(mode, ModeEnforce), Limits: orDefault(limits), Log: slog.New(slog.NewTextHandler(&s.text, nil)), Registerer: s.registry})
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return s.at }
	s.RateLimiter = l
	return s
}

// decideOn decides on charges with these numbers as the database's answer, which takes a second.
func (s *testLimiter) decideOn(charges []Charge, numbers ...int64) Decision {
	q := s.Ask(charges)
	s.at = s.at.Add(time.Second)
	return s.Decide(q, charges, numbers)
}

// counted returns the counters by mode and policy.
func (s *testLimiter) counted(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			counts[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return counts
}

func wantThrottled(t *testing.T, d Decision, retryAfter string) {
	t.Helper()
	var p *problem.Problem
	if err := d.Err(); !d.Refused() || !errors.As(err, &p) || p.Status != http.StatusTooManyRequests || p.Header["Retry-After"] != retryAfter {
		t.Errorf("refused %v with %v, want 429 with Retry-After: %s", d.Refused(), err, retryAfter)
	}
}

const second = 1_000_000 // µs

func TestNewRateLimiterRefuses(t *testing.T) {
	t.Parallel()
	for reason, o := range map[string]RateOptions{
		`rate limits can be enforce, report or off, not "on"`: {Mode: "on", Limits: DefaultLimits()},
		"the rate limit of user cannot be 0/m":                {Mode: ModeEnforce, Limits: Limits{Events: Limit{1, time.Hour}, Auth: Limit{1, time.Hour}, User: Limit{0, time.Minute}}},
		"the rate limit of events cannot be 5/0s":             {Mode: ModeEnforce, Limits: orDefault(Limits{Events: Limit{5, 0}})},
	} {
		if _, err := NewRateLimiter(nil, o); err == nil || err.Error() != reason {
			t.Errorf("%v, want %s", err, reason)
		}
	}
	registry := prometheus.NewRegistry()
	for i, want := range []bool{true, false} {
		if _, err := NewRateLimiter(nil, RateOptions{Mode: ModeEnforce, Limits: DefaultLimits(), Registerer: registry}); (err == nil) != want {
			t.Errorf("limiter %d of one registry: %v", i+1, err)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, "", Limits{Events: Limit{3, time.Hour}})
	for policy, want := range map[string]string{
		PolicyUser: `"user";q=100;w=60`, PolicyAuth: `"auth";q=10;w=60`, PolicyEvents: `"events";q=3;w=3600, "sender";q=30;w=3600`, "none": "", "": "",
	} {
		if got := l.Policy(policy); got != want {
			t.Errorf("%q: %s, want %s", policy, got, want)
		}
		if got := newTestLimiter(t, ModeOff, Limits{}).Policy(policy); got != "" {
			t.Errorf("%q, when limits are off: %s", policy, got)
		}
	}
	for policy, want := range map[string]Limit{PolicyEvents: {3, time.Hour}, PolicySender: {30, time.Hour}, PolicyUser: {100, time.Minute}, "none": {}} {
		if got := l.Limit(policy); got != want {
			t.Errorf("%q: %v, want %v", policy, got, want)
		}
	}
}

func TestCharges(t *testing.T) {
	t.Parallel()
	l, off := newTestLimiter(t, ModeReport, Limits{}), newTestLimiter(t, ModeOff, Limits{})
	sources := []string{"rad", "his", "rad"}
	for _, c := range []struct {
		policy  string
		sources []string
		want    []Charge
	}{
		{PolicyUser, sources, []Charge{{"user", "sara", 1}}},
		{PolicyAuth, nil, []Charge{{"auth", "sara", 1}}},
		{PolicyEvents, sources, []Charge{{"events", "his", 1}, {"events", "rad", 1}, {"sender", "sara", 2}}},
		{PolicyEvents, []string{""}, []Charge{{"events", "", 1}, {"sender", "sara", 1}}},
		{PolicyEvents, nil, []Charge{{"sender", "sara", 1}}},
		{"none", sources, nil},
		{"", nil, nil},
	} {
		if got := l.Charges(c.policy, "sara", c.sources); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.policy, got, c.want)
		}
		if got := off.Charges(c.policy, "sara", c.sources); got != nil {
			t.Errorf("%q, when limits are off: %v", c.policy, got)
		}
	}
	if sources[0] != "rad" {
		t.Error("the sources were sorted in place")
	}
	if got := l.Peek("sara"); !slices.Equal(got, []Charge{{"sender", "sara", 0}}) || off.Peek("sara") != nil {
		t.Errorf("%v, and %v when limits are off", got, off.Peek("sara"))
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, "", Limits{Events: Limit{3, 300 * time.Millisecond}})
	q := l.Ask(l.Charges(PolicyEvents, "sara", []string{"rad", "his"}))
	got := fmt.Sprint(q.Keys, q.Policies, q.Costs, q.Quotas, q.WindowsUs)
	if want := "[events his events rad sender sara] [events events sender] [1 1 2] [3 3 30] [300000 300000 300000]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !slices.IsSorted(q.Keys) {
		t.Errorf("%q are not sorted", q.Keys)
	}
	if q := l.Ask(nil); q.Keys != nil || q.WindowsUs != nil {
		t.Errorf("%v, want nothing to ask", q)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	charges := l.Charges(PolicyEvents, "sara", []string{"a", "b"})
	// The policy with the fewest remaining calls comes first; of equal ones, that with the later
	// reset.
	admitted := l.decideOn(charges, 7, 9*second, 0, 5, 8*second, 0, 5, 9*second, 0)
	if got, want := admitted.Field(), `"sender";r=5;t=9, "events";r=5;t=8`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if admitted.Err() != nil || admitted.Refused() || !admitted.Until().IsZero() {
		t.Errorf("%v, %v, want to be admitted", admitted.Err(), admitted.Until())
	}
	// Each policy reports the longest wait of its keys, and Retry-After is the longest of all.
	refused := l.decideOn(charges, 0, 3*second, 3*second, 0, 2*second, 2*second, 9, 9*second, 0)
	if got, want := refused.Field(), `"events";r=0;t=3, "sender";r=9;t=9`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	wantThrottled(t, refused, "3")
	if want := l.at.Add(2 * time.Second); !refused.Until().Equal(want) { // the wait counts from the time of the query
		t.Errorf("until %v, want %v", refused.Until(), want)
	}
	for name, d := range map[string]Decision{"zero": {}, "nothing counted": l.decideOn(charges), "no charges": l.decideOn(nil)} {
		if d.Field() != "" || d.Err() != nil || d.Refused() || !d.Until().IsZero() {
			t.Errorf("%s: %q, %v", name, d.Field(), d.Err())
		}
	}
}

func TestRecordAndCache(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	charges := l.Charges(PolicyEvents, "sara", []string{"a", "b"})
	d := l.decideOn(charges, 0, 30*second, 30*second, 0, 20*second, 20*second, 0, 40*second, 40*second)
	if _, found := l.Cached(charges); found {
		t.Error("a decision was cached before Record")
	}
	l.Record(t.Context(), d, slog.String("request_id", "r1"), slog.String("ip", "203.0.113.7"))
	l.Record(t.Context(), d)
	if want := map[string]float64{"enforce events": 2, "enforce sender": 2}; !maps.Equal(l.counted(t), want) {
		t.Errorf("counted %v, want %v: once for each policy and call", l.counted(t), want)
	}
	text := l.text.String()
	if want := `msg="over the rate limit" request_id=r1 ip=203.0.113.7 mode=enforce policy=events key="events a" limit=1000/h`; !strings.Contains(text, want) || strings.Count(text, "\n") != 3 {
		t.Errorf("the log has %s\nwant one line for each key, such as %s", text, want)
	}

	l.at = l.at.Add(5 * time.Second)
	known, found := l.Cached(charges)
	if got, want := known.Field(), `"events";r=0;t=25`; !found || got != want {
		t.Errorf("%v: %s, want %s", found, got, want)
	}
	wantThrottled(t, known, "25")
	if taken, err := l.Take(t.Context(), charges); err != nil || taken.Field() != known.Field() {
		t.Errorf("%v, %v: not answered by the cache", taken, err)
	}
	// A refusal of a call of cost 2 does not apply to a call of cost 1.
	if _, found := l.Cached(l.Charges(PolicyEvents, "sara", []string{"c"})); found {
		t.Error("a call of cost 1 was refused because of a call of cost 2")
	}
	// Other calls with the same key are refused too, until the wait is over.
	otherCharges := l.Charges(PolicyEvents, "omar", []string{"b", "c"})
	if known, found := l.Cached(otherCharges); !found || known.Field() != `"events";r=0;t=15` {
		t.Errorf("%v: %s", found, known.Field())
	}
	l.at = l.at.Add(15 * time.Second)
	if known, found := l.Cached(otherCharges); found {
		t.Errorf("%s is cached too long", known.Field())
	}
	// The log is limited to one line a key and window.
	l.at = l.at.Add(time.Hour)
	l.Record(t.Context(), l.decideOn(charges, 0, 30*second, 30*second, 9, 20*second, 0, 9, 20*second, 0))
	if text := l.text.String(); strings.Count(text, "\n") != 4 {
		t.Errorf("the log has %s\nwant 4 lines", text)
	}
}

// An exhausted sender is refused before the body is read, and by the cache the next time.
func TestPeekIsCached(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	l.Record(t.Context(), l.decideOn(l.Peek("sara"), 0, 30*second, 30*second))
	for name, charges := range map[string][]Charge{"peek": l.Peek("sara"), "call": l.Charges(PolicyEvents, "sara", nil)} {
		if d, found := l.Cached(charges); !found || !d.Refused() {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestReportRefusesNothing(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeReport, Limits{})
	charges := l.Charges(PolicyUser, "sara", nil)
	d := l.decideOn(charges, 0, 30*second, 30*second)
	l.Record(t.Context(), d)
	if d.Field() != `"user";r=0;t=30` || d.Err() != nil || d.Refused() || !d.Until().IsZero() {
		t.Errorf("%s, %v, %v", d.Field(), d.Err(), d.Until())
	}
	if _, found := l.Cached(charges); found {
		t.Error("a call that was not refused is in the deny cache")
	}
	if want := map[string]float64{"report user": 1}; !maps.Equal(l.counted(t), want) || !strings.Contains(l.text.String(), "mode=report") {
		t.Errorf("counted %v, logged %s", l.counted(t), l.text.String())
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	database, err := queries.Open(t.Context(), dbtest.New(t), queries.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Close)
	limits := Limits{Events: Limit{2, time.Hour}}
	var processes [2]*RateLimiter
	for i := range processes {
		if processes[i], err = NewRateLimiter(database, RateOptions{Mode: ModeEnforce, Limits: orDefault(limits), Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	}
	times := regexp.MustCompile(`;t=[0-9]+`)
	take := func(l *RateLimiter, want string, refused bool, sources ...string) {
		t.Helper()
		d, err := l.Take(t.Context(), l.Charges(PolicyEvents, "sara", sources))
		if got := times.ReplaceAllString(d.Field(), ""); err != nil || got != want || d.Refused() != refused {
			t.Errorf("%s, refused %v, %v, want %s, %v", got, d.Refused(), err, want, refused)
		}
		l.Record(t.Context(), d)
	}
	a, b := processes[0], processes[1]
	take(a, `"events";r=1, "sender";r=18`, false, "his", "rad")
	take(b, `"events";r=0, "sender";r=17`, false, "his")
	take(a, `"events";r=0, "sender";r=17`, true, "his")
	take(a, `"events";r=0`, true, "his") // by the cache, which has only the exhausted policy
	take(b, `"events";r=0, "sender";r=16`, false, "rad")
	if d, err := a.Take(t.Context(), nil); err != nil || d.Field() != "" || d.Refused() {
		t.Errorf("%v, %v: no charges must not query the database", d, err)
	}
	database.Close()
	if _, err := b.Take(t.Context(), b.Charges(PolicyUser, "sara", nil)); err == nil {
		t.Error("no error without a database")
	}
}

func TestAddressOfNetworks(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"203.0.113.7":           "203.0.113.7",
		"::ffff:203.0.113.7":    "203.0.113.7",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"2001:db8:1:2::":        "2001:db8:1:2::/64",
		"fe80::1%eth0":          "fe80::/64",
		"2001:db8:1:3:3:4:5:6":  "2001:db8:1:3::/64",
		"no address whatsoever": "no address whatsoever",
	} {
		if got := ClientAddress(ip); got != want {
			t.Errorf("%s counts as %s, want %s", ip, got, want)
		}
	}
}
