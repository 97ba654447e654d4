package server

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/queries"
)

type metrics struct {
	requests *prometheus.HistogramVec
	// What stands before each operation's own work: checking the credential, and the round trip that loads the
	// principal and counts the call under its limits.
	credential, principal prometheus.Observer
}

// newMetrics registers what the server measures: requests by route, and the pool.
func newMetrics(r prometheus.Registerer, database *queries.DB) *metrics {
	m := &metrics{requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "px360_http_request_seconds", Help: "Time to answer a request, by route, method and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route", "method", "status"})}
	admission := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "px360_admission_seconds", Help: "Time that a request spends before its own work, by step: credential, or principal, which is where limits are counted.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .1, 1},
	}, []string{"step"})
	m.credential, m.principal = admission.WithLabelValues("credential"), admission.WithLabelValues("principal")
	if r == nil {
		return m
	}
	stat := database.Pool.Stat
	r.MustRegister(m.requests, admission,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "px360_pool_connections", Help: "Open database connections."},
			func() float64 { return float64(stat().TotalConns()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "px360_pool_connections_in_use", Help: "Database connections in use."},
			func() float64 { return float64(stat().AcquiredConns()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "px360_pool_waits_total", Help: "How often a request had to wait for a connection."},
			func() float64 { return float64(stat().EmptyAcquireCount()) }),
	)
	return m
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "none"}

// since observes how long a step took that began then.
func since(step prometheus.Observer, began time.Time) { step.Observe(time.Since(began).Seconds()) }

// request counts one request. Routes and methods that the contract does not have share a label, so
// that no client can make new series.
func (m *metrics) request(route, method string, status int, elapsed time.Duration) {
	if route == "" {
		route, method = "none", "none"
	}
	if !slices.Contains(methods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(elapsed.Seconds())
}
