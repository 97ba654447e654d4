package tests

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
)

// A refusal is a documented status that operations answer with for the same reason, whatever they do.
type refusal struct {
	status int
	send   func(m *sample, o exampleOperation) answer
}

var refusals = map[string]refusal{
	"without credentials": {http.StatusUnauthorized, func(m *sample, o exampleOperation) answer {
		return m.send(o.method, o.pathTo(""), "", o.request()) // the tokens and passwords of the examples are wrong
	}},
	"a path to nothing": {http.StatusNotFound, func(m *sample, o exampleOperation) answer {
		return m.send(o.method, o.pathTo(uuid.NewString())+"?page=99", m.token, m.body(o)) // lists end before
	}},
	"no JSON wanted": {http.StatusNotAcceptable, func(m *sample, o exampleOperation) answer {
		return m.send(o.method, o.pathTo(""), m.token, m.body(o), "Accept", "text/html")
	}},
	"a body too large": {http.StatusRequestEntityTooLarge, func(m *sample, o exampleOperation) answer {
		return m.send(o.method, o.pathTo(""), m.token, `{"name": "`+strings.Repeat("x", o.bodyLimit())+`"}`)
	}},
	"a body of no JSON": {http.StatusUnsupportedMediaType, func(m *sample, o exampleOperation) answer {
		return m.send(o.method, o.pathTo(""), m.token, jsonText(m.body(o)), "Content-Type", "text/plain")
	}},
}

// bodyLimit is the size of the largest body, in bytes.
func (o exampleOperation) bodyLimit() int {
	if limit, ok := o.Extensions["x-px360-body-limit"].(float64); ok {
		return int(limit)
	}
	return 1 << 20
}

// TestDocumentedRefusals calls every operation in each way that is refused with a documented status, and that with this
// status only.
func TestDocumentedRefusals(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t))
	for what, r := range refusals {
		called := 0
		for id, o := range m.operations {
			if o.Responses.Status(r.status) == nil {
				continue
			}
			called++
			if a := r.send(m, o); a.status != r.status {
				t.Errorf("%s, %s: answered %d %s, want %d", what, id, a.status, a.body, r.status)
			}
		}
		if called < 40 {
			t.Errorf("%s: only %d operations document %d", what, called, r.status)
		}
	}
}

// TestEveryOperationIsLimited calls every operation once more than its rate limit admits.
func TestEveryOperationIsLimited(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t, func(o *server.Options) {
		once := limits.Limit{Quota: 1, Window: time.Hour}
		o.RateLimits, o.Limits = limits.ModeEnforce, limits.Limits{Events: once, EventBytes: limits.DefaultLimits().EventBytes, Auth: limits.Limit{Quota: 2, Window: time.Hour}, User: once}
	}))
	for id, o := range m.operations {
		var last answer
		path, times := o.pathTo(""), 2
		if strings.Contains(path, "/public/") { // wrong links alone are counted
			path, times = o.pathTo("nothing"), 3
		}
		for range times {
			last = m.send(o.method, path, m.token, m.body(o))
		}
		if seconds, err := strconv.Atoi(last.header.Get("Retry-After")); last.status != http.StatusTooManyRequests || err != nil || seconds < 1 {
			t.Errorf("%s: answered %d %s with Retry-After %q", id, last.status, last.body, last.header.Get("Retry-After"))
		}
	}
}

// TestReplacedStatusConflicts sends by PUT what a status forbids.
func TestReplacedStatusConflicts(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t))
	for id, status := range map[string]string{"replaceJourneyInstance": "completed", "replaceStageInstance": "pending"} {
		o := m.operations[id]
		body := m.body(o).(map[string]any)
		body["status"] = status
		if a := m.send(o.method, o.pathTo(""), m.token, body); a.status != http.StatusConflict {
			t.Errorf("%s: answered %d %s, want 409", id, a.status, a.body)
		}
	}
}

// TestConcurrentPasswordChanges changes a password twice at once: one of the old passwords is no longer the present one.
func TestConcurrentPasswordChanges(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.token(adminName, adminPassword)
	statuses := make(chan int)
	for _, password := range []string{"Another-pass-360!", "A-third-pass-360!"} {
		go func() {
			statuses <- s.send(http.MethodPost, "/api/auth/users/change_password/", token, map[string]string{
				"old_password": adminPassword, "new_password": password, "new_password_confirm": password,
			}).status
		}()
	}
	one, other := <-statuses, <-statuses
	if changed, refused := min(one, other), max(one, other); changed != 200 || refused != 400 && refused != 401 { // 401: its token was revoked
		t.Errorf("answered %d and %d, want one success", one, other)
	}
}
