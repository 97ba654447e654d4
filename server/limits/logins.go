package limits

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/px360/px360/server/problem"
)

// LongestLoginWait is the most that a name can be told to wait. With a second for a hash it is well within a request's time.
const LongestLoginWait = 4 * time.Second

const (
	// freeFailures are as many mistakes as people make; only then is a name throttled.
	freeFailures = 5
	// The wait doubles from the first to the longest, and stays there: an account is never locked, so nobody can
	// lock out its owner.
	firstLoginWait = 250 * time.Millisecond
	// failuresExpire is when a name is no longer throttled without a success.
	failuresExpire = 15 * time.Minute
	// maxLoginNames bounds the memory that a flood of invented names can take, at some 300 bytes each.
	maxLoginNames = 10_000
	// maxLoginWaits is how many logins may wait at once. Beyond that a throttled name is told to come back, so that
	// guessing holds no more than a part of the requests in flight; a name that is not throttled waits for nothing.
	maxLoginWaits = 64
)

// Logins throttles the guessing of passwords with exponential backoff: each failure in a row makes the next attempt
// for the same name wait longer. It treats names that nobody has like those that somebody has, and knows no passwords.
// It is this process's alone; beside it stands the rate limit by address, which all processes share.
type Logins struct {
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	longest time.Duration

	mu       sync.Mutex // no failure is lost between reading a count and writing the next
	failures *Cache[int]
	waits    *semaphore.Weighted
}

// errManyWait tells the log why a login was answered 503.
var errManyWait = errors.New("too many logins wait")

// NewLogins knows of no failures. No attempt waits longer than longest, which is at most LongestLoginWait.
func NewLogins(longest time.Duration) *Logins {
	return &Logins{
		now: time.Now, sleep: sleep, longest: longest,
		failures: NewCache[int](maxLoginNames), waits: semaphore.NewWeighted(maxLoginWaits),
	}
}

// Attempt runs check, which tells whether a password is right, after the wait that the failures of the name require.
// No slot for hashing and no connection is held meanwhile. What check returns comes back as it is; an error is neither
// a failure nor a success. When too many wait, the error is problem.Busy; when ctx ends, its own.
func (l *Logins) Attempt(ctx context.Context, name string, check func() (bool, error)) (bool, error) {
	if err := l.wait(ctx, name); err != nil {
		return false, err
	}
	ok, err := check()
	if err == nil {
		l.record(name, ok)
	}
	return ok, err
}

func (l *Logins) wait(ctx context.Context, name string) error {
	failed, _ := l.failures.Get(name, l.now())
	d := min(loginWait(failed), l.longest)
	if d == 0 {
		return nil
	}
	if !l.waits.TryAcquire(1) {
		return fmt.Errorf("%w: %w", errManyWait, problem.Busy())
	}
	defer l.waits.Release(1)
	return l.sleep(ctx, d)
}

func (l *Logins) record(name string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		l.failures.Remove(name)
		return
	}
	now := l.now()
	failed, _ := l.failures.Get(name, now)
	l.failures.Put(name, failed+1, now.Add(failuresExpire), now)
}

// loginWait is how long an attempt waits after so many failures in a row.
func loginWait(failed int) time.Duration {
	if failed < freeFailures {
		return 0
	}
	d := firstLoginWait
	for range failed - freeFailures {
		if d *= 2; d >= LongestLoginWait {
			return LongestLoginWait
		}
	}
	return d
}

// sleep waits, or returns early with ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
