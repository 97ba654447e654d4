package queries

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestShares(t *testing.T) {
	t.Parallel()
	s, ctx := newShares(2), t.Context()
	first, err := s.take(ctx, "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.take(ctx, "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.take(ctx, "a", time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("a third: %v, want %v", err, ErrBusy)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.take(gone, "a", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("whose client is gone: %v", err)
	}
	other, err := s.take(ctx, "b", time.Minute)
	if err != nil {
		t.Fatalf("another caller: %v", err)
	}
	got := make(chan error)
	go func() {
		third, err := s.take(ctx, "a", time.Minute)
		if err == nil {
			third()
		}
		got <- err
	}()
	first()
	if err := <-got; err != nil {
		t.Errorf("after one was given back: %v", err)
	}
	second()
	other()
	if len(s.of) != 0 {
		t.Errorf("%d callers are remembered", len(s.of))
	}
	if newShares(0).most != 1 {
		t.Error("a share of nothing")
	}
}
