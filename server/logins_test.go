package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/px360/px360/server/auth"
)

// slowed is a logins whose time stands still and whose waits are noted instead of waited.
func slowed() (l *logins, waits *[]time.Duration, pass func(time.Duration)) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l, waits = newLogins(), &[]time.Duration{}
	l.now = func() time.Time { return now }
	l.sleep = func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil }
	return l, waits, func(d time.Duration) { now = now.Add(d) }
}

func right() (bool, error) { return true, nil }
func wrong() (bool, error) { return false, nil }

func (l *logins) try(t *testing.T, name string, check func() (bool, error)) {
	t.Helper()
	want, _ := check()
	if ok, err := l.attempt(t.Context(), name, check); ok != want || err != nil {
		t.Fatalf("attempt of %s: %v, %v, want %v", name, ok, err, want)
	}
}

func TestLoginsSlowDown(t *testing.T) {
	t.Parallel()
	l, waits, _ := slowed()
	for range 11 {
		l.try(t, "sara", wrong)
	}
	l.try(t, "omar", wrong) // somebody else does not wait
	l.try(t, "sara", right) // she herself gets in, a little later
	l.try(t, "sara", wrong) // and after that she is as quick as ever
	want := "[250ms 500ms 1s 2s 4s 4s 4s]"
	if got := fmt.Sprint(*waits); got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
}

func TestLoginsFade(t *testing.T) {
	t.Parallel()
	l, waits, pass := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	pass(failuresFade)
	l.try(t, "sara", wrong)
	if len(*waits) > 0 {
		t.Errorf("waited %v for failures of long ago", *waits)
	}
}

// A login that could not be decided is neither a failure nor a success.
func TestLoginsUndecided(t *testing.T) {
	t.Parallel()
	l, waits, _ := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	for range 3 {
		if _, err := l.attempt(t.Context(), "sara", func() (bool, error) { return false, auth.ErrBusy }); !errors.Is(err, auth.ErrBusy) {
			t.Fatal(err)
		}
	}
	if want := "[250ms 250ms 250ms]"; fmt.Sprint(*waits) != want {
		t.Errorf("waited %v, want %s", *waits, want)
	}
}

func TestLoginsForgetTheOldest(t *testing.T) {
	t.Parallel()
	l, waits, _ := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	for i := range maxLoginNames {
		l.try(t, fmt.Sprint("nobody", i), wrong)
	}
	if len(l.names) != maxLoginNames || l.recent.Len() != maxLoginNames {
		t.Errorf("remembers %d names in a list of %d, want %d", len(l.names), l.recent.Len(), maxLoginNames)
	}
	l.try(t, "sara", wrong)
	if len(*waits) > 0 {
		t.Errorf("waited %v for a name that was forgotten", *waits)
	}
}

// Only so many wait; a slow name beyond them is told to come back, a quick one is not concerned.
func TestLoginsWaitingAreBounded(t *testing.T) {
	t.Parallel()
	l, _, _ := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	begun, end, done := make(chan bool), make(chan bool), make(chan error)
	l.sleep = func(context.Context, time.Duration) error { begun <- true; <-end; return nil }
	for range maxLoginWaits {
		go func() { _, err := l.attempt(context.Background(), "sara", wrong); done <- err }()
		<-begun
	}
	if _, err := l.attempt(t.Context(), "sara", right); !errors.Is(err, auth.ErrBusy) {
		t.Errorf("one too many: %v, want %v", err, auth.ErrBusy)
	}
	l.try(t, "omar", right)
	close(end)
	for range maxLoginWaits {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if l.waiting != 0 {
		t.Errorf("%d are still waiting", l.waiting)
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
