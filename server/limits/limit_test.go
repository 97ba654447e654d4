package limits

import (
	"cmp"
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
		"1000000000/h": {maxQuota, time.Hour},
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

func TestLimitsThatCannotBeEnforced(t *testing.T) {
	t.Parallel()
	if err := DefaultLimits().validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, wrong := range []Limit{{}, {0, time.Hour}, {-1, time.Hour}, {5, 0}, {maxQuota + 1, time.Hour}} {
		for name, set := range map[string]func(*Limits){
			"events": func(l *Limits) { l.Events = wrong }, "bytes": func(l *Limits) { l.EventBytes = wrong }, "auth": func(l *Limits) { l.Auth = wrong }, "user": func(l *Limits) { l.User = wrong },
		} {
			limits := DefaultLimits()
			set(&limits)
			if err := limits.validate(); err == nil {
				t.Errorf("%v for %s is no error", wrong, name)
			}
		}
	}
}

// orDefault sets the limits that are zero to their defaults.
func orDefault(l Limits) Limits {
	d := DefaultLimits()
	return Limits{cmp.Or(l.Events, d.Events), cmp.Or(l.EventBytes, d.EventBytes), cmp.Or(l.Auth, d.Auth), cmp.Or(l.User, d.User)}
}
