package tests

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/tests/dbtest"
)

// A dropProxy is a proxy between a server and Postgres that injects a fault: it drops the connection
// when Postgres has committed a transaction that contains a marker, before the answer reaches the
// server.
type dropProxy struct {
	mu        sync.Mutex
	marker    []byte
	serial    int // number of the current marker
	remaining int // drops still to make
	drops     int
	last      bool // the next drop is after the answer, and no connection is made any more
	closed    bool
}

// closeAfterCommit forwards the answer to the commit of a transaction that contains the marker, and then closes the
// connection and every new one.
func (c *dropProxy) closeAfterCommit(marker string) {
	c.dropCommits(marker, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = true
}

// reopen takes new connections again.
func (c *dropProxy) reopen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.closed = false, false
}

func (c *dropProxy) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// dropCommits drops the answer to the next commits of a transaction that contains the marker.
func (c *dropProxy) dropCommits(marker string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marker, c.remaining, c.drops = []byte(marker), times, 0
	c.serial++
}

func (c *dropProxy) dropCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops
}

// markerSerial returns the serial of the marker if the bytes sent to Postgres contain it, and 0
// otherwise.
func (c *dropProxy) markerSerial(sent []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.marker) == 0 || !bytes.Contains(sent, c.marker) {
		return 0
	}
	return c.serial
}

// shouldDrop reports whether to drop a connection that sent the marker of this serial, and whether the answer is forwarded
// first.
func (c *dropProxy) shouldDrop(serial int) (drop, forward bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remaining == 0 || serial != c.serial {
		return false, false
	}
	c.remaining--
	c.drops++
	c.closed = c.last
	return true, c.last
}

// behindDropProxy is a second server on the system's database that connects through a dropProxy.
func (s *system) behindDropProxy(change ...func(*server.Options)) (*system, *dropProxy) {
	s.t.Helper()
	return s.behindDropProxyWith(queries.DefaultOptions(), change...)
}

// behindDropProxyWith is behindDropProxy with these options of its pool.
func (s *system) behindDropProxyWith(pool queries.Options, change ...func(*server.Options)) (*system, *dropProxy) {
	s.t.Helper()
	config, err := pgconn.ParseConfig(s.dbURL)
	must(s.t, err)
	// Not t.TempDir: the path of a socket is limited to about 100 bytes.
	dir, err := os.MkdirTemp("", "drop")
	must(s.t, err)
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	listener, err := net.Listen("unix", filepath.Join(dir, filepath.Base(address)))
	must(s.t, err)
	c := &dropProxy{}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			downstream, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial(network, address)
			if err != nil || c.isClosed() {
				if err == nil {
					upstream.Close()
				}
				downstream.Close()
				continue
			}
			connections.Go(func() { c.forward(downstream, upstream) })
		}
	})
	proxyURL := fmt.Sprintf("postgres:///%s?host=%s&port=%d&user=%s", config.Database, url.QueryEscape(filepath.Dir(listener.Addr().String())), config.Port, url.QueryEscape(config.User))
	database, err := queries.Open(context.Background(), proxyURL, pool)
	must(s.t, err)
	o := server.DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits, o.Log = s.url, signingKey, "off", slog.New(slog.NewJSONHandler(s.log, nil))
	for _, f := range change {
		f(&o)
	}
	srv, err := server.New(database, o)
	must(s.t, err)
	frontend := httptest.NewServer(srv)
	s.t.Cleanup(func() {
		frontend.Close()
		database.Close()
		listener.Close()
		connections.Wait()
	})
	second := *s
	second.url = frontend.URL
	return &second, c
}

