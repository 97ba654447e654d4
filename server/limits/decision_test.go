package limits

import (
	"strings"
	"testing"
	"time"

	"github.com/px360/px360/server/problem"
)

func TestRateLimitFields(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for want, got := range map[string]string{
		`"user";q=100;w=60`:     policyItem(PolicyUser, Limit{100, time.Minute}),
		`"events";q=1000;w=1`:   policyItem(PolicyEvents, Limit{1000, 300 * time.Millisecond}),
		`"user";r=42;t=17`:      string(allowance{policy: PolicyUser, remaining: 42, reset: now.Add(16001 * time.Millisecond)}.appendItem(nil, now)),
		`"auth";r=0;t=17`:       string(allowance{policy: PolicyAuth, reset: now.Add(17 * time.Second)}.appendItem(nil, now)),
		`"sender";r=10000;t=0`:  string(allowance{policy: PolicySender, remaining: 10000, reset: now.Add(-time.Second)}.appendItem(nil, now)),
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

// throttledText is Retry-After and the wait in the message of the body.
func throttledText(wait time.Duration) string {
	p := throttled(wait)
	return p.Header["Retry-After"] + " " + strings.TrimPrefix(p.Body.(problem.Detail).Detail, "Request was throttled. Expected available in ")
}
