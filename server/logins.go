package server

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/px360/px360/server/auth"
)

const (
	// freeFailures are as many mistakes as people make; only then does a name become slow.
	freeFailures = 5
	// The wait doubles from the first to the longest, and stays there: an account is never locked, so
	// nobody can lock out its owner. The longest, and a second for a hash, is well within a request's time.
	firstLoginWait   = 250 * time.Millisecond
	longestLoginWait = 4 * time.Second
	// failuresFade is when a name is quick again without a success.
	failuresFade = 15 * time.Minute
	// maxLoginNames bounds the memory that a flood of invented names can take, at some 300 bytes each.
	maxLoginNames = 10_000
	// maxLoginWaits is how many logins may wait at once. Beyond that a slow name is told to come back, so
	// that guessing holds no more than a part of the requests in flight; a name that is not slow waits
	// for nothing.
	maxLoginWaits = 64
)

// A logins slows down guessing: each failure in a row makes the next attempt for the same name wait
// longer. It treats names that nobody has like those that somebody has, and knows no passwords. It is
// this process's alone; beside it stands the rate limit by address, which all processes share.
type logins struct {
	now   func() time.Time
	sleep func(context.Context, time.Duration) error

	mu      sync.Mutex
	names   map[string]*list.Element // of failures
	recent  *list.List               // the latest first
	waiting int
}

type failures struct {
	name  string
	count int
	last  time.Time
}

func newLogins() *logins {
	return &logins{now: time.Now, sleep: sleep, names: map[string]*list.Element{}, recent: list.New()}
}

// attempt runs check, which tells whether a password is right, after the wait that the name has earned.
// No slot for hashing and no connection is held meanwhile. What check returns comes back as it is; an
// error is neither a failure nor a success.
func (l *logins) attempt(ctx context.Context, name string, check func() (bool, error)) (bool, error) {
	if err := l.wait(ctx, name); err != nil {
		return false, err
	}
	ok, err := check()
	if err == nil {
		l.record(name, ok)
	}
	return ok, err
}

func (l *logins) wait(ctx context.Context, name string) error {
	l.mu.Lock()
	d := loginWait(l.failed(name))
	if d == 0 {
		l.mu.Unlock()
		return nil
	}
	if l.waiting >= maxLoginWaits {
		l.mu.Unlock()
		return auth.ErrBusy
	}
	l.waiting++
	l.mu.Unlock()

	err := l.sleep(ctx, d)
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
	return err
}

// failed is how often in a row the name failed lately. The lock is held.
func (l *logins) failed(name string) int {
	at, found := l.names[name]
	if !found {
		return 0
	}
	f := at.Value.(*failures)
	if l.now().Sub(f.last) >= failuresFade {
		l.forget(at)
		return 0
	}
	return f.count
}

func (l *logins) record(name string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.failed(name)
	at, found := l.names[name]
	switch {
	case ok && found:
		l.forget(at)
	case ok:
	case found:
		at.Value = &failures{name, count + 1, l.now()}
		l.recent.MoveToFront(at)
	default:
		if l.recent.Len() >= maxLoginNames {
			l.forget(l.recent.Back())
		}
		l.names[name] = l.recent.PushFront(&failures{name, 1, l.now()})
	}
}

func (l *logins) forget(at *list.Element) {
	delete(l.names, at.Value.(*failures).name)
	l.recent.Remove(at)
}

// loginWait is how long an attempt waits after so many failures in a row.
func loginWait(failed int) time.Duration {
	if failed < freeFailures {
		return 0
	}
	d := firstLoginWait
	for range failed - freeFailures {
		if d *= 2; d >= longestLoginWait {
			return longestLoginWait
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
