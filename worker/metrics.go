package worker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

type metrics struct {
	outcomes *prometheus.CounterVec
	warnings *prometheus.CounterVec
	batches  prometheus.Histogram
}

func newMetrics(database *queries.DB, registerer prometheus.Registerer) *metrics {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_worker_events_total", Help: "Events by what became of them.",
		}, []string{"status", "reason"}),
		warnings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "px360_event_warnings_total",
			Help: "Events of which something was not taken as it was sent, by why, and by the source system of the API key that sent them, or user.",
		}, []string{"reason", "source"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "px360_worker_batch_seconds", Help: "How long a batch of events took.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 13), // 2 ms to 8 s
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.outcomes, m.warnings, m.batches, queue{database})
	}
	return m
}

// queue tells the state of the queue at the moment it is asked.
type queue struct{ database *queries.DB }

var (
	queuePending = prometheus.NewDesc("px360_worker_queue_pending",
		"Pending events, counted up to 10001.", nil, nil)
	queueOldest = prometheus.NewDesc("px360_worker_queue_oldest_seconds",
		"Since when the first pending event waits; 0 if none does.", nil, nil)
)

const (
	countedPending = 10001
	// scrapeTimeout keeps a scrape from waiting for a database in trouble: the two gauges are missing then.
	scrapeTimeout = time.Second
)

func (q queue) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- queuePending
	descriptions <- queueOldest
}

func (q queue) Collect(values chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var state db.EventQueueStateRow
	err := q.database.Read(ctx, func(db *db.Queries) (err error) {
		state, err = db.EventQueueState(ctx, countedPending)
		return err
	})
	if err != nil {
		return
	}
	values <- prometheus.MustNewConstMetric(queuePending, prometheus.GaugeValue, float64(state.Pending))
	values <- prometheus.MustNewConstMetric(queueOldest, prometheus.GaugeValue, state.OldestSeconds)
}
