package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Several processes on one Postgres, each with a database of its own for each number, so that neither finds the rows of the
// other.
func processFigures() []*surveyFigure {
	return []*surveyFigure{
		{name: "processes: four serve and four work, events accepted, of one and one", unit: "%", measure: func(b *bench) (float64, error) {
			if err := b.compareProcesses(); err != nil {
				return 0, err
			}
			return 100 * b.many.accepted / b.single.accepted, nil
		}},
		{name: "processes: four serve and four work, events applied, of one and one", unit: "%", measure: func(b *bench) (float64, error) {
			return 100 * b.many.applied / b.single.applied, nil
		}},
		{name: "processes: connections of four serve and four work", unit: "", measure: func(b *bench) (float64, error) { return b.many.connections, nil }},
		{name: "processes: connections of one and one", unit: "", measure: func(b *bench) (float64, error) { return b.single.connections, nil }},
	}
}

// A deployment is what so many processes of each kind reached.
type deployment struct{ accepted, applied, connections float64 }

func (b *bench) compareProcesses() (err error) {
	if b.single, err = b.deploy("single", 1); err == nil {
		b.many, err = b.deploy("many", 4)
	}
	return err
}

func (b *bench) deploy(database string, processes int) (d deployment, err error) {
	dir, err := os.MkdirTemp("", "px360-bench-")
	if err != nil {
		return d, err
	}
	defer os.RemoveAll(dir)
	here := &bench{options: b.options, ctx: b.ctx, pg: b.pg, database: database}
	here.connections *= 4 // as many for each of four
	url, err := b.pg.EnsureDatabase(b.ctx, database)
	if err != nil {
		return d, err
	}
	if here.product, err = pgxpool.New(b.ctx, url); err != nil {
		return d, err
	}
	defer here.product.Close()
	first, err := here.launch(dir, "up", "PX360_RATE_LIMITS=off") // migrates, and makes the admin
	if err != nil {
		return d, err
	}
	var journeys int
	if err := here.product.QueryRow(b.ctx, "SELECT count(*) FROM journey_instances").Scan(&journeys); err != nil {
		return d, err
	}
	if journeys == 0 {
		here.api, err = prepare(here.product, first.url, b.journeys)
	} else {
		here.api, err = b.api.as(first.url, ""), nil
		if here.api.token, err = here.api.logIn("admin"); err == nil {
			here.api.journeys, err = here.journeyIDs()
		}
	}
	first.stop()
	if err != nil {
		return d, err
	}
	var serving []*api
	for i := range processes {
		for _, command := range []string{"serve", "work"} {
			at := filepath.Join(dir, fmt.Sprint(command, i))
			if err := os.Mkdir(at, 0o755); err != nil {
				return d, err
			}
			p, err := here.launch(at, command, "PX360_RATE_LIMITS=off")
			if err != nil {
				return d, err
			}
			defer p.stop()
			if command == "serve" {
				serving = append(serving, here.api.as(p.url, here.api.token))
			}
		}
	}
	event := text(func() object {
		o := b.api.event(0, 0)
		o["event_code"] = "NO_STAGE"
		return o
	}())
	d.accepted, err = here.rate(func(connection, _ int) error {
		return serving[connection%len(serving)].call("POST", "/api/integrations/events/", event, nil)
	})
	if err := errors.Join(err, here.waitForWorker()); err != nil {
		return d, err
	}
	var connections int
	if err := here.product.QueryRow(b.ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'px360%'").Scan(&connections); err != nil {
		return d, err
	}
	d.connections = float64(connections)
	if d.applied, err = drain(here); err != nil {
		return d, err
	}
	// Nothing is applied twice: each stage has one survey at most, and each event one attempt.
	var twice int
	err = here.product.QueryRow(b.ctx, "SELECT count(*) FROM events WHERE attempts > 1 OR status <> 'processed'").Scan(&twice)
	if err == nil && twice > 0 {
		err = fmt.Errorf("%d events were not applied exactly once", twice)
	}
	return d, err
}

func (b *bench) journeyIDs() (ids []string, err error) {
	rows, err := b.product.Query(b.ctx, "SELECT id::text FROM journey_instances ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
