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
	l, waits = NewLogins(LongestLoginWait, newTestBudget(maxLoginWaits)), &[]time.Duration{}
	l.now = func() time.Time { return now }
	l.sleep = func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil }
	return l, waits, func(d time.Duration) { now = now.Add(d) }
}

func loginFrom(address, name string) Login {
	return Login{Name: name, Address: address, Pause: func() func() error { return func() error { return nil } }}
}

func correctPassword() (bool, error) { return true, nil }
func wrongPassword() (bool, error)   { return false, nil }

func (l *Logins) try(t *testing.T, name string, check func() (bool, error)) {
	t.Helper()
	want, _ := check()
	if ok, err := l.Attempt(t.Context(), loginFrom("192.0.2.1", name), check); ok != want || err != nil {
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
		if _, err := l.Attempt(t.Context(), loginFrom("192.0.2.1", "sara"), func() (bool, error) { return false, failed }); !errors.Is(err, failed) {
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

// waiting starts so many attempts from an address, whose waits last until wake is closed. Each tells done its error.
func (l *Logins) waiting(n int, address string, wake chan bool, done chan error) {
	sleeping := make(chan bool)
	l.sleep = func(context.Context, time.Duration) error { sleeping <- true; <-wake; return nil }
	for range n {
		go func() {
			_, err := l.Attempt(context.Background(), loginFrom(address, "sara"), wrongPassword)
			done <- err
		}()
		<-sleeping
	}
	l.sleep = func(context.Context, time.Duration) error { return nil }
}

func isBusy(err error) bool {
	var busy *problem.Problem
	return errors.As(err, &busy) && busy.Status == http.StatusServiceUnavailable && busy.Header["Retry-After"] != ""
}

// Others who guess at a name do not keep its owner from logging in, be it from their own address or from another, and
// be it that every address that guesses has used up its share. What one address may have waiting is bounded.
func TestLoginsOfTheOwner(t *testing.T) {
	t.Parallel()
	l, _, _ := newTestLogins()
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	wake, done, share := make(chan bool), make(chan error), maxLoginWaits/callerShare
	l.waiting(72, "192.0.2.1", wake, done)
	l.try(t, "sara", correctPassword) // from the same address
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	l.waiting(share-72, "192.0.2.1", wake, done)
	if _, err := l.Attempt(t.Context(), loginFrom("192.0.2.1", "sara"), wrongPassword); !isBusy(err) {
		t.Errorf("an address above its share of waits: %v, want 503 with Retry-After", err)
	}
	started := share
	for _, address := range []string{"192.0.2.2", "192.0.2.3"} {
		// One failure, after which the address has no part in the reserve any more.
		if _, err := l.Attempt(t.Context(), loginFrom(address, "omar"), wrongPassword); err != nil {
			t.Fatal(err)
		}
		l.waiting(share, address, wake, done)
		started += share
	}
	if _, err := l.Attempt(t.Context(), loginFrom("192.0.2.2", "sara"), wrongPassword); !isBusy(err) {
		t.Errorf("an address that guesses, when all but the reserve is used up: %v, want 503", err)
	}
	if ok, err := l.Attempt(t.Context(), loginFrom("198.51.100.1", "sara"), correctPassword); !ok || err != nil {
		t.Errorf("the owner: %v, %v", ok, err)
	}
	l.try(t, "anna", correctPassword) // who is not throttled waits for nothing
	close(wake)
	for range started {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if l.waits.Used() != 0 || !l.turn.slots.TryAcquire(1) || len(l.turn.queues) != 0 {
		t.Error("not everything was given back")
	}
}

// An attempt that waits holds nothing, and takes it again for the check.
func TestLoginsPause(t *testing.T) {
	t.Parallel()
	l, _, _ := newTestLogins()
	for range freeFailures {
		l.try(t, "sara", wrongPassword)
	}
	var order []string
	note := func(what string) { order = append(order, what) }
	l.sleep = func(context.Context, time.Duration) error { note("wait"); return nil }
	login := loginFrom("192.0.2.1", "sara")
	login.Pause = func() func() error {
		note("pause")
		return func() error { note("resume"); return problem.Busy() }
	}
	if _, err := l.Attempt(t.Context(), login, correctPassword); !isBusy(err) {
		t.Errorf("could not go on: %v", err)
	}
	if got := fmt.Sprint(order); got != "[pause wait resume]" {
		t.Error(got)
	}
	l.try(t, "sara", correctPassword)
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
