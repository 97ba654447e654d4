package queries

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// shares keep one caller from taking all of something: each may have so many at once, and waits for more.
type shares struct {
	most int64

	mu sync.Mutex
	of map[string]*share // of those who have or wait for some
}

type share struct {
	taken *semaphore.Weighted
	users int
}

func newShares(most int32) *shares {
	return &shares{most: max(1, int64(most)), of: map[string]*share{}}
}

// take waits for one, but no longer than that: then the error is ErrBusy.
func (s *shares) take(ctx context.Context, caller string, longest time.Duration) (release func(), err error) {
	s.mu.Lock()
	mine := s.of[caller]
	if mine == nil {
		mine = &share{taken: semaphore.NewWeighted(s.most)}
		s.of[caller] = mine
	}
	mine.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(s.of, caller)
		}
	}
	wait, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := mine.taken.Acquire(wait, 1); err != nil {
		leave()
		if errors.Is(err, context.DeadlineExceeded) {
			err = ErrBusy
		}
		return nil, err
	}
	return func() { mine.taken.Release(1); leave() }, nil
}
