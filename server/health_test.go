package server

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Concurrent readiness requests share one database check a second.
func TestReadinessCheckIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		unreachable := errors.New("unreachable")
		var checks int
		var answer error
		r := &readiness{check: func(context.Context) error { checks++; return answer }}
		ask := func(want error, checked int) {
			t.Helper()
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if err := r.ask(t.Context()); err != want {
						t.Errorf("ready: %v, want %v", err, want)
					}
				})
			}
			all.Wait()
			if checks != checked {
				t.Errorf("checked %d times, want %d", checks, checked)
			}
		}
		ask(nil, 1)
		answer = unreachable
		time.Sleep(readyKept - time.Millisecond)
		ask(nil, 1)
		time.Sleep(time.Millisecond)
		ask(unreachable, 2)
		answer = nil
		ask(unreachable, 2)
	})
}

// A client that closes the connection does not cancel the shared check.
func TestReadinessIgnoresCancelledRequests(t *testing.T) {
	t.Parallel()
	r := &readiness{check: func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > readyTimeout {
			t.Error("the check has no deadline")
		}
		return ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.ask(ctx); err != nil {
		t.Errorf("ready: %v", err)
	}
}
