package worker

import (
	"testing"
	"time"
)

// What is behind a poller's position waits for a full scan. That does not take longer because a scan took long, be it for
// a lock or for a connection that did not answer.
func TestFullScanIsNotPutOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple("A", "E0"))
	f.create(0)
	event := f.send("H", eventOf("E0", "A"))[0]
	w := f.worker()
	w.startedAt = time.Now()
	p := &poller{Worker: w, size: w.batch, from: 1 << 40, scannedAt: time.Now()}

	f.exec(`ALTER TABLE events RENAME TO events_away`)
	if _, err := p.runBatch(t.Context()); err == nil || p.scanCost != 0 {
		t.Errorf("a scan that failed with %v counts as one of %s", err, p.scanCost)
	}
	f.exec(`ALTER TABLE events_away RENAME TO events`)

	p.scanCost, p.scannedAt = time.Hour, time.Now().Add(-longestUnscanned)
	if _, err := p.runBatch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := one[string](f, `SELECT status FROM events WHERE id = $1`, event); got != "processed" {
		t.Errorf("the event behind the position is %s", got)
	}
}
