package queries

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What was undone for another's sake is done again after a moment, three times in all; nothing else is.
func TestAgain(t *testing.T) {
	t.Parallel()
	deadlock, other := &pgconn.PgError{Code: "40P01"}, errors.New("other")
	for name, test := range map[string]struct {
		errors []error // of one try after the other; the last is what comes of it
		pauses int
	}{
		"at once":          {[]error{nil}, 0},
		"after a deadlock": {[]error{deadlock, nil}, 1},
		"in vain":          {[]error{deadlock, deadlock, deadlock}, 2},
		"not worth it":     {[]error{other}, 0},
		"then not":         {[]error{deadlock, other}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, tries := time.Now(), 0
			err := Again(t.Context(), Retryable, func() error { tries++; return test.errors[tries-1] })
			if want := test.errors[len(test.errors)-1]; err != want || tries != len(test.errors) {
				t.Errorf("%s: %v after %d tries, want %v after %d", name, err, tries, want, len(test.errors))
			}
			least := time.Duration(0)
			for i := range test.pauses {
				least += time.Duration(i+1) * undonePause
			}
			if took := time.Since(began); took < least || took > 2*least {
				t.Errorf("%s: took %v, want from %v to %v", name, took, least, 2*least)
			}
		})
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"no name":           func(o *Options) { o.Name = "" },
		"no connection":     func(o *Options) { o.MaxConnections = 0 },
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
