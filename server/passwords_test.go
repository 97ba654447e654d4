package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// A password that is not hashed in time is a 503 with Retry-After, of which nothing was done; a request that ends before
// is no fault of the hashing.
func TestBusyHashing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(nil)
		hash := func(limit time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(request{clientIP: "192.0.2.1"}.in(t.Context()), limit)
			defer cancel()
			start := time.Now()
			_, err := p.hash(ctx, "x")
			return time.Since(start), err
		}
		for range auth.ConcurrentHashes {
			if err := p.turns.Acquire(t.Context(), "192.0.2.2"); err != nil {
				t.Fatal(err)
			}
		}
		waited, err := hash(time.Minute)
		busy := problem.Of(problem.Writing(err))
		if body, _ := busy.Body.(problem.Detail); waited != hashTimeout || busy.Status != 503 || busy.Header["Retry-After"] == "" || body.Code != "" {
			t.Errorf("after %s: %d %v %v", waited, busy.Status, busy.Body, busy.Header)
		}
		if waited, err := hash(hashTimeout / 2); waited != hashTimeout/2 || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errManyHash) {
			t.Errorf("a request that ended after %s: %v", waited, err)
		}
		time.AfterFunc(hashTimeout/2, p.turns.Release)
		if waited, err := hash(time.Minute); waited != hashTimeout/2 || err != nil {
			t.Errorf("after %s, with a turn that ended: %v", waited, err)
		}
	})
}
