package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type noOp struct{}

func (noOp) Kind() string { return "no_op" }

type noOpWorker struct {
	river.WorkerDefaults[noOp]
	done *atomic.Int64
}

func (w *noOpWorker) Work(context.Context, *river.Job[noOp]) error {
	w.done.Add(1)
	return nil
}

// riverJobs measures the rate at which River processes no-op jobs, in this process.
func riverJobs(b *bench) (float64, error) {
	url, err := b.pg.EnsureDatabase(b.ctx, "river")
	if err != nil {
		return 0, err
	}
	pool, err := pgxpool.New(b.ctx, url)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return 0, err
	}
	if _, err := migrator.Migrate(b.ctx, rivermigrate.DirectionUp, nil); err != nil {
		return 0, err
	}
	var done atomic.Int64
	workers := river.NewWorkers()
	river.AddWorker(workers, &noOpWorker{done: &done})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger: quiet, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2000}},
		FetchCooldown: time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		return 0, err
	}
	total := len(codes) * len(b.api.journeys)
	jobs := make([]river.InsertManyParams, total)
	for i := range jobs {
		jobs[i] = river.InsertManyParams{Args: noOp{}}
	}
	if _, err := client.InsertManyFast(b.ctx, jobs); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := client.Start(b.ctx); err != nil {
		return 0, err
	}
	for done.Load() < int64(total) {
		if err := pause(b.ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	rate := float64(total) / time.Since(start).Seconds()
	return rate, client.Stop(b.ctx)
}
