package tests

import (
	"bytes"
	"context"
	"encoding/binary"
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
)

// A cutter stands between a server and Postgres. Once a marker has gone by in a statement, it cuts the
// connection in the moment that hurts: Postgres has committed and said so, and nobody heard it.
type cutter struct {
	mu     sync.Mutex
	marker []byte
	serial int // of the marker
	times  int // how often to cut yet
	cuts   int
}

// arm has the next answers that end a transaction with the marker in it lost.
func (c *cutter) arm(marker string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marker, c.times, c.cuts = []byte(marker), times, 0
	c.serial++
}

func (c *cutter) done() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// mention returns the serial of the marker if that is in what goes to Postgres, and 0 otherwise.
func (c *cutter) mention(sent []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.marker) == 0 || !bytes.Contains(sent, c.marker) {
		return 0
	}
	return c.serial
}

// cut tells whether to cut a connection that mentioned the marker of this serial.
func (c *cutter) cut(serial int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == 0 || serial != c.serial {
		return false
	}
	c.times--
	c.cuts++
	return true
}

// behindCutter is a second server on the system's database, all of whose connections go through a cutter.
func (s *system) behindCutter(change ...func(*server.Options)) (*system, *cutter) {
	s.t.Helper()
	config, err := pgconn.ParseConfig(s.dbURL)
	must(s.t, err)
	// Not t.TempDir: the path of a socket has hardly more than a hundred characters.
	dir, err := os.MkdirTemp("", "cut")
	must(s.t, err)
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	listener, err := net.Listen("unix", filepath.Join(dir, filepath.Base(address)))
	must(s.t, err)
	c := &cutter{}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, address)
			if err != nil {
				near.Close()
				continue
			}
			open.Go(func() { c.connect(near, far) })
		}
	})
	through := fmt.Sprintf("postgres:///%s?host=%s&port=%d&user=%s", config.Database, url.QueryEscape(filepath.Dir(listener.Addr().String())), config.Port, url.QueryEscape(config.User))
	database, err := queries.Open(context.Background(), through, queries.DefaultOptions())
	must(s.t, err)
	o := server.DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits, o.Log = s.url, signingKey, "off", slog.New(slog.NewJSONHandler(s.log, nil))
	for _, f := range change {
		f(&o)
	}
	srv, err := server.New(database, o)
	must(s.t, err)
	front := httptest.NewServer(srv)
	s.t.Cleanup(func() {
		front.Close()
		database.Close()
		listener.Close()
		open.Wait()
	})
	again := *s
	again.url = front.URL
	return &again, c
}

// connect carries one connection, until either end closes it or it is cut.
func (c *cutter) connect(near, far net.Conn) {
	var mentioned atomic.Int64
	var both sync.WaitGroup
	both.Go(func() {
		defer far.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := near.Read(buffer)
			if err != nil {
				return
			}
			if serial := c.mention(buffer[:n]); serial > 0 {
				mentioned.Store(int64(serial))
			}
			if _, err := far.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	defer both.Wait()
	defer near.Close()
	for {
		answer, idle, err := readAnswer(far)
		if err != nil {
			return
		}
		if idle && c.cut(int(mentioned.Load())) {
			return
		}
		if _, err := near.Write(answer); err != nil {
			return
		}
	}
}

// readAnswer reads messages of Postgres up to one that says that it is ready, and tells whether it is no
// longer within a transaction then.
func readAnswer(from io.Reader) (answer []byte, idle bool, err error) {
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
		case 'R': // a question about who it is, that waits for an answer
			return answer, false, nil
		}
	}
}

