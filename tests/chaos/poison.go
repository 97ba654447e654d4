package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/px360/px360/gen/client"
)

// poisonTrigger makes marked events fail when they get an outcome, other than that they are given up: by an error, by
// hanging, or by the end of the worker, for which it holds a lock that the harness looks for.
const poisonTrigger = `
CREATE FUNCTION chaos_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE NEW.payload_json ->> 'poison'
    WHEN 'hang' THEN
        PERFORM pg_sleep(600);
    WHEN 'exit' THEN
        PERFORM pg_advisory_xact_lock_shared(360, 666);
        PERFORM pg_sleep(2);
    ELSE
        NULL;
    END CASE;
    RAISE EXCEPTION 'chaos: a poison event';
END $$;
CREATE TRIGGER chaos_poison BEFORE UPDATE ON events FOR EACH ROW
WHEN (NEW.status <> 'pending' AND NEW.reason <> 'internal_error' AND NEW.payload_json ->> 'poison' <> '')
EXECUTE FUNCTION chaos_poison()`

// poison sends a visit with a poison event in its middle. The events after it wait for it, and nobody else's.
func (t *traffic) poison(ctx context.Context, mischief string) {
	v := t.ledger.newVisit()
	first, bad, last := t.ledger.newEvent(v, codeArrive), t.ledger.newEvent(v, codeTick), t.ledger.newEvent(v, codeTick)
	bad.poison = mischief
	bad.body = bodyOf(bad.number, t.ledger.began.Add(-time.Hour).UTC(), mischief)
	p := &player{traffic: t, random: newRandom(uint64(v.number))}
	p.create(ctx, v)
	for _, e := range []*event{first, bad, last} {
		t.sendOne(ctx, e, 0)
	}
}

// burst sends a thousand events of 250 encounters in one request, which is what a worker claims at once. All that a claim
// reads of them is as long as it may be: its answer does not fit into the buffer of a socket.
func (t *traffic) burst(ctx context.Context) {
	var events []*event
	var body client.EventBulkCreate
	for range 250 {
		v := t.ledger.newVisit()
		v.encounter = fmt.Sprintf("%s-%080d", v.encounter, 0)
		for range 4 {
			e := t.ledger.newEvent(v, codeTick)
			e.body = json.RawMessage(fmt.Sprintf(`{"chaos": %d, "physician_license": "%0100d", "department_code": "%0100d"}`, e.number, 0, 0))
			events = append(events, e)
			body.Events = append(body.Events, e.create())
		}
	}
	key := client.WithIdempotencyKey(fmt.Sprintf("%s-burst-%d", t.ledger.run, events[0].number))
	a, err := t.call(ctx, true, func(a *api) error {
		_, err := a.sender.BulkCreateEvents(ctx, body, key)
		return err
	})
	if err != nil {
		t.failed(err, a, events...)
		return
	}
	t.ledger.acknowledge(events...)
}

// executioner kills each worker that applies a poison event of the kind exit.
func (h *harness) executioner(ctx context.Context) {
	for sleep(ctx, 200*time.Millisecond) {
		conn, err := h.cluster.connect(ctx)
		if err != nil {
			continue
		}
		for err == nil && sleep(ctx, 50*time.Millisecond) {
			var backends []int32
			err = conn.QueryRow(ctx, `SELECT coalesce(array_agg(pid), '{}') FROM pg_locks
				WHERE locktype = 'advisory' AND classid = 360 AND objid = 666`).Scan(&backends)
			for _, backend := range backends {
				h.endOwner(uint32(backend))
			}
		}
		conn.Close(context.WithoutCancel(ctx))
	}
}

func (h *harness) endOwner(backend uint32) {
	for _, p := range h.workers {
		for _, proxy := range p.proxies {
			if slices.Contains(proxy.backends(), backend) {
				h.ledger.count("workers ended by a poison event", 1)
				p.end(syscall.SIGKILL, 0)
				return
			}
		}
	}
}
