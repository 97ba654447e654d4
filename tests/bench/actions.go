package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// actionFigures are about what follows from a bad answer: an action with a deadline, and what partners hear of it.
func actionFigures() []*surveyFigure {
	return []*surveyFigure{
		{name: "webhooks: event drain with surveys and the outbox, of that without", unit: "%", measure: func(b *bench) (float64, error) { return drainWithWebhooks(b, false) }},
		{name: "webhooks: and delivered on the same processors", unit: "%", measure: func(b *bench) (float64, error) { return drainWithWebhooks(b, true) }},
		{name: "webhooks: delivered to one receiver", unit: "/s", measure: func(b *bench) (float64, error) { return deliver(b, 0) }},
		{name: "webhooks: delivered beside 20 dead receivers", unit: "/s", measure: func(b *bench) (float64, error) { return deliver(b, 20) }},
		{name: "actions: breach noticed among 100,000 open, latest", unit: "s", measure: noticeBreaches},
	}
}

// startReceivers runs a receiver that takes everything, and one that takes a connection and never answers.
func startReceivers() (live, dead string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", nil, err
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })}
	go func() { _ = server.Serve(listener) }()
	var held []net.Conn
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			held = append(held, conn)
		}
	}()
	return "http://" + listener.Addr().String() + "/", "http://" + silent.Addr().String() + "/", func() {
		_ = server.Close()
		_ = silent.Close()
	}, nil
}

// clearWebhooks takes all endpoints away, and what there is to tell.
func (b *bench) clearWebhooks() error {
	var err error
	for range 10 { // the worker, which is at it, takes their locks in another order
		if _, err = b.product.Exec(b.ctx, "DELETE FROM webhook_endpoints"); err == nil {
			_, err = b.product.Exec(b.ctx, "TRUNCATE webhook_events CASCADE")
		}
		if err == nil {
			return nil
		}
	}
	return err
}

func (b *bench) endpoint(url string, events ...string) error {
	_, err := b.api.create("/api/webhooks/endpoints/", object{"url": url, "hospital": nil, "events": events})
	return err
}

// drainWithWebhooks applies the same events with a survey for each journey and an endpoint that hears of them, be it later
// or at the same time, and with neither, in turns.
func drainWithWebhooks(b *bench, delivered bool) (float64, error) {
	live, _, stop, err := startReceivers()
	if err != nil {
		return 0, err
	}
	defer stop()
	return b.drainInTurns(func(with bool) error {
		if err := b.clearWebhooks(); err != nil || !with {
			return err
		}
		err := b.endpoint(live, "journey.completed", "survey.sent", "survey.completed", "action.created", "action.updated", "sla.breached")
		if err == nil && !delivered {
			_, err = b.product.Exec(b.ctx, "UPDATE webhook_endpoints SET leased_until = now() + interval '1 hour'") // to nobody
		}
		return err
	})
}

// deliver makes 40,000 events, and measures until an endpoint got the last. Beside it are so many dead ones, each of which
// waits for 1,000 others.
func deliver(b *bench, dead int) (float64, error) {
	const events = 40_000
	live, silent, stop, err := startReceivers()
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := b.clearWebhooks(); err != nil {
		return 0, err
	}
	defer func() { _ = b.clearWebhooks() }()
	for range dead {
		if err := b.endpoint(silent, "sla.breached"); err != nil {
			return 0, err
		}
	}
	if err := b.endpoint(live, "action.created"); err != nil {
		return 0, err
	}
	// Leased to nobody until all messages are there: the fan-out is not what is measured.
	if _, err := b.product.Exec(b.ctx, "UPDATE webhook_endpoints SET leased_until = now() + interval '1 hour'"); err != nil {
		return 0, err
	}
	_, err = b.product.Exec(b.ctx, `INSERT INTO webhook_events (hospital_id, type, object_id, version)
		SELECT (SELECT id FROM hospitals LIMIT 1), CASE WHEN i <= $1 THEN 'action.created' ELSE 'sla.breached' END, uuid7(), 1
		FROM generate_series(1, $1::int + 1000) i`, events)
	if err != nil {
		return 0, err
	}
	for left := 1; left > 0; {
		if err := b.product.QueryRow(b.ctx, "SELECT count(*) FROM webhook_events WHERE NOT fanned_out").Scan(&left); err != nil {
			return 0, err
		}
		if err := pause(b.ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
	if _, err := b.product.Exec(b.ctx, "UPDATE webhook_endpoints SET leased_until = now()"); err != nil {
		return 0, err
	}
	start := time.Now()
	var delivered int
	for delivered < events {
		err := b.product.QueryRow(b.ctx, `SELECT count(*) FROM webhook_messages
			WHERE status = 'delivered' AND endpoint_id = (SELECT id FROM webhook_endpoints WHERE url = $1)`, live).Scan(&delivered)
		if err != nil {
			return 0, err
		}
		if time.Since(start) > 2*time.Minute {
			return 0, fmt.Errorf("%d of %d were delivered", delivered, events)
		}
		if err := pause(b.ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return events / time.Since(start).Seconds(), nil
}

// noticeBreaches measures how long after their deadlines a hundred breaches are noticed, spread over ten seconds, among
// 100,000 actions that are open.
func noticeBreaches(b *bench) (float64, error) {
	for _, statement := range []string{
		"TRUNCATE actions CASCADE",
		`INSERT INTO actions (id, hospital_id, source_type, title, priority, sla, running_since, due_at, next_at)
			SELECT uuid7(), h.id, 'manual', 'A ' || i, 'urgent',
				jsonb_build_object('timezone', h.timezone, 'business_hours', h.business_hours, 'holidays', h.holidays, 'action_sla', h.action_sla),
				x.due - interval '4 hours', x.due, x.due
			FROM (SELECT * FROM hospitals LIMIT 1) h, generate_series(1, 100000) i,
				LATERAL (SELECT now() + CASE WHEN i <= 100 THEN interval '2 seconds' + i * interval '100 milliseconds' ELSE interval '3 hours' END AS due) x`,
		"UPDATE actions SET reminded_at = now()",
		"ANALYZE actions",
	} {
		if _, err := b.product.Exec(b.ctx, statement); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	for {
		var noticed int
		var latest float64
		err := b.product.QueryRow(b.ctx, "SELECT count(*), coalesce(max(extract(epoch FROM breached_at - due_at)), 0)::float8 FROM actions WHERE breached_at IS NOT NULL").Scan(&noticed, &latest)
		switch {
		case err != nil:
			return 0, err
		case noticed == 100:
			_, err := b.product.Exec(b.ctx, "TRUNCATE actions CASCADE")
			return latest, err
		case time.Since(start) > time.Minute:
			return 0, fmt.Errorf("%d of 100 breaches were noticed", noticed)
		}
		if err := pause(b.ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}
