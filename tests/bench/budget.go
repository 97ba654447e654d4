package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A budget is what one event costs: of WAL, transactions, and time of a processor in PX360 and in Postgres.
type budget struct {
	name                                 string
	measure                              func(b *bench) (events float64, err error)
	prepare                              func(b *bench) error
	process                              *process
	wal, transactions, program, postgres []float64 // bytes, and microseconds, of an event
}

func (b *bench) budgets(serve, work *process) []*budget {
	event := text(func() object {
		o := b.api.event(0, 0)
		o["event_code"] = "NO_STAGE"
		return o
	}())
	many := make([]object, bulk)
	for i := range many {
		many[i] = b.api.event(i%len(b.api.journeys), 0)
		many[i]["event_code"] = "NO_STAGE"
	}
	all := text(object{"events": many})
	return []*budget{
		{name: "budget: one event, from the socket to its commit", process: serve, measure: func(b *bench) (float64, error) {
			rate, err := b.rate(func(int, int) error {
				return b.api.as(serve.url, b.api.token).call("POST", "/api/integrations/events/", event, nil)
			})
			return rate * b.seconds, err
		}},
		{name: "budget: an event of a bulk of 1,000, to its commit", process: serve, measure: func(b *bench) (float64, error) {
			rate, err := b.rate(func(int, int) error {
				return b.api.as(serve.url, b.api.token).call("POST", "/api/integrations/events/bulk_create/", all, nil)
			})
			return rate * b.seconds * bulk, err
		}},
		{name: "budget: an event, from its claim to its outcome and effects", process: work, prepare: (*bench).fillQueue, measure: func(b *bench) (float64, error) {
			if _, err := b.emptyQueue(); err != nil {
				return 0, err
			}
			return float64(len(codes) * len(b.api.journeys)), nil
		}},
	}
}

// usage is what has been used so far.
type usage struct{ wal, transactions, program, postgres float64 }

func (b *bench) usage(p *process) (u usage, err error) {
	var backend int
	err = b.product.QueryRow(b.ctx, `SELECT pg_current_wal_insert_lsn() - '0/0', (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()), pg_backend_pid()`).
		Scan(&u.wal, &u.transactions, &backend)
	if err != nil {
		return u, err
	}
	u.program, _ = processorTime(p.pid, false)
	_, postmaster := processorTime(backend, false)
	u.postgres, _ = processorTime(postmaster, true) // with the children that have ended
	stats, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range stats {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if used, parent := processorTime(pid, false); parent == postmaster {
			u.postgres += used
		}
	}
	return u, nil
}

// processorTime is what a process has used of a processor, in microseconds, and its parent; zero where there is no /proc.
func processorTime(pid int, ended bool) (used float64, parent int) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	parent, _ = strconv.Atoi(fields[1])
	const tick = 10_000 // microseconds
	for i, field := range fields[11:15] {
		n, _ := strconv.ParseFloat(field, 64)
		if i < 2 || ended {
			used += n * tick
		}
	}
	return used, parent
}

func (b *bench) measureBudget(g *budget) error {
	if g.prepare != nil {
		if err := g.prepare(b); err != nil {
			return err
		}
	}
	before, err := b.usage(g.process)
	if err != nil {
		return err
	}
	events, err := g.measure(b)
	if err != nil {
		return err
	}
	after, err := b.usage(g.process)
	if err != nil {
		return err
	}
	g.wal = append(g.wal, (after.wal-before.wal)/events)
	g.transactions = append(g.transactions, (after.transactions-before.transactions)/events)
	g.program = append(g.program, (after.program-before.program)/events)
	g.postgres = append(g.postgres, (after.postgres-before.postgres)/events)
	return b.waitForWorker()
}

func (b *bench) printBudgets(out io.Writer, budgets []*budget) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nof one event\tWAL bytes\ttransactions\tµs in PX360\tµs in Postgres\t\n")
	for _, g := range budgets {
		if len(g.wal) > 0 {
			fmt.Fprintf(w, "%s\t%.0f\t%.3f\t%.0f\t%.0f\t\n", g.name, median(g.wal), median(g.transactions), median(g.program), median(g.postgres))
		}
	}
	w.Flush()
	fmt.Fprintln(out, "\nprocessor time; Postgres with all its processes; while events are accepted, the worker takes part in what Postgres does")
}
