package server

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Limit{
		"1000/h":       {1000, time.Hour},
		"10/m":         {10, time.Minute},
		"1/s":          {1, time.Second},
		" 5 / minute ": {5, time.Minute},
		"7/D":          {7, 24 * time.Hour},
		"3/90s":        {3, 90 * time.Second},
		"1000000000/h": {maxCalls, time.Hour},
	} {
		var got Limit
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
		if again, err := ParseLimit(got.String()); err != nil || again != got {
			t.Errorf("%v is written as %q, which reads as %v, %v", got, got.String(), again, err)
		}
	}
	for text, reason := range map[string]string{
		"":             "needs a slash",
		"1000":         "needs a slash",
		"/h":           `"" is no whole number`,
		"x/h":          `"x" is no whole number`,
		"1.5/h":        "no whole number",
		"0/h":          "would admit nothing",
		"-1/h":         "would admit nothing",
		"1000000001/h": "above the largest",
		"10/week":      `"week" is none of s, m, h and d`,
		"10/":          `"" is none of s, m, h and d`,
		"10/h/h":       `"h/h" is none of`,
		"10/10ms":      "from one second to one day",
		"10/48h":       "from one second to one day",
	} {
		if limit, err := ParseLimit(text); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v, %v, want an error with %q", text, limit, err, reason)
		}
	}
}

func TestRateLimitFields(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for want, got := range map[string]string{
		`"user";q=100;w=60`:     declaration(policyUser, Limit{100, time.Minute}),
		`"events";q=1000;w=1`:   declaration(policyEvents, Limit{1000, 300 * time.Millisecond}),
		`"user";r=42;t=17`:      allowance{policy: policyUser, remaining: 42, reset: now.Add(16001 * time.Millisecond)}.field(now),
		`"auth";r=0;t=17`:       allowance{policy: policyAuth, reset: now.Add(17 * time.Second)}.field(now),
		`"sender";r=10000;t=0`:  allowance{policy: policySender, remaining: 10000, reset: now.Add(-time.Second)}.field(now),
		"37 37 seconds.":        throttledText(37 * time.Second),
		"37 37 seconds. ":       throttledText(36*time.Second+1) + " ",
		"1 1 second.":           throttledText(time.Second),
		"1 1 second. (at once)": throttledText(-time.Second) + " (at once)",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// throttledText is Retry-After and what the body says of it.
func throttledText(wait time.Duration) string {
	p := throttled(wait)
	return p.header["Retry-After"] + " " + strings.TrimPrefix(p.body.(detail).Detail, "Request was throttled. Expected available in ")
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
		if got := address(ip); got != want {
			t.Errorf("%s counts as %s, want %s", ip, got, want)
		}
	}
}

func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	m, now := newMemory[int](), time.Now()
	m.put("a", 1, now.Add(time.Minute), now)
	if m.putNew("a", 2, now.Add(time.Hour), now) {
		t.Error("what is there is not new")
	}
	if got, found := m.get("a", now.Add(59*time.Second)); !found || got != 1 {
		t.Errorf("%d, %v, want 1", got, found)
	}
	if got, found := m.get("a", now.Add(time.Minute)); found {
		t.Errorf("%d is remembered too long", got)
	}
	if !m.putNew("a", 3, now.Add(time.Hour), now) {
		t.Error("what was forgotten is new")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m, now := newMemory[int](), time.Now()
	for i := range memorySize + 10 {
		m.put(fmt.Sprint(i), i, now.Add(time.Minute), now)
	}
	if len(m.entries) != memorySize {
		t.Errorf("%d entries, want %d", len(m.entries), memorySize)
	}
	m.put("0", -1, now.Add(time.Minute), now)
	if got, _ := m.get("0", now); got != -1 {
		t.Errorf("%d: what is there can be changed when nothing more fits, want -1", got)
	}
	later := now.Add(2 * time.Minute)
	m.put("new", 1, later.Add(time.Minute), later)
	if len(m.entries) != 1 {
		t.Errorf("%d entries when all but one have passed, want 1", len(m.entries))
	}
}
