package limits

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// However many come from one address, another's turn is the next but one.
func TestTurnsByAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(1)
		var order []string
		come := func(address string, n int) {
			for i := range n {
				go func() {
					if err := turns.Acquire(t.Context(), address); err != nil {
						t.Error(err)
					}
					order = append(order, fmt.Sprint(address, i))
				}()
				synctest.Wait()
			}
		}
		come("guesser ", 20) // the first has the turn, the second waits for it
		come("owner ", 1)
		come("colleague ", 2)
		for range 23 {
			turns.Release()
			synctest.Wait()
		}
		want := []string{"guesser 0", "guesser 1", "owner 0", "colleague 0", "guesser 2", "colleague 1", "guesser 3"}
		if len(order) != 23 || !slices.Equal(order[:len(want)], want) {
			t.Errorf("%d turns in the order %v, want %v first", len(order), order, want)
		}
		if len(turns.queues) != 0 {
			t.Errorf("%d queues are left", len(turns.queues))
		}
	})
}

// So many turns at a time; who stops waiting, first in the queue or behind, is in nobody's way.
func TestTurnsAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(2)
		for range 2 {
			if err := turns.Acquire(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 3)
		for range 3 {
			go func() { failed <- turns.Acquire(ended, "a") }()
		}
		synctest.Wait()
		cancel()
		for range 3 {
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("gave up with %v", err)
			}
		}
		turns.Release()
		if err := turns.Acquire(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		if len(turns.queues) != 0 {
			t.Errorf("%d queues are left", len(turns.queues))
		}
	})
}
