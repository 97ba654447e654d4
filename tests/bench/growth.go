package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/gen/db"
)

// What ten years do to the queue.
func growthFigures() []*surveyFigure {
	return []*surveyFigure{
		{name: "growth: events accepted among ten million, of that among few", unit: "%", measure: acceptGrown},
		{name: "growth: events drained among ten million, of that among few", unit: "%", measure: drainGrown},
		{name: "growth: accept to applied at 500 events/s, p99", unit: "ms", measure: func(b *bench) (float64, error) { return b.appliedWithin(500) }},
		{name: "growth: accept to applied at 80 % of the most, p99", unit: "ms", measure: appliedNearTheMost},
		{name: "growth: drain beside a snapshot held open, of that before", unit: "%", measure: drainBesideSnapshot},
		{name: "growth: size of events after ten rounds of retention, of that after two", unit: "%", measure: expireTenRounds},
		{name: "growth: events deleted by retention", unit: "/s", measure: func(b *bench) (float64, error) { return b.expired, nil }},
	}
}

// openLarge opens the large world and starts serve and work on it.
func (b *bench) openLarge(dir string) (stop func(), err error) {
	pg, err := openWorld(b.ctx, b.world, worldOf(b.scale))
	if err != nil {
		return nil, err
	}
	w := &bench{options: b.options, ctx: b.ctx, pg: pg, database: worldDatabase}
	stop = func() { _ = pg.Stop() }
	also := func(more func()) {
		before := stop
		stop = func() { more(); before() }
	}
	if w.product, err = pgxpool.New(b.ctx, pg.URL(worldDatabase)); err != nil {
		return stop, err
	}
	also(w.product.Close)
	if err := os.MkdirAll(filepath.Join(dir, "large"), 0o755); err != nil {
		return stop, err
	}
	server, err := w.launch(filepath.Join(dir, "large"), "serve", "PX360_RATE_LIMITS=off")
	if err != nil {
		return stop, err
	}
	also(server.stop)
	if w.callers, err = w.worldUsers(server.url); err != nil {
		return stop, err
	}
	w.api = w.callers[worldAdmin]
	b.large = w
	return stop, nil
}

// withWorker runs f beside a worker on the large world, and then makes the world what it was.
func (b *bench) withWorker(f func() error) (err error) {
	if err := b.product.QueryRow(b.ctx, "SELECT max(seq) FROM events").Scan(&b.lastEvent); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "px360-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	worker, err := b.launch(dir, "work")
	if err != nil {
		return err
	}
	defer func() {
		worker.stop()
		for _, sql := range []string{
			fmt.Sprintf("DELETE FROM events WHERE seq > %d", b.lastEvent),
			fmt.Sprintf("UPDATE events SET status = 'pending', reason = '', attempts = 0, processed_at = NULL WHERE seq > %d - 1000 AND event_code LIKE 'STAGE%%'", b.lastEvent),
			"VACUUM events",
		} {
			_, failed := b.product.Exec(context.WithoutCancel(b.ctx), sql)
			err = errors.Join(err, failed)
		}
	}()
	if err := b.waitForWorker(); err != nil {
		return err
	}
	return f()
}

// acceptGrown sends single events to the large world and to the small one, in turn.
func acceptGrown(b *bench) (percent float64, err error) {
	text, err := json.Marshal(object{"source_system": "his", "event_code": "NO_STAGE", "encounter_id": "ENC-1", "patient_identifier": "MRN-1", "payload_json": json.RawMessage(payload)})
	if err != nil {
		return 0, err
	}
	accept := func(b *bench) (float64, error) {
		rate, err := b.rate(func(int, int) error { return b.api.call("POST", "/api/integrations/events/", text, nil) })
		return rate, errors.Join(err, b.waitForWorker())
	}
	err = b.large.withWorker(func() error {
		small, err := accept(b)
		if err != nil {
			return err
		}
		grown, err := accept(b.large)
		percent = 100 * grown / small
		return err
	})
	return percent, err
}

func drainGrown(b *bench) (percent float64, err error) {
	err = b.large.withWorker(func() error {
		small, err := b.drainPlain()
		if err != nil {
			return err
		}
		grown, err := b.large.drainPlain()
		percent = 100 * grown / small
		return err
	})
	return percent, err
}

// drainPlain is the rate at which events without a stage are decided.
func (b *bench) drainPlain() (float64, error) {
	total := 20 * max(1000, b.journeys)
	if _, err := b.product.Exec(b.ctx, columns+`SELECT uuid7(), 'his', 'NO_STAGE', 'ENC-' || i % 2000, 'MRN-1', $1, 'user', uuid7() FROM generate_series(1, $2::integer) i`, payload, total); err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := b.product.Exec(b.ctx, "NOTIFY px360_events"); err != nil {
		return 0, err
	}
	err := b.waitForWorker()
	return float64(total) / time.Since(start).Seconds(), err
}

