package limits

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
)

// Logins throttles the guessing of passwords with exponential backoff: each failure in a row makes the next attempt
// for the same name wait longer. It treats names that nobody has like those that somebody has, and knows no passwords.
// It is this process's alone; beside it stands the rate limit by address, which all processes share.
type Logins struct {
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	longest time.Duration

	mu        sync.Mutex // no failure is lost between reading a count and writing the next
	failures  *Cache[int]
	addresses *Cache[struct{}] // that failed
	waits     *Budget
	// Attempts for throttled names are checked one at a time, so that guessing keeps nobody else from having a password
	// hashed, and by turns, so that who guesses does not keep the owner of a name from theirs.
	turn *Turns
}

// A Login is an attempt to log in.
type Login struct {
	Name    string
	Address string // of the client
	// Pause is called before the attempt waits, to give back what it holds; what it returns, afterwards.
	Pause func() (resume func() error)
}

// errManyWait tells the log why a login was answered 503.
var errManyWait = errors.New("too many logins wait")

// NewLogins knows of no failures. No attempt waits longer than longest, which is at most LongestLoginWait, and the turn
// after it. Who waits is part of the budget: an address has a share of it, and the reserve is for those that have not
// failed, so that many addresses that guess do not keep the owner of a name from waiting, too.
func NewLogins(longest time.Duration, waits *Budget) *Logins {
	return &Logins{
		now: time.Now, sleep: sleep, longest: longest,
		failures: NewCache[int](maxLoginNames), addresses: NewCache[struct{}](maxLoginNames), waits: waits, turn: NewTurns(1),
	}
}

// Attempt runs check, which tells whether a password is right, after the wait that the failures of the name require.
// No slot for hashing, no connection to the database and no place is held meanwhile. What check returns comes back as it is; an error is neither
// a failure nor a success. When too many wait, the error is problem.Busy; when ctx ends, its own.
func (l *Logins) Attempt(ctx context.Context, login Login, check func() (bool, error)) (bool, error) {
	done, err := l.wait(ctx, login)
	if err != nil {
		return false, err
	}
	defer done()
	ok, err := check()
	if err == nil {
		l.record(login, ok)
	}
	return ok, err
}

// wait returns when it is the attempt's turn; done ends it.
func (l *Logins) wait(ctx context.Context, login Login) (done func(), err error) {
	failed, _ := l.failures.Get(login.Name, l.now())
	d := min(loginWait(failed), l.longest)
	if d == 0 {
		return func() {}, nil
	}
	_, guessing := l.addresses.Get(login.Address, l.now())
	lease, err := l.waits.Take(login.Address, !guessing, 1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errManyWait, problem.Busy())
	}
	defer lease.Release()
	resume := login.Pause()
	if err := l.sleep(ctx, d); err != nil {
		return nil, err
	}
	if err := l.turn.Acquire(ctx, login.Address); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", errManyWait, problem.Busy())
		}
		return nil, err
	}
	if err := resume(); err != nil {
		l.turn.Release()
		return nil, err
	}
	return func() { l.turn.Release() }, nil
}

func (l *Logins) record(login Login, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		l.failures.Remove(login.Name)
		return
	}
	now := l.now()
	failed, _ := l.failures.Get(login.Name, now)
	l.failures.Put(login.Name, failed+1, now.Add(failuresExpire), now)
	l.addresses.Put(login.Address, struct{}{}, now.Add(failuresExpire), now)
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
