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

// slowed is a Logins whose time stands still and whose waits are listed instead of waited.
func slowed() (l *Logins, waits *[]time.Duration, pass func(time.Duration)) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l, waits = NewLogins(), &[]time.Duration{}
	l.now = func() time.Time { return now }
	l.sleep = func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil }
	return l, waits, func(d time.Duration) { now = now.Add(d) }
}

func right() (bool, error) { return true, nil }
func wrong() (bool, error) { return false, nil }

func (l *Logins) try(t *testing.T, name string, check func() (bool, error)) {
	t.Helper()
	want, _ := check()
	if ok, err := l.Attempt(t.Context(), name, check); ok != want || err != nil {
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

// No failure is lost when several attempts fail at once.
func TestLoginsCountParallelFailures(t *testing.T) {
	t.Parallel()
	l, waits, _ := slowed()
	var group sync.WaitGroup
	for range freeFailures {
		group.Go(func() { l.try(t, "sara", wrong) })
	}
	group.Wait()
	l.try(t, "sara", wrong)
	if got, want := fmt.Sprint(*waits), "[250ms]"; got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
}

func TestLoginsExpire(t *testing.T) {
	t.Parallel()
	l, waits, pass := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	pass(failuresExpire)
	l.try(t, "sara", wrong)
	if len(*waits) > 0 {
		t.Errorf("waited %v for failures of long ago", *waits)
	}
}

// A login that could not be decided is neither a failure nor a success.
func TestLoginsUndecided(t *testing.T) {
	t.Parallel()
	l, waits, _ := slowed()
	undecided := errors.New("the database is away")
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	for range 3 {
		if _, err := l.Attempt(t.Context(), "sara", func() (bool, error) { return false, undecided }); !errors.Is(err, undecided) {
			t.Fatal(err)
		}
	}
	if want := "[250ms 250ms 250ms]"; fmt.Sprint(*waits) != want {
		t.Errorf("waited %v, want %s", *waits, want)
	}
}

func TestLoginsEvictTheOldest(t *testing.T) {
	t.Parallel()
	l, waits, _ := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	for i := range maxLoginNames {
		l.try(t, fmt.Sprint("nobody", i), wrong)
	}
	if n := l.failures.entries.Len(); n != maxLoginNames {
		t.Errorf("keeps %d names, want %d", n, maxLoginNames)
	}
	l.try(t, "sara", wrong)
	if len(*waits) > 0 {
		t.Errorf("waited %v for a name that was evicted", *waits)
	}
}

// Only so many wait; a throttled name beyond them is told to come back, another is not concerned.
func TestLoginsWaitingAreBounded(t *testing.T) {
	t.Parallel()
	l, _, _ := slowed()
	for range freeFailures {
		l.try(t, "sara", wrong)
	}
	begun, end, done := make(chan bool), make(chan bool), make(chan error)
	l.sleep = func(context.Context, time.Duration) error { begun <- true; <-end; return nil }
	for range maxLoginWaits {
		go func() { _, err := l.Attempt(context.Background(), "sara", wrong); done <- err }()
		<-begun
	}
	var busy *problem.Problem
	if _, err := l.Attempt(t.Context(), "sara", right); !errors.As(err, &busy) || busy.Status != http.StatusServiceUnavailable || busy.Header["Retry-After"] == "" {
		t.Errorf("one too many: %v, want 503 with Retry-After", err)
	}
	l.try(t, "omar", right)
	close(end)
	for range maxLoginWaits {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if !l.waits.TryAcquire(maxLoginWaits) {
		t.Error("some are still waiting")
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