// forward copies data in both directions until either side closes the connection or it is dropped.
func (c *dropProxy) forward(downstream, upstream net.Conn) {
	var sentSerial atomic.Int64
	var both sync.WaitGroup
	both.Go(func() {
		defer upstream.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := downstream.Read(buffer)
			if err != nil {
				return
			}
			if serial := c.markerSerial(buffer[:n]); serial > 0 {
				sentSerial.Store(int64(serial))
			}
			if _, err := upstream.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	defer both.Wait()
	defer downstream.Close()
	for {
		answer, unused, err := readAnswer(upstream)
		if err != nil {
			return
		}
		drop, forward := false, true
		if unused {
			drop, forward = c.shouldDrop(int(sentSerial.Load()))
			forward = forward || !drop
		}
		if forward {
			if _, err := downstream.Write(answer); err != nil {
				return
			}
		}
		if drop {
			return
		}
	}
}

// readAnswer reads Postgres messages up to ReadyForQuery or an authentication request, and reports
// whether the session is then outside of a transaction.
func readAnswer(from io.Reader) (answer []byte, unused bool, err error) {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(from, head); err != nil {
			return nil, false, err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(from, body); err != nil {
			return nil, false, err
		}
		answer = append(append(answer, head...), body...)
		switch head[0] {
		case 'Z':
			return answer, body[0] == 'I', nil
		case 'R': // an authentication request, to which the client replies
			return answer, false, nil
		}
	}
}

// TestLostCommit drops the answer to the COMMIT of an event. The server must find the stored event, and
// neither store it twice nor refuse it.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	s, proxy := c.behindDropProxy()
	event := lostEvent
	stored := func(encounter string) int {
		return value[int](c.system, "SELECT count(*) FROM events WHERE encounter_id LIKE $1 || '%'", encounter)
	}
	for name, test := range map[string]struct {
		body   fields
		header []string
	}{
		"alone":                   {body: event("lost-alone")},
		"with a source event id":  {body: event("lost-source", "source_event_id", unique("m"))},
		"with an idempotency key": {body: event("lost-key"), header: []string{"Idempotency-Key", unique("k")}},
		"with both":               {body: event("lost-both", "source_event_id", unique("m")), header: []string{"Idempotency-Key", unique("k")}},
		"lost twice":              {body: event("lost-twice")},
	} {
		marker, times := test.body["encounter_id"].(string), 1
		if strings.Contains(name, "twice") {
			times = 2
		}
		proxy.dropCommits(marker, times)
		a := s.expect(t, http.StatusCreated, "POST", "/api/integrations/events/", c.px.access, test.body, test.header...)
		if n := proxy.dropCount(); n != times {
			t.Fatalf("%s: the connection was dropped %d times, want %d", name, n, times)
		}
		if n := stored(marker); n != 1 {
			t.Fatalf("%s: stored %d times, want once, %s", name, n, s.log)
		}
		if id := value[string](c.system, "SELECT id::text FROM events WHERE encounter_id = $1", marker); id != a.json()["id"] {
			t.Errorf("%s: answered id %v, stored %s", name, a.json()["id"], id)
		}
	}

	t.Run("bulk", func(t *testing.T) {
		same := unique("m")
		proxy.dropCommits("lost-bulk", 1)
		a := s.expect(t, http.StatusCreated, "POST", "/api/integrations/events/bulk_create/", c.px.access, fields{"events": []fields{
			event("lost-bulk-1"), event("lost-bulk-2", "source_event_id", same), event("lost-bulk-2", "source_event_id", same),
			event("lost-bulk-3", "source_event_id", same), event(""),
		}})
		got := a.json()
		if fmt.Sprint(got["created"], got["duplicates"], got["failed"]) != "2 1 2" || proxy.dropCount() != 1 || stored("lost-bulk") != 2 {
			t.Errorf("answered %s, dropped %d times, stored %d", a.body, proxy.dropCount(), stored("lost-bulk"))
		}
	})

	// Repeated losses, and writes that cannot be looked up, are answered with 503.
	t.Run("503", func(t *testing.T) {
		proxy.dropCommits("lost-for-good", 3)
		s.expectRetryLater(t, s.send("POST", "/api/integrations/events/", c.px.access, event("lost-for-good")))
		proxy.dropCommits("lost-department", 1)
		s.expectRetryLater(t, s.send("POST", "/api/organizations/departments/", c.px.access, fields{"hospital": c.hospital, "name": "lost-department", "code": "LOST"}))
	})
}

// lostEvent is an event of the encounter with these additional members.
func lostEvent(encounter string, more ...string) fields {
	body := fields{"source_system": "his", "event_code": "CHECKED_IN", "encounter_id": encounter, "payload_json": fields{"n": 1}}
	for i := 0; i < len(more); i += 2 {
		body[more[i]] = more[i+1]
	}
	return body
}

func (s *system) expectRetryLater(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %d %s, want 503 with Retry-After", a.status, a.body)
	}
}

