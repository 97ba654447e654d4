package worker

import (
	"context"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// poller is one of a worker's loops, with its position in the queue. The position moves forward, past what is finished:
// index entries of finished events stay as long as any snapshot can see them, and would be read again by each claim.
// But an event may turn up behind it: one that was put back into the queue, or whose insert took longer to commit. So
// now and then a claim starts at the beginning, a full scan, as often as that takes no more than a small part of the
// time.
type poller struct {
	*Worker
	size    int32 // events of a batch at most; less after failures
	applied int   // batches so far
	pause   time.Duration

	from      int64         // where the next claim starts
	farthest  int64         // the farthest position where anything was found
	scanning  bool          // a full scan is under way: since it began, nothing was found
	scanCost  time.Duration // of the last full scan, until something was found
	scannedAt time.Time     // when that was
}

const (
	// fullScanShare is the part of the time that full scans may take: one in so many.
	fullScanShare = 10
	// longestUnscanned is the most time between full scans all the same: what is behind the position of each poller, as
	// after failures, waits for the next one, and a scan may have taken long for a lock that it waited for.
	longestUnscanned = 5 * time.Second
	// lockedInterval is how long a poller waits for what other transactions have locked, usually for milliseconds.
	lockedInterval = 100 * time.Millisecond
	// linger is how long a poller waits after a batch that was not full, whatever wakes it: events that come one by one are
	// then claimed, decided and committed together. It doubles, up to longestLinger, with each claim that finds nothing, since
	// others are faster: so of many processes some do the work, and the others do not compete with them.
	linger        = 20 * time.Millisecond
	longestLinger = 80 * time.Millisecond
	// leastBatch is where failures stop to make batches smaller.
	leastBatch = 16
	// leastPause is how long a poller that failed waits whatever wakes it.
	leastPause = 150 * time.Millisecond
)

// run applies batches until ctx ends. It is the one layer that retries: whatever fails for no fault of an event's is
// logged and done again after a backoff, or as soon as a new event, or a connection that was made again, tells that the
// database has recovered.
func (p *poller) run(ctx context.Context) {
	backoff := p.backoff()
	for ctx.Err() == nil {
		wait, err := p.runBatch(ctx)
		if err != nil {
			// Smaller batches need fewer locks and less time, of which there may have been too little.
			p.size = max(min(leastBatch, p.batch), p.size/2)
			wait := backoff.NextBackOff()
			p.log.WarnContext(ctx, "the database failed, trying again", "wait", wait, "error", err)
			if sleep(ctx, min(wait, leastPause)) && p.idle(ctx, wait-leastPause) {
				backoff.Reset()
			}
			continue
		}
		backoff.Reset()
		if wait > 0 && sleep(ctx, min(wait, p.pause)) {
			p.idle(ctx, wait-p.pause)
			p.pause = min(max(2*p.pause, linger), longestLinger)
		}
	}
}

// idle waits for some time or until there may be work, and returns whether that was it.
func (p *poller) idle(ctx context.Context, wait time.Duration) (woken bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-p.wake:
		return true
	}
	return false
}

// runBatch claims and applies a batch. It returns how long to wait before the next, or an error that is no fault of any
// event's.
func (p *poller) runBatch(ctx context.Context) (wait time.Duration, err error) {
	if p.untilFullScan() <= 0 {
		p.from, p.scanning, p.scanCost = 0, true, 0
	}
	// Each encounter of a transaction takes a lock in a table that all sessions share. Most have several events waiting
	// when there is much to do. The window has room for encounters that other transactions have claimed.
	c := claim{from: p.from, window: 2 * p.size, encounters: max(1, p.size/4), events: p.size, marking: p.marking(), inTx: p.database.InTxOnce}
	began := time.Now()
	b, err := p.runTx(ctx, c, p.decideFirstTries)
	p.scanCost += b.scan
	finished := len(b.outcomes)
	switch {
	case err == nil:
		p.applied += min(1, finished)
		p.report(ctx, b, time.Since(began))
	case transient(err) || len(b.events) == 0:
		return 0, err
	default:
		p.log.WarnContext(ctx, "a batch failed, applying its events one by one", "events", len(b.events), "error", err)
		b.retried, b.suspect = b.events, true
	}
	if b.full {
		p.signal()
	}
	n, err := p.applySingly(ctx, b.retried)
	if err != nil {
		return 0, err
	}
	if b.suspect {
		p.deleteMarks(ctx)
	}
	p.size = min(p.batch, 2*p.size)
	switch finished += n; {
	case finished > 0:
		p.found(b.first)
		if p.pause = linger; !b.full {
			sleep(ctx, p.pause)
		}
		return 0, nil
	case b.outdated:
		return 0, nil
	}
	return p.advance(ctx, c, b.locked || len(b.retried) > 0)
}

// untilFullScan is in how much time the next full scan begins.
func (p *poller) untilFullScan() time.Duration {
	if p.scanning {
		return time.Hour
	}
	return min(fullScanShare*p.scanCost, longestUnscanned) - time.Since(p.scannedAt)
}

func (p *poller) found(seq int64) {
	p.from = seq
	p.farthest = max(p.farthest, seq)
	p.endFullScan()
}

func (p *poller) endFullScan() {
	if p.scanning {
		p.scanning, p.scannedAt = false, time.Now()
	}
}

// advance moves the position past a window in which there is nothing to do, because all in it is other transactions',
// and at the end of the queue returns how long to wait.
func (p *poller) advance(ctx context.Context, c claim, locked bool) (wait time.Duration, err error) {
	var beyond int64
	err = p.database.Read(ctx, func(q *db.Queries) error {
		beyond, err = q.EventPendingFrom(ctx, db.EventPendingFromParams{FromSeq: c.from, Places: c.window})
		return err
	})
	switch {
	case ctx.Err() != nil:
		return 0, nil
	case err == nil:
		p.from = beyond
		return 0, nil
	case !queries.NoRows(err):
		return 0, err
	}
	fromBeginning := p.scanning
	p.endFullScan()
	p.from = max(p.from, p.farthest)
	switch {
	case !fromBeginning:
		return max(p.untilFullScan(), time.Millisecond), nil
	case locked:
		return lockedInterval, nil
	}
	return p.pollInterval, nil
}
