package limits

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Limit is how many calls are admitted within any stretch of time of the window's length: a sliding window. A limit of
// bytes is a token bucket: the quota at once, and what refills at that rate.
type Limit struct {
	Quota  int64
	Window time.Duration
}

// Limits by policy. Start from DefaultLimits.
type Limits struct {
	// Creation of events, by the sender's hospital and the source system: calls, and the bytes of their bodies. A source
	// system has ten times that over all hospitals; a sender has ten times the calls over all source systems.
	Events, EventBytes Limit
	Auth               Limit // token operations, all together, by client address; and so wrong API keys, and wrong links to surveys, each by themselves
	User               Limit // everything else, by user
}

// DefaultLimits are those of a server that is configured with none.
func DefaultLimits() Limits {
	return Limits{
		Events: Limit{1000, time.Hour}, EventBytes: Limit{100_000_000, time.Hour},
		Auth: Limit{10, time.Minute}, User: Limit{100, time.Minute},
	}
}

// MinEventBytes is the least quota of Limits.EventBytes: the largest body is admitted sometime.
const MinEventBytes = 5 << 20

// overall is a limit over all hospitals, or over all source systems.
func (l Limit) overall() Limit { return Limit{10 * l.Quota, l.Window} }

// refill is how long a bucket with this limit takes to make up for so many bytes.
func (l Limit) refill(bytes int64) time.Duration {
	return time.Duration(float64(bytes) / float64(l.Quota) * float64(l.Window))
}

// maxQuota keeps a mistyped limit from meaning none: a million a second for a quarter of an hour.
const maxQuota = 1_000_000_000

var windows = map[string]time.Duration{
	"s": time.Second, "sec": time.Second, "second": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hour": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour,
}

// ParseLimit reads a limit such as 1000/h: a number of calls or bytes, a slash, and a window, which is s, m, h, d or a
// duration such as 90s. Its errors quote the text and are for whoever wrote it.
func ParseLimit(text string) (Limit, error) {
	number, unit, found := strings.Cut(text, "/")
	if !found {
		return Limit{}, fmt.Errorf("%q is no rate limit such as 1000/h: it needs a slash and a window", text)
	}
	quota, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	switch {
	case err != nil:
		return Limit{}, fmt.Errorf("%q is no rate limit such as 1000/h: %q is no whole number", text, strings.TrimSpace(number))
	case quota < 1:
		return Limit{}, fmt.Errorf("the rate limit %q would admit nothing: it must be at least 1", text)
	case quota > maxQuota:
		return Limit{}, fmt.Errorf("the rate limit %q is above the largest, %d", text, maxQuota)
	}
	unit = strings.ToLower(strings.TrimSpace(unit))
	window, known := windows[unit]
	if !known {
		if window, err = time.ParseDuration(unit); err != nil {
			return Limit{}, fmt.Errorf("%q is no rate limit such as 1000/h: %q is none of s, m, h and d, nor a duration such as 90s", text, unit)
		}
	}
	if window < time.Second || window > 24*time.Hour {
		return Limit{}, fmt.Errorf("the window of the rate limit %q must be from one second to one day", text)
	}
	return Limit{quota, window}, nil
}

// UnmarshalText is ParseLimit, for packages that read configuration.
func (l *Limit) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLimit(string(text))
	return err
}

// String is the limit as ParseLimit reads it.
func (l Limit) String() string {
	for _, unit := range []string{"s", "m", "h", "d"} {
		if windows[unit] == l.Window {
			return fmt.Sprintf("%d/%s", l.Quota, unit)
		}
	}
	return fmt.Sprintf("%d/%s", l.Quota, l.Window)
}

// validate refuses what cannot be enforced.
func (l Limits) validate() error {
	for policy, limit := range map[string]Limit{PolicyEvents: l.Events, bytesOf(PolicyEvents): l.EventBytes, PolicyAuth: l.Auth, PolicyUser: l.User} {
		if limit.Quota < 1 || limit.Quota > maxQuota || limit.Window < time.Millisecond {
			return fmt.Errorf("the rate limit of %s cannot be %s", policy, limit)
		}
	}
	if l.EventBytes.Quota < MinEventBytes {
		return fmt.Errorf("the rate limit of %s cannot be %s: the largest body has %d bytes", bytesOf(PolicyEvents), l.EventBytes, MinEventBytes)
	}
	return nil
}
