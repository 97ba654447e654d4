package limits

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Turns let so many at a time do something. Of those from one address only the first waits for a turn, the others behind
// it, so that addresses take turns: however many one sends, another's waits for one of each address at most.
type Turns struct {
	slots *semaphore.Weighted

	mu     sync.Mutex
	queues map[string]*queue // by address
}

// A queue is those from one address that wait for a turn, in the order in which they came.
type queue struct {
	first   *semaphore.Weighted
	members int
}

// NewTurns is n turns at a time.
func NewTurns(n int64) *Turns {
	return &Turns{slots: semaphore.NewWeighted(n), queues: map[string]*queue{}}
}

// Acquire waits for a turn, or returns ctx's error.
func (t *Turns) Acquire(ctx context.Context, address string) error {
	t.mu.Lock()
	q := t.queues[address]
	if q == nil {
		q = &queue{first: semaphore.NewWeighted(1)}
		t.queues[address] = q
	}
	q.members++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.members--; q.members == 0 {
			delete(t.queues, address)
		}
	}()
	if err := q.first.Acquire(ctx, 1); err != nil {
		return err
	}
	defer q.first.Release(1)
	return t.slots.Acquire(ctx, 1)
}

// Release ends a turn.
func (t *Turns) Release() { t.slots.Release(1) }
