package tests

import (
	"net/http"
	"strings"
	"testing"
)

// The reason for not being ready is logged with the request id.
func TestNotReadyIsLoggedWithItsRequest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec("UPDATE schema_migrations SET dirty = true")
	a := s.expect(t, http.StatusServiceUnavailable, "GET", "/readyz", "", nil)
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"not ready"`) && strings.Contains(line, a.header.Get("X-Request-ID")) && strings.Contains(line, "stopped half way") {
			return
		}
	}
	t.Errorf("the log is %s", s.log)
}
