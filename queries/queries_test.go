package queries

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"no name":           func(o *Options) { o.Name = "" },
		"no connection":     func(o *Options) { o.MaxConnections = 0 },
		"lists alone":       func(o *Options) { o.ListConnections = o.MaxConnections },
		"StatementTimeout":  func(o *Options) { o.StatementTimeout = 0 },
		"LockTimeout":       func(o *Options) { o.LockTimeout = time.Microsecond },
		"IdleInTransaction": func(o *Options) { o.IdleInTransaction = -time.Second },
		"AcquireTimeout":    func(o *Options) { o.AcquireTimeout = 0 },
	} {
		o := DefaultOptions()
		change(&o)
		if database, err := Open(t.Context(), "postgres://nobody@127.0.0.1:1/nothing", o); err == nil {
			database.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// When the caller's deadline is over before a connection is there, nothing was sent: the outcome is known.
func TestNoConnectionBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	database, err := Open(t.Context(), "postgres://nobody@127.0.0.1:1/nothing", DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := database.InTx(ctx, nil); !errors.Is(err, ErrBusy) || Judge(err) != Busy {
		t.Errorf("got %v, %v", err, Judge(err))
	}
}