// TestLostCommitIsNotRepeated drops the answer to the COMMIT of a write without a key. The server
// answers outcome_unknown, and the client does not retry.
func TestLostCommitIsNotRepeated(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	s, proxy := c.behindDropProxy()
	made := func(name string) int {
		return value[int](c.system, "SELECT count(*) FROM survey_templates WHERE name = $1", name)
	}
	const path = "/api/surveys/templates/"

	proxy.dropCommits("lost-by-hand", 1)
	a := s.send("POST", path, c.px.access, fields{"hospital": c.hospital, "name": "lost-by-hand"})
	s.expectRetryLater(t, a)
	if a.json()["code"] != client.CodeOutcomeUnknown || made("lost-by-hand") != 1 {
		t.Errorf("made %d, answered %s", made("lost-by-hand"), a.body)
	}
	// Reads get a plain 503, without outcome_unknown.
	for _, method := range []string{"GET", "HEAD"} {
		proxy.dropCommits("lost-search", 1)
		a := s.send(method, path+"?search=lost-search", c.px.access, nil)
		s.expectRetryLater(t, a)
		if strings.Contains(a.body, "code") {
			t.Errorf("%s: answered %s", method, a.body)
		}
	}

	typed, err := client.New(s.url, client.WithToken(c.px.access))
	must(t, err)
	proxy.dropCommits("lost-by-client", 1)
	_, err = typed.CreateSurveyTemplate(t.Context(), client.SurveyTemplateCreate{Hospital: c.hospital, Name: "lost-by-client"})
	failure, ok := errors.AsType[*client.Error](err)
	if !ok || failure.Status != http.StatusServiceUnavailable || !failure.MaybeDone || proxy.dropCount() != 1 || made("lost-by-client") != 1 {
		t.Errorf("answered %v, dropped %d times, made %d", err, proxy.dropCount(), made("lost-by-client"))
	}
}

// TestNothingIsReadAfterTheCommit takes the database away right after the COMMIT of a change. What was done is answered as
// done, or as unknown where the server has to look at what was stored before.
func TestNothingIsReadAfterTheCommit(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	pool := queries.DefaultOptions()
	pool.MaxConnections, pool.ListConnections = 1, 0
	s, proxy := c.behindDropProxyWith(pool)
	template, patient := c.Template(), c.Patient(unique("M"))
	journey := c.Journey(template, patient, unique("E"))
	known := lostEvent("known", "source_event_id", unique("m"))
	c.expect(t, http.StatusCreated, "POST", oneEventPath, c.px.access, known)
	for name, change := range map[string]struct {
		method, path string
		body         func(marker string) fields
		status       int
	}{
		"a journey": {"POST", "/api/journeys/instances/", func(marker string) fields {
			return fields{"journey_template": template, "patient": patient, "hospital": c.hospital, "encounter_id": marker}
		}, http.StatusCreated},
		"a journey's update": {"PATCH", "/api/journeys/instances/" + journey.String() + "/", func(marker string) fields {
			return fields{"metadata": fields{"marker": marker}}
		}, http.StatusOK},
		"a department": {"POST", "/api/organizations/departments/", func(marker string) fields {
			return fields{"hospital": c.hospital, "name": marker, "code": marker}
		}, http.StatusCreated},
		"an event": {"POST", oneEventPath, func(marker string) fields { return lostEvent(marker) }, http.StatusCreated},
		"a bulk": {"POST", manyEventsPath, func(marker string) fields {
			return fields{"events": []fields{lostEvent(marker), lostEvent(marker)}}
		}, http.StatusCreated},
		"a bulk with a repeat": {"POST", manyEventsPath, func(marker string) fields {
			return fields{"events": []fields{lostEvent(marker), known}}
		}, http.StatusServiceUnavailable},
	} {
		dbtest.Eventually(t, "the server has a connection", func() bool {
			return s.send("GET", "/api/auth/users/me/", c.px.access, nil).status == http.StatusOK
		})
		marker := unique("marker")
		proxy.closeAfterCommit(marker)
		a := s.send(change.method, change.path, c.px.access, change.body(marker))
		if a.status != change.status || a.status == http.StatusServiceUnavailable && a.json()["code"] != client.CodeOutcomeUnknown {
			t.Errorf("%s: answered %d %s, want %d", name, a.status, a.body, change.status)
		}
		if n := proxy.dropCount(); n != 1 {
			t.Errorf("%s: committed %d times", name, n)
		}
		proxy.reopen()
	}
}
