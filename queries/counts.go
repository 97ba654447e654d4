package queries

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

const (
	// countAge is how old the count of a long list may be.
	countAge = 10 * time.Second
	// countAgain is the age from which a count that somebody asks for is made anew meanwhile.
	countAgain = countAge / 2
	// countWait is how long who asks first waits for a count. Nobody waits for that of another.
	countWait = time.Second
	// countTimeout ends a count.
	countTimeout = 10 * time.Second
	// countsAtOnce is how many connections counts take at most.
	countsAtOnce = 2
	// countsKept bounds the memory.
	countsKept = 1000
)

// counts are the numbers of rows of long lists, each counted once for all who ask.
type counts struct {
	places chan struct{}
	stop   context.CancelFunc
	ctx    context.Context

	mu   sync.Mutex
	kept map[[sha256.Size]byte]*count
}

type count struct {
	total   int64
	at      time.Time     // when its counting began; zero: not yet counted
	pending chan struct{} // closed when the one under way is done; nil if none is
}

func newCounts() *counts {
	ctx, stop := context.WithCancel(context.Background())
	return &counts{places: make(chan struct{}, countsAtOnce), ctx: ctx, stop: stop, kept: map[[sha256.Size]byte]*count{}}
}

// known is a count of at most countAge.
func (c *counts) known(s statement) (total int64, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.kept[s.key()]
	if kept == nil || time.Since(kept.at) > countAge {
		return 0, false
	}
	return kept.total, true
}

// of is how many rows a list has, as of at most countAge ago, or an estimate while that is being found out.
func (c *counts) of(ctx context.Context, d *DB, s statement) (total int64, isEstimate bool, err error) {
	kept, mine := c.begin(d, s)
	if total, fresh := c.known(s); fresh {
		return total, false, nil
	}
	if mine {
		wait := time.NewTimer(countWait)
		defer wait.Stop()
		select {
		case <-kept:
		case <-wait.C:
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
		if total, fresh := c.known(s); fresh {
			return total, false, nil
		}
	}
	conn, err := d.connectionFrom(ctx, d.lists)
	switch {
	case errors.Is(err, ErrBusy): // the rows are there: what they show is sure
		return 0, true, nil
	case err != nil:
		return 0, false, err
	}
	defer conn.Release()
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout, ErrTooSlow)
	defer cancel()
	total, err = s.estimate(ctx, conn)
	return total, true, err
}

// begin starts to count unless that is under way, or the last count is new enough, or others take all places. It returns
// what is closed at the end, and whether it started it.
func (c *counts) begin(d *DB, s statement) (pending <-chan struct{}, started bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := s.key()
	kept := c.kept[key]
	if kept == nil {
		kept = &count{}
	}
	if kept.pending != nil || time.Since(kept.at) < countAgain {
		return kept.pending, false
	}
	select {
	case c.places <- struct{}{}:
	default:
		return nil, false
	}
	c.forget()
	c.kept[key] = kept
	done := make(chan struct{})
	kept.pending = done
	go func() {
		began := time.Now()
		total, err := s.count(c.ctx, d)
		c.mu.Lock()
		if err == nil {
			kept.total, kept.at = total, began
		}
		kept.pending = nil
		c.mu.Unlock()
		<-c.places
		close(done)
	}()
	return done, true
}

// forget makes room for one more.
func (c *counts) forget() {
	for key, kept := range c.kept {
		if len(c.kept) < countsKept {
			return
		}
		if kept.pending == nil && (time.Since(kept.at) > countAge || len(c.kept) >= countsKept) {
			delete(c.kept, key)
		}
	}
}

func (s statement) count(ctx context.Context, d *DB) (total int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	conn, err := d.connection(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, s.counted(0), unprepared(s.args)...).Scan(&total)
	return total, err
}

// key tells lists apart that have other rows: by query and arguments.
func (s statement) key() (key [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(s.name))
	// Arguments are plain values and pointers to such.
	if err := json.NewEncoder(h).Encode(s.args); err != nil {
		panic(err)
	}
	h.Sum(key[:0])
	return key
}
