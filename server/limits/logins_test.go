package limits

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/px360/px360/server/problem"
)

// newTestLogins returns a Logins with a fake clock, which advance moves, and records the waits
// instead of sleeping.
func newTestLogins() (l *Logins, waits *[]time.Duration, advance func(time.Duration)) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l, waits = NewLogins(LongestLoginWait), &[]time.Duration{}
	l.now = func() time.Time { return now }
	l.sleep = func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil }
	return l, waits, func(d time.Duration) { now = now.Add(d) }
}

func correctPassword() (bool, error) { return true, nil }
func wrongPassword() (bool, error)   { return false, nil }

func (l *Logins) try(t *testing.T, name string, check func() (bool, error)) {
	t.Helper()
	want, _ := check()
	if ok, err := l.Attempt(t.Context(), name, check); ok != want || err != nil {
		t.Fatalf("attempt of %s: %v, %v, want %v", name, ok, err, want)
	}
}

func TestLoginsBackOff(t *testing.T) {
	t.Parallel()
	l, waits, _ := newTestLogins()
	for range 11 {
		l.try(t, "sara", wrongPassword)
	}
	l.try(t, "omar", wrongPassword)   // another name is not throttled
	l.try(t, "sara", correctPassword) // a correct password is accepted after the wait
	l.try(t, "sara", wrongPassword)   // a success resets the failures
	want := "[250ms 500ms 1s 2s 4s 4s 4s]"
	if got := fmt.Sprint(*waits); got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
}

// A shorter longest wait bounds every wait; with none, nothing waits.
func TestLongestLoginWait(t *testing.T) {
	t.Parallel()
	for longest, want := range map[time.Duration]string{0: "[]", time.Second: "[250ms 500ms 1s 1s 1s]"} {
		l, waits, _ := newTestLogins()
		l.longest = longest
		for range 10 {
			l.try(t, "sara", wrongPassword)
		}
		if got := fmt.Sprint(*waits); got != want {
			t.Errorf("waited %s, want %s", got, want)
		}
	}
}

// Concurrent failures are all counted.
func TestLoginsCountParallelFailures(t *testing.T) {
	t.Parallel()
	l, waits, _ := newTestLogins()
	var group sync.WaitGroup
	for range freeFailures {
		group.Go(func() { l.try(t, "sara", wrongPassword) })
	}
	group.Wait()
	l.try(t, "sara", wrongPassword)
	if got, want := fmt.Sprint(*waits), "[250ms]"; got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
}

func TestLoginsExpire(t *testing.T) {
	t.Parallel()
	l, waits, advance := newTestLogins()
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	advance(failuresExpire)
	l.try(t, "sara", wrongPassword)
	if len(*waits) > 0 {
		t.Errorf("waited %v for expired failures", *waits)
	}
}

// An error of the check counts neither as a failure nor as a success.
func TestLoginErrorsDoNotCount(t *testing.T) {
	t.Parallel()
	l, waits, _ := newTestLogins()
	failed := errors.New("no connection")
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	for range 3 {
		if _, err := l.Attempt(t.Context(), "sara", func() (bool, error) { return false, failed }); !errors.Is(err, failed) {
			t.Fatal(err)
		}
	}
	if want := "[250ms 250ms 250ms]"; fmt.Sprint(*waits) != want {
		t.Errorf("waited %v, want %s", *waits, want)
	}
}

func TestLoginsEvictTheOldest(t *testing.T) {
	t.Parallel()
	l, waits, _ := newTestLogins()
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	for i := range maxLoginNames {
		l.try(t, fmt.Sprint("nobody", i), wrongPassword)
	}
	if n := l.failures.entries.Len(); n != maxLoginNames {
		t.Errorf("keeps %d names, want %d", n, maxLoginNames)
	}
	l.try(t, "sara", wrongPassword)
	if len(*waits) > 0 {
		t.Errorf("waited %v for a name that was evicted", *waits)
	}
}

// The number of waiting logins is bounded: further throttled logins get a 503, and names that are
// not throttled are not affected.
func TestLoginsWaitingAreBounded(t *testing.T) {
	t.Parallel()
	l, _, _ := newTestLogins()
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	sleeping, wake, done := make(chan bool), make(chan bool), make(chan error)
	l.sleep = func(context.Context, time.Duration) error { sleeping <- true; <-wake; return nil }
	for range maxLoginWaits {
		go func() { _, err := l.Attempt(context.Background(), "sara", wrongPassword); done <- err }()
		<-sleeping
	}
	var busy *problem.Problem
	if _, err := l.Attempt(t.Context(), "sara", correctPassword); !errors.As(err, &busy) || busy.Status != http.StatusServiceUnavailable || busy.Header["Retry-After"] == "" {
		t.Errorf("above the limit of waiting logins: %v, want 503 with Retry-After", err)
	}
	l.try(t, "omar", correctPassword)
	close(wake)
	for range maxLoginWaits {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if !l.waits.TryAcquire(maxLoginWaits) {
		t.Error("not all slots were released")
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}
