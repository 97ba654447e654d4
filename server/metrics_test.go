package server

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// The number of time series is bounded, whatever methods and paths unauthenticated clients send.
func TestMetricsCardinalityIsBounded(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := newServerWithoutDatabase(t, func(o *Options) { o.Registerer = registry })
	for i := range 50 {
		for _, path := range []string{"/api/auth/users/me/", "/healthz/", "/api/schema/", fmt.Sprint("/nowhere/", i), fmt.Sprint("/api/auth/users/", i, "/")} {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(fmt.Sprint("M", i), path, nil))
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); n > 20 {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
	}
}