// TestLostCommit loses the answer to the COMMIT of an event. The server must find out that the event is
// stored, and neither store it twice nor refuse it.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	s, cutter := c.behindCutter()
	event := lostEvent
	stored := func(encounter string) int {
		return value[int](c.system, "SELECT count(*) FROM events WHERE encounter_id LIKE $1 || '%'", encounter)
	}
	for name, test := range map[string]struct {
		body   fields
		header []string
	}{
		"alone":                      {body: event("lost-alone")},
		"with a source event id":     {body: event("lost-source", "source_event_id", unique("m"))},
		"with an idempotency key":    {body: event("lost-key"), header: []string{"Idempotency-Key", unique("k")}},
		"with both":                  {body: event("lost-both", "source_event_id", unique("m")), header: []string{"Idempotency-Key", unique("k")}},
		"with the answer lost twice": {body: event("lost-twice")},
	} {
		marker, times := test.body["encounter_id"].(string), 1
		if strings.Contains(name, "twice") {
			times = 2
		}
		cutter.arm(marker, times)
		a := s.expect(t, http.StatusCreated, "POST", "/api/integrations/events/", c.px, test.body, test.header...)
		if n := cutter.done(); n != times {
			t.Fatalf("%s: the connection was cut %d times, want %d", name, n, times)
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
		cutter.arm("lost-bulk", 1)
		a := s.expect(t, http.StatusCreated, "POST", "/api/integrations/events/bulk_create/", c.px, fields{"events": []fields{
			event("lost-bulk-1"), event("lost-bulk-2", "source_event_id", same), event("lost-bulk-2", "source_event_id", same),
			event("lost-bulk-3", "source_event_id", same), event(""),
		}})
		got := a.json()
		if fmt.Sprint(got["created"], got["duplicates"], got["failed"]) != "2 1 2" || cutter.done() != 1 || stored("lost-bulk") != 2 {
			t.Errorf("answered %s, cut %d times, stored %d", a.body, cutter.done(), stored("lost-bulk"))
		}
	})

	// A connection that stays lost, and a change of which it cannot be known, are a reason to come back.
	t.Run("given up", func(t *testing.T) {
		cutter.arm("lost-for-good", 3)
		s.comeBack(t, s.send("POST", "/api/integrations/events/", c.px, event("lost-for-good")))
		cutter.arm("lost-department", 1)
		s.comeBack(t, s.send("POST", "/api/organizations/departments/", c.px, fields{"hospital": c.hospital, "name": "lost-department", "code": "LOST"}))
	})
}

// lostEvent is an event of an encounter, with more members than it needs.
func lostEvent(encounter string, more ...string) fields {
	body := fields{"source_system": "his", "event_code": "CHECKED_IN", "encounter_id": encounter, "payload_json": fields{"n": 1}}
	for i := 0; i < len(more); i += 2 {
		body[more[i]] = more[i+1]
	}
	return body
}

func (s *system) comeBack(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %d %s, want 503 with Retry-After", a.status, a.body)
	}
}

// TestLostCommitIsNotRepeated loses the answer to the COMMIT of what has no key to know it again by. The
// server says that it does not know, and the client does not do it twice.
func TestLostCommitIsNotRepeated(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	s, cutter := c.behindCutter()
	made := func(name string) int {
		return value[int](c.system, "SELECT count(*) FROM survey_templates WHERE name = $1", name)
	}
	const path = "/api/surveys/templates/"

	cutter.arm("lost-by-hand", 1)
	a := s.send("POST", path, c.px, fields{"hospital": c.hospital, "name": "lost-by-hand"})
	s.comeBack(t, a)
	if a.json()["code"] != client.CodeOutcomeUnknown || made("lost-by-hand") != 1 {
		t.Errorf("made %d, answered %s", made("lost-by-hand"), a.body)
	}
	// What only reads, or has not begun, is simply to be asked again.
	for _, method := range []string{"GET", "HEAD"} {
		cutter.arm("lost-search", 1)
		a := s.send(method, path+"?search=lost-search", c.px, nil)
		s.comeBack(t, a)
		if strings.Contains(a.body, "code") {
			t.Errorf("%s: answered %s", method, a.body)
		}
	}

	typed, err := client.NewClientWithResponses(s.url, client.WithHTTPClient(&client.Retry{}))
	must(t, err)
	cutter.arm("lost-by-client", 1)
	response, err := typed.CreateSurveyTemplateWithResponse(t.Context(), client.SurveyTemplateCreate{Hospital: c.hospital, Name: "lost-by-client"},
		func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+c.px)
			return nil
		})
	must(t, err)
	if response.StatusCode() != http.StatusServiceUnavailable || cutter.done() != 1 || made("lost-by-client") != 1 {
		t.Errorf("answered %s, cut %d times, made %d", response.Status(), cutter.done(), made("lost-by-client"))
	}
}
