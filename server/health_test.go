package server

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask, one check a second goes to the database.
func TestReadinessIsAskedOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
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
		answer = gone
		time.Sleep(readyKept - time.Millisecond)
		ask(nil, 1)
		time.Sleep(time.Millisecond)
		ask(gone, 2)
		answer = nil
		ask(gone, 2)
	})
}

// Who hangs up must not have the process taken for one that is not ready.
func TestReadinessOutlastsItsCaller(t *testing.T) {
	t.Parallel()
	r := &readiness{check: func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > readyTimeout {
			t.Error("a check has no end")
		}
		return ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.ask(ctx); err != nil {
		t.Errorf("ready: %v", err)
	}
}
