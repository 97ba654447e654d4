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

	"github.com/google/uuid"
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

// events are the charges of a call from hospital 360.
func (s *testLimiter) events(caller string, sources ...string) []Charge {
	return s.Charges(PolicyEvents, Caller{caller, &hospital360}, sources, 0)
}

var hospital360 = uuid.MustParse("00000000-0000-0000-0000-000000000360")

// decideOn decides on charges with these numbers of calls as the database's answer, three for each, which takes a
// second.
func (s *testLimiter) decideOn(charges []Charge, calls ...int64) Decision {
	var numbers []int64
	for triple := range slices.Chunk(calls, 3) {
		numbers = append(append(numbers, triple...), 0, 0)
	}
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
		`rate limits can be enforce, report or off, not "on"`:                              {Mode: "on", Limits: DefaultLimits()},
		"the rate limit of user cannot be 0/m":                                             {Mode: ModeEnforce, Limits: Limits{Events: Limit{1, time.Hour}, EventBytes: Limit{MinEventBytes, time.Hour}, Auth: Limit{1, time.Hour}, User: Limit{0, time.Minute}}},
		"the rate limit of events-bytes cannot be 9/h: the largest body has 5242880 bytes": {Mode: ModeEnforce, Limits: orDefault(Limits{EventBytes: Limit{9, time.Hour}})},
		"the rate limit of events cannot be 5/0s":                                          {Mode: ModeEnforce, Limits: orDefault(Limits{Events: Limit{5, 0}})},
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
		PolicyUser: `"user";q=100;w=60`, PolicyAuth: `"auth";q=10;w=60`, "none": "", "": "",
		PolicyEvents: `"events";q=3;w=3600, "source";q=30;w=3600, "sender";q=30;w=3600, ` +
			`"events-bytes";q=100000000;w=3600;qu="content-bytes", "source-bytes";q=1000000000;w=3600;qu="content-bytes"`,
	} {
		if got := l.Policy(policy); got != want {
			t.Errorf("%q: %s, want %s", policy, got, want)
		}
		if got := newTestLimiter(t, ModeOff, Limits{}).Policy(policy); got != "" {
			t.Errorf("%q, when limits are off: %s", policy, got)
		}
	}
	for policy, want := range map[string]Limit{PolicyEvents: {3, time.Hour}, PolicySource: {30, time.Hour}, PolicySender: {30, time.Hour}, PolicyUser: {100, time.Minute}, "none": {}} {
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
		{PolicyUser, sources, []Charge{{"user", "sara", nil, 1, 0}}},
		{PolicyAuth, nil, []Charge{{"auth", "sara", nil, 1, 0}}},
		{PolicyEvents, sources, []Charge{
			{"events", "his", &hospital360, 1, 70}, {"events", "rad", &hospital360, 1, 70}, {"source", "his", &hospital360, 1, 70},
			{"source", "rad", &hospital360, 1, 70}, {"sender", "sara", nil, 2, 0},
		}},
		{PolicyEvents, []string{""}, []Charge{{"events", "", &hospital360, 1, 70}, {"source", "", &hospital360, 1, 70}, {"sender", "sara", nil, 1, 0}}},
		{PolicyEvents, nil, []Charge{{"sender", "sara", nil, 1, 0}}},
		{"none", sources, nil},
		{"", nil, nil},
	} {
		if got := l.Charges(c.policy, Caller{"sara", &hospital360}, c.sources, 70); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.policy, got, c.want)
		}
		if got := off.Charges(c.policy, Caller{"sara", &hospital360}, c.sources, 70); got != nil {
			t.Errorf("%q, when limits are off: %v", c.policy, got)
		}
	}
	if sources[0] != "rad" {
		t.Error("the sources were sorted in place")
	}
	sara := Caller{ID: "sara"}
	if got := l.Peek(sara, nil); !slices.Equal(got, []Charge{{"sender", "sara", nil, 0, 0}}) || off.Peek(sara, nil) != nil {
		t.Errorf("%v, and %v when limits are off", got, off.Peek(sara, nil))
	}
	if got := l.Peek(sara, []string{"his"}); !slices.Equal(got, []Charge{{"events", "his", nil, 0, 0}, {"source", "his", nil, 0, 0}, {"sender", "sara", nil, 0, 0}}) {
		t.Errorf("%v, when the source is known", got)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, "", Limits{Events: Limit{3, 300 * time.Millisecond}, EventBytes: Limit{10_000_000, 5 * time.Second}})
	q := l.Ask(l.Charges(PolicyEvents, Caller{ID: "sara"}, []string{"his"}, 2000))
	got := fmt.Sprint(q.Keys, q.Policies, q.Numbers)
	if want := "[events all his source his sender sara] [events source sender] " +
		"[1 3 300000 1001 5000000 1 30 300000 101 5000000 1 30 300000 0 0]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := l.AskInHospital(l.events("sara", "his")).Keys; got[0] != "events {hospital} his" || got[1] != "source his" {
		t.Errorf("%q before the hospital is known", got)
	}
	if got, want := l.Ask(l.events("sara", "his")).Keys[0], "events 00000000-0000-0000-0000-000000000360 his"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if q := l.Ask(nil); q.Keys != nil || q.Numbers != nil {
		t.Errorf("%v, want nothing to ask", q)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	charges := l.events("sara", "a", "b")
	// The policy with the fewest remaining calls comes first; of equal ones, that with the later
	// reset.
	admitted := l.decideOn(charges, 7, 9*second, 0, 5, 8*second, 0, 90, 9*second, 0, 80, 9*second, 0, 5, 9*second, 0)
	if got, want := admitted.Field(), `"sender";r=5;t=9, "events";r=5;t=8, "source";r=80;t=9`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if admitted.Err() != nil || admitted.Refused() || !admitted.Until().IsZero() {
		t.Errorf("%v, %v, want to be admitted", admitted.Err(), admitted.Until())
	}
	// Each policy reports the longest wait of its keys, and Retry-After is the longest of all.
	refused := l.decideOn(charges, 0, 3*second, 3*second, 0, 2*second, 2*second, 20, 9*second, 0, 20, 9*second, 0, 9, 9*second, 0)
	if got, want := refused.Field(), `"events";r=0;t=3, "sender";r=9;t=9, "source";r=20;t=9`; got != want {
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

// The bytes of a call are told and refused beside it, and what refuses them is not cached: a smaller call may pass.
func TestDecideOnBytes(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	charges := l.Charges(PolicyEvents, Caller{ID: "sara"}, []string{"his"}, 2_000_000)
	numbers := []int64{7, second, 0, 720 * second, 0, 70, second, 0, 360 * second, 0, 60, second, 0, 0, 0}
	admitted := l.Decide(l.Ask(charges), charges, numbers)
	want := `"events";r=7;t=1, "sender";r=60;t=1, "source";r=70;t=1, "events-bytes";r=80000000;t=720`
	if got := admitted.Field(); got != want || admitted.Refused() {
		t.Errorf("%s, want %s", got, want)
	}
	numbers[3], numbers[4] = 3599*second, 71*second
	refused := l.Decide(l.Ask(charges), charges, numbers)
	wantThrottled(t, refused, "71")
	if got, want := refused.Field(), `"events-bytes";r=27777;t=3599`; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s first", got, want)
	}
	l.Record(t.Context(), refused)
	if _, found := l.Cached(charges); found || !refused.Until().IsZero() {
		t.Error("what refused a large call is cached for small ones")
	}
	if want := map[string]float64{"enforce events-bytes": 1}; !maps.Equal(l.counted(t), want) || !strings.Contains(l.text.String(), "limit=100000000/h") {
		t.Errorf("counted %v, logged %s", l.counted(t), l.text.String())
	}
}

func TestRecordAndCache(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	charges := l.events("sara", "a", "b")
	d := l.decideOn(charges, 0, 30*second, 30*second, 0, 20*second, 20*second, 9, 9*second, 0, 9, 9*second, 0, 0, 40*second, 40*second)
	if _, found := l.Cached(charges); found {
		t.Error("a decision was cached before Record")
	}
	l.Record(t.Context(), d, slog.String("request_id", "r1"), slog.String("ip", "203.0.113.7"))
	l.Record(t.Context(), d)
	if want := map[string]float64{"enforce events": 2, "enforce sender": 2}; !maps.Equal(l.counted(t), want) {
		t.Errorf("counted %v, want %v: once for each policy and call", l.counted(t), want)
	}
	text := l.text.String()
	if want := `msg="over the rate limit" request_id=r1 ip=203.0.113.7 mode=enforce policy=events key="events 00000000-0000-0000-0000-000000000360 a" limit=1000/h`; !strings.Contains(text, want) || strings.Count(text, "\n") != 3 {
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
	if _, found := l.Cached(l.events("sara", "c")); found {
		t.Error("a call of cost 1 was refused because of a call of cost 2")
	}
	// Other calls with the same key are refused too, until the wait is over.
	otherCharges := l.events("omar", "b", "c")
	if known, found := l.Cached(otherCharges); !found || known.Field() != `"events";r=0;t=15` {
		t.Errorf("%v: %s", found, known.Field())
	}
	l.at = l.at.Add(15 * time.Second)
	if known, found := l.Cached(otherCharges); found {
		t.Errorf("%s is cached too long", known.Field())
	}
	// What one hospital has used up is not refused to another.
	if _, found := l.Cached(l.Charges(PolicyEvents, Caller{ID: "sara"}, []string{"a"}, 0)); found {
		t.Error("refused to another hospital")
	}
	// The log is limited to one line a key and window.
	l.at = l.at.Add(time.Hour)
	l.Record(t.Context(), l.decideOn(charges[:1], 0, 30*second, 30*second))
	if text := l.text.String(); strings.Count(text, "\n") != 4 {
		t.Errorf("the log has %s\nwant 4 lines", text)
	}
}

// An exhausted sender is refused before the body is read, and by the cache the next time.
func TestPeekIsCached(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeEnforce, Limits{})
	sara := Caller{ID: "sara"}
	l.Record(t.Context(), l.decideOn(l.Peek(sara, nil), 0, 30*second, 30*second))
	for name, charges := range map[string][]Charge{"peek": l.Peek(sara, nil), "call": l.events("sara")} {
		if d, found := l.Cached(charges); !found || !d.Refused() {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestReportRefusesNothing(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, ModeReport, Limits{})
	charges := l.Charges(PolicyUser, Caller{ID: "sara"}, nil, 0)
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
		d, err := l.Take(t.Context(), l.Charges(PolicyEvents, Caller{"sara", &hospital360}, sources, 0))
		if got := times.ReplaceAllString(d.Field(), ""); err != nil || got != want || d.Refused() != refused {
			t.Errorf("%s, refused %v, %v, want %s, %v", got, d.Refused(), err, want, refused)
		}
		l.Record(t.Context(), d)
	}
	a, b := processes[0], processes[1]
	take(a, `"events";r=1, "sender";r=18, "source";r=19`, false, "his", "rad")
	take(b, `"events";r=0, "sender";r=17, "source";r=18`, false, "his")
	take(a, `"events";r=0, "sender";r=17, "source";r=18`, true, "his")
	take(a, `"events";r=0`, true, "his") // by the cache, which has only the exhausted policy
	take(b, `"events";r=0, "sender";r=16, "source";r=18`, false, "rad")
	if d, err := a.Take(t.Context(), nil); err != nil || d.Field() != "" || d.Refused() {
		t.Errorf("%v, %v: no charges must not query the database", d, err)
	}
	database.Close()
	if _, err := b.Take(t.Context(), b.Charges(PolicyUser, Caller{ID: "sara"}, nil, 0)); err == nil {
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