// appliedWithin sends events at a rate, whatever the answers, and returns the 99th percentile of the time from when one was to
// be sent until its outcome, in milliseconds.
func (b *bench) appliedWithin(perSecond float64) (float64, error) {
	var first int64
	if err := b.product.QueryRow(b.ctx, "SELECT coalesce(max(seq), 0) FROM events").Scan(&first); err != nil {
		return 0, err
	}
	if err := b.send(b.ctx, perSecond, time.Duration(b.seconds*float64(time.Second))); err != nil {
		return 0, err
	}
	if err := b.waitForWorker(); err != nil {
		return 0, err
	}
	var p99 float64
	err := b.product.QueryRow(b.ctx, `SELECT coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at) * 1000 - source_event_id::float8), 0)::float8
		FROM events WHERE seq > $1 AND event_code = 'PACED'`, first).Scan(&p99)
	return p99, err
}

// send sends events at a rate, each under the time at which it was to be sent, in milliseconds.
func (b *bench) send(ctx context.Context, perSecond float64, d time.Duration) error {
	const places = 256 // a server that is that much behind is not waited for any more: the senders wait, and their events count as late
	var wait sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	for range places {
		wait.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				n := next.Add(1)
				at := start.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))
				if at.Sub(start) > d {
					return
				}
				if err := pause(ctx, time.Until(at)); err != nil {
					return
				}
				err := b.api.call("POST", "/api/integrations/events/", text(object{
					"source_system": "his", "event_code": "PACED", "encounter_id": fmt.Sprint("ENC-", n%1000), "patient_identifier": "MRN-1",
					"source_event_id": fmt.Sprintf("%.3f", float64(at.UnixMicro())/1000+float64(n%7)/1e6), "payload_json": json.RawMessage(payload),
				}), nil)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// appliedNearTheMost finds the most that can be accepted and applied at once, and sends 80 % of it.
func appliedNearTheMost(b *bench) (float64, error) {
	event := text(object{"source_system": "his", "event_code": "PACED", "encounter_id": "ENC-1", "patient_identifier": "MRN-1", "source_event_id": "", "payload_json": json.RawMessage(payload)})
	start := time.Now()
	rate, err := b.rate(func(int, int) error { return b.api.call("POST", "/api/integrations/events/", event, nil) })
	if err != nil {
		return 0, err
	}
	sending := time.Since(start).Seconds()
	if err := b.waitForWorker(); err != nil {
		return 0, err
	}
	return b.appliedWithin(0.8 * rate * sending / time.Since(start).Seconds())
}

// drainBesideSnapshot drains before and beside a transaction that holds a snapshot, and that has been open for -snapshot
// while 500 events a second came.
func drainBesideSnapshot(b *bench) (float64, error) {
	before, err := b.drainPlain()
	if err != nil {
		return 0, err
	}
	conn, err := pgx.Connect(b.ctx, b.pg.URL(b.database))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.Background())
	tx, err := conn.BeginTx(b.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(b.ctx, "SELECT count(*) FROM hospitals"); err != nil { // takes the snapshot
		return 0, err
	}
	if err := b.send(b.ctx, 500, b.snapshot); err != nil {
		return 0, err
	}
	if err := b.waitForWorker(); err != nil {
		return 0, err
	}
	beside, err := b.drainPlain()
	if err != nil {
		return 0, err
	}
	if err := tx.Rollback(b.ctx); err != nil {
		return 0, err
	}
	return 100 * beside / before, nil
}

// expireTenRounds lets ten rounds of events come and go, with the query that the worker deletes them with, and compares what
// the table takes on disk. Autovacuum would come in its time; here it is after each round.
func expireTenRounds(b *bench) (float64, error) {
	const rows, batch = 50_000, 5000
	var early, late, deleted int64
	var deleting time.Duration
	for round := range 10 {
		for _, sql := range []string{
			strings.Replace(columns, "sender_id)", "sender_id, status, received_at, processed_at)", 1) + fmt.Sprintf(
				`SELECT uuid7(), 'his', 'OLD', 'ENC-' || i %% 2000, 'MRN-1', '%s', 'user', uuid7(), 'processed', now() - interval '800 days', now() FROM generate_series(1, %d) i`, payload, rows),
			"ANALYZE events",
		} {
			if _, err := b.product.Exec(b.ctx, sql); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		for n := int64(batch); n == batch; {
			var err error
			if n, err = db.New(b.product).EventExpire(b.ctx, db.EventExpireParams{Seconds: (700 * 24 * time.Hour).Seconds(), Most: batch}); err != nil {
				return 0, err
			}
			deleted += n
		}
		deleting += time.Since(start)
		if _, err := b.product.Exec(b.ctx, "VACUUM events"); err != nil {
			return 0, err
		}
		var size int64
		if err := b.product.QueryRow(b.ctx, "SELECT pg_total_relation_size('events')").Scan(&size); err != nil {
			return 0, err
		}
		switch round {
		case 1:
			early = size
		case 9:
			late = size
		}
	}
	b.expired = float64(deleted) / deleting.Seconds()
	if deleted != 10*rows {
		return 0, fmt.Errorf("%d events were deleted, not %d", deleted, 10*rows)
	}
	return 100 * float64(late) / float64(early), nil
}
