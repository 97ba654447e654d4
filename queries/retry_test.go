package queries

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	deadlock = &pgconn.PgError{Code: "40P01"}
	errOther = errors.New("other")
)

// A deadlock victim is retried after a pause, three times in all; nothing else is.
func TestRetry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		runs   []error // what each run returns; the last is the result
		pauses int
	}{
		"first run":         {[]error{nil}, 0},
		"second run":        {[]error{deadlock, nil}, 1},
		"all runs fail":     {[]error{deadlock, deadlock, deadlock}, 2},
		"other error":       {[]error{errOther}, 0},
		"other error later": {[]error{deadlock, errOther}, 1},
		"lost":              {[]error{io.EOF}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, runs := time.Now(), 0
			err := retry(t.Context(), func() error { runs++; return test.runs[runs-1] }, Retry)
			if want := test.runs[len(test.runs)-1]; err != want || runs != len(test.runs) {
				t.Errorf("%s: %v after %d runs, want %v after %d", name, err, runs, want, len(test.runs))
			}
			if took := time.Since(began); (took > 0) != (test.pauses > 0) || took > time.Second {
				t.Errorf("%s: took %v with %d pauses", name, took, test.pauses)
			}
		})
	}
}

// A retry does not outlive its context, and returns the error of the work.
func TestRetryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		runs := 0
		if err := retry(ctx, func() error { runs++; return deadlock }, Retry); err != deadlock || runs != 1 {
			t.Errorf("%v after %d runs, want the deadlock after one", err, runs)
		}
	})
}

// Of idempotent work that was lost once, a later failure does not say that nothing was done.
func TestRetryIdempotent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		runs []error
		want Verdict
	}{
		{[]error{io.EOF, nil}, Bug}, // done
		{[]error{io.EOF, ErrBusy}, Lost},
		{[]error{ErrBusy}, Busy},
		{[]error{io.EOF, io.EOF, deadlock}, Lost},
		{[]error{deadlock, io.EOF, io.EOF}, Lost},
		{[]error{io.EOF, ErrReferenced}, Referenced}, // it was there
	} {
		synctest.Test(t, func(t *testing.T) {
			runs := 0
			err := RetryIdempotent(t.Context(), func() error { runs++; return test.runs[runs-1] })
			if runs != len(test.runs) || Judge(err) != test.want || (err == nil) != (test.runs[runs-1] == nil) {
				t.Errorf("%v: %v after %d runs, want verdict %v", test.runs, err, runs, test.want)
			}
		})
	}
}
