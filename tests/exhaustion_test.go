package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/tests/dbtest"
)

// The exhaustion tests hold on to what all clients share: places, memory, connections. While an attack lasts, each
// request of well-behaved neighbours must be answered. Rate limits are off: the defence does not depend on them.

const (
	assetPath     = "/api/docs/assets/swagger-ui-bundle.js"
	attacker      = "127.0.0.2" // addresses of this host, other than the neighbours'
	otherAttacker = "127.0.0.3"
	fewPlaces     = 8
)

// patient servers cut nobody off while a test runs, so that an attack lasts.
func patientServer(o *server.Options) {
	o.MaxInFlight = fewPlaces
	o.SlowestClient = server.Pace{Grace: time.Hour, BytesPerSecond: 1}
}

// strictServer cuts slow clients off at once.
func strictServer(o *server.Options) {
	o.SlowestClient = server.Pace{Grace: 100 * time.Millisecond, BytesPerSecond: 1 << 30}
}

// An attackedServer is a server under attack, and its neighbours.
type attackedServer struct {
	*clinic
	nurse person // of another hospital than the attackers
	key   string
}

func startAttackedServer(t *testing.T, change ...func(*server.Options)) *attackedServer {
	t.Helper()
	return withNeighbours(t, startServer(t, change...))
}

func withNeighbours(t *testing.T, s *system) *attackedServer {
	t.Helper()
	other := s.clinic()
	config := try(other.px.CreateIntegrationConfig(context.Background(), client.IntegrationConfigCreate{
		Name: "HIS", SourceSystem: "his", Hospital: client.Value(other.hospital),
	})).ok(t)
	return &attackedServer{clinic: s.clinic(), nurse: s.person(other.hospital, "Nurse"), key: config.APIKey}
}

// neighbours sends what others send: a login, a user's reading, an event by token and by key, documentation, health.
func (s *attackedServer) neighbours(t *testing.T) {
	t.Helper()
	for range 3 {
		s.expect(t, http.StatusOK, "POST", loginPath, "", fields{"username": s.nurse.username, "password": password})
		s.expect(t, http.StatusOK, "GET", ownPath, s.nurse.access, nil)
		s.expect(t, http.StatusCreated, "POST", oneEventPath, s.nurse.access, sourceEvent("his"))
		s.expect(t, http.StatusCreated, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", s.key)
		s.expect(t, http.StatusCreated, "POST", manyEventsPath, s.nurse.access, sourceBulk("lab", "his"))
		s.expect(t, http.StatusOK, "GET", assetPath, "", nil)
		s.expect(t, http.StatusOK, "GET", "/readyz", "", nil)
	}
}

// dial connects from an address of this host, with a small buffer for what is received, and sends text.
func (s *attackedServer) dial(t *testing.T, address, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)},
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) {
				// Small segments: with those of the loopback device the kernel would buffer megabytes for the server.
				err = errors.Join(syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096),
					syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536))
			})
			return errors.Join(failed, err)
		},
	}
	conn, err := dialer.Dial("tcp4", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, text)
	must(t, err)
	return conn
}

// metric is the sum of the series of a metric with these label values.
func (s *system) metric(name string, labels ...string) (sum float64) {
	s.t.Helper()
	families, err := s.registry.Gather()
	must(s.t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			for i, label := range m.GetLabel() {
				if i < len(labels) && label.GetValue() != labels[i] {
					continue series
				}
			}
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

// refusals waits until so many were refused. Labels are in the order of their names: what, why.
func (s *system) refusals(t *testing.T, n float64, what, why string) {
	t.Helper()
	dbtest.Eventually(t, fmt.Sprintf("%v refusals: %s, %s", n, what, why), func() bool { return s.metric("px360_refused_total", what, why) >= n })
}

// inUse waits until at least so much of a budget is in use.
func (s *system) inUse(t *testing.T, what string, n float64) {
	t.Helper()
	dbtest.Eventually(t, fmt.Sprintf("%v of %s in use", n, what), func() bool { return s.metric("px360_budget_used", what) >= n })
}

func post(path, authorization string, length int, sent string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, authorization, length, sent)
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// Clients that ask for something large and do not read it hold no place, and an address gets so much of it at a time.
func TestExhaustionByUnreadAssets(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, patientServer)
	const n = 30
	for range n {
		for _, address := range []string{attacker, otherAttacker} {
			s.dial(t, address, "GET "+assetPath+" HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	s.inUse(t, "answers", 20<<20)
	s.refusals(t, 20, "answers", "caller")
	s.neighbours(t)
	if places := s.metric("px360_budget_used", "places"); places != 0 {
		t.Errorf("%v places are taken by clients that do not read", places)
	}
}

// A client that reads too slowly is cut off.
func TestExhaustionBySlowReaders(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, strictServer)
	conn := s.dial(t, attacker, "GET "+assetPath+" HTTP/1.1\r\nHost: x\r\n\r\n")
	s.refusals(t, 1, "answers", "slow")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil || n == res.ContentLength {
		t.Errorf("got %d of %d bytes, %v", n, res.ContentLength, err)
	}
	dbtest.Eventually(t, "nothing is being answered", func() bool { return s.metric("px360_budget_used", "answers") == 0 })
	s.neighbours(t)
}

// Bodies that do not come hold no place, whoever sends them: users, users who were deactivated, and strangers.
func TestExhaustionByUnfinishedBodies(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, patientServer)
	gone := s.person(s.hospital, "Viewer")
	s.exec("UPDATE users SET is_active = false WHERE id = $1", gone.id)
	const n, length = 4 * fewPlaces, 200
	for range n {
		for _, token := range []string{s.admin.access, s.px.access, gone.access} {
			s.dial(t, attacker, post(oneEventPath, bearer(token), length, "{"))
		}
		s.dial(t, attacker, post(loginPath, "X-A: b", length, "{"))
		s.dial(t, otherAttacker, post(oneEventPath, "X-API-Key: nobody's", length, "{"))
	}
	s.inUse(t, "bodies", 5*n*length)
	s.neighbours(t)
}

// Large bodies that do not come hold no place either, and take no more memory than has arrived, up to a caller's share.
func TestExhaustionByLargeBodies(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, patientServer)
	const large, n = 5 << 20, 12
	arrived := strings.Repeat(" ", large/2)
	for range n {
		s.dial(t, attacker, post(manyEventsPath, bearer(s.admin.access), large, ""))
		conn := s.dial(t, attacker, post(manyEventsPath, bearer(s.px.access), large, ""))
		go func() { _, _ = io.WriteString(conn, arrived) }() // the server may close the connection
	}
	s.refusals(t, 1, "bodies", "caller")
	s.inUse(t, "bodies", 1<<20)
	s.neighbours(t)
	bulk := fields{"events": []any{sourceEvent("his")}, "more": strings.Repeat("x", 2<<20)}
	s.expect(t, http.StatusCreated, "POST", manyEventsPath, s.nurse.access, bulk)
	refused := s.expect(t, http.StatusServiceUnavailable, "POST", manyEventsPath, s.px.access, fields{"events": []any{}, "more": strings.Repeat("x", 5<<20-100)})
	if refused.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// A body that comes too slowly is cut off, whatever its size.
func TestExhaustionByTrickle(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, strictServer)
	for i, text := range []string{
		post(oneEventPath, bearer(s.admin.access), 200, "{"),
		post(loginPath, "X-A: b", 200, "{"),
		post(manyEventsPath, bearer(s.admin.access), 1<<20, "{"),
		"POST " + oneEventPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n" + bearer(s.admin.access) + "\r\n\r\n5\r\n{",
	} {
		conn := s.dial(t, attacker, text)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, err)
		if got := strings.TrimSpace(string(body)); res.StatusCode != http.StatusBadRequest || got != bodyUnreadable || !res.Close {
			t.Errorf("%d: answered %d %s, close %v", i, res.StatusCode, got, res.Close)
		}
		s.refusals(t, float64(i+1), "bodies", "slow")
	}
	s.neighbours(t)
}

// A refusal is not kept back until a body that nobody wants has come.
func TestExhaustionByUnwantedBodies(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, func(o *server.Options) { patientServer(o); o.SlowestClient.Grace = 100 * time.Millisecond })
	for range 4 * fewPlaces {
		conn := s.dial(t, attacker, post(oneEventPath, "X-A: b", 200, ""))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("answered %d", res.StatusCode)
		}
		must(t, res.Body.Close())
	}
}

// Many who guess at a name do not keep its owner from logging in, nor anybody else.
func TestExhaustionByGuessing(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, func(o *server.Options) { o.LongestLoginWait = time.Second; o.MaxInFlight = fewPlaces })
	owner := s.person(s.hospital, "Viewer")
	guess := fmt.Sprintf(`{"username": %q, "password": "wrong"}`, owner.username)
	for range 8 {
		s.expect(t, http.StatusUnauthorized, "POST", loginPath, "", guess)
	}
	const n = 72
	for range n {
		s.dial(t, attacker, post(loginPath, "X-A: b", len(guess), guess))
	}
	s.inUse(t, "login_waits", 1)
	s.expect(t, http.StatusOK, "POST", loginPath, "", fields{"username": owner.username, "password": password})
	s.neighbours(t)
}

// Wrong API keys are counted by address, right ones are not.
func TestWrongKeysAreLimited(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, withLimits(limits.Limits{Auth: perMinute(10)}))
	wrong := func(i int) answer {
		return s.send("POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", fmt.Sprint("wrong", i))
	}
	for i := range 10 {
		if got := wrong(i); got.status != http.StatusUnauthorized || got.body != bodyBadKey {
			t.Fatalf("wrong key %d: %d %s", i, got.status, got.body)
		}
		s.expect(t, http.StatusCreated, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", s.key)
	}
	wantRefused(t, wrong(10), time.Minute)
	s.neighbours(t)
	conn := s.dial(t, attacker, post(oneEventPath, "X-API-Key: wrong", 2, "{}"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("from another address: %d", res.StatusCode)
	}
}

// What was decided on a caller before a slow body is decided again after it.
func TestSlowBodyOfAnotherPrincipal(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t, func(o *server.Options) { patientServer(o); o.PrincipalKept = time.Nanosecond })
	event := jsonText(fields{"events": []any{sourceEvent("his")}, "more": strings.Repeat("x", 100<<10)})
	slowly := func(token string, meanwhile string, args ...any) int {
		used := s.metric("px360_budget_used", "bodies")
		conn := s.dial(t, attacker, post(manyEventsPath, bearer(token), len(event), event[:10]))
		s.inUse(t, "bodies", used+1)
		s.exec(meanwhile, args...)
		_, err := io.WriteString(conn, event[10:])
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		defer res.Body.Close()
		return res.StatusCode
	}
	gone, moved, homeless := s.person(s.hospital, "Viewer"), s.person(s.hospital, "Viewer"), s.person(s.hospital, "Viewer")
	if got := slowly(gone.access, "UPDATE users SET is_active = false WHERE id = $1", gone.id); got != http.StatusUnauthorized {
		t.Errorf("a deactivated user: %d, want 401", got)
	}
	if got := slowly(homeless.access, "UPDATE users SET hospital_id = NULL WHERE id = $1", homeless.id); got != http.StatusForbidden {
		t.Errorf("a user without a hospital: %d, want 403", got)
	}
	elsewhere := s.system.clinic().hospital
	if got := slowly(moved.access, "UPDATE users SET hospital_id = $2 WHERE id = $1", moved.id, elsewhere); got != http.StatusCreated {
		t.Errorf("a user who was moved: %d, want 201", got)
	}
	if got := value[uuid.UUID](s.system, "SELECT hospital_id FROM events"); got != elsewhere {
		t.Errorf("the event is of %s, want the hospital that the user was moved to, %s", got, elsewhere)
	}
}

// After a request with Transfer-Encoding, or in HTTP/1.0, the connection ends: what follows may be meant for another.
func TestTransferEncodingEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := startAttackedServer(t)
	smuggled := "GET " + ownPath + " HTTP/1.1\r\nHost: x\r\n\r\n"
	event := jsonText(sourceEvent("his"))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(event), event)
	head := "\r\nHost: x\r\nContent-Type: application/json\r\n" + bearer(s.admin.access) + "\r\n"
	for name, text := range map[string]string{
		"chunked":              "POST " + oneEventPath + " HTTP/1.1" + head + "Transfer-Encoding: chunked\r\n\r\n" + chunked,
		"chunked and a length": "POST " + oneEventPath + " HTTP/1.1" + head + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + chunked,
		"HTTP/1.0": "POST " + oneEventPath + " HTTP/1.0" + head + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: " + fmt.Sprint(len(event)) +
			"\r\n\r\n" + event,
	} {
		reader := bufio.NewReader(s.dial(t, attacker, text+smuggled))
		res, err := http.ReadResponse(reader, nil)
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		must(t, err)
		if res.StatusCode != http.StatusCreated || !res.Close {
			t.Errorf("%s: %d, close %v", name, res.StatusCode, res.Close)
		}
		if _, err := reader.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection goes on: %v", name, err)
		}
	}
}

// While an encounter is worked on, the answer to who may not see its hospital is the same as ever.
func TestEncountersOfOthersAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	theirs, ours := s.clinic(), s.clinic()
	template, patient := theirs.Template(), theirs.Patient("1")
	journey := theirs.journey(theirs.Template(), "E1")
	create := fields{"hospital": theirs.hospital, "journey_template": template, "patient": patient, "encounter_id": "E2"}
	path := "/api/journeys/instances/" + journey.id.String() + "/"
	tx, err := s.db.Begin(context.Background())
	must(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(context.Background(), "SELECT pg_advisory_xact_lock(hashtextextended(e, 0)) FROM unnest(ARRAY['E1', 'E2']) e")
	must(t, err)
	s.expect(t, http.StatusBadRequest, "POST", "/api/journeys/instances/", ours.admin.access, create)
	s.expect(t, http.StatusNotFound, "PATCH", path, ours.admin.access, fields{"encounter_id": "E2"})
	s.expect(t, http.StatusNotFound, "PATCH", path, ours.admin.access, fields{"encounter_id": "E1"})
}

// One address has so many connections at a time, idle or not; others have theirs, and trusted proxies any number.
func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	const most = 5
	s := startAttackedServer(t, func(o *server.Options) {
		o.Connections, o.TrustedProxies = most, []netip.Prefix{netip.MustParsePrefix(otherAttacker + "/32")}
	})
	ask := get("/healthz/", "A: b")
	answered := func(conn net.Conn) bool {
		line, err := bufio.NewReader(conn).ReadString('\n')
		return err == nil && strings.Contains(line, "200 OK")
	}
	var held []net.Conn
	for i := range most {
		held = append(held, s.dial(t, attacker, ask))
		if !answered(held[i]) {
			t.Fatalf("connection %d was not answered", i+1)
		}
	}
	for range 3 {
		if conn := s.dial(t, attacker, ""); answered(conn) {
			t.Error("a connection above the bound was answered")
		}
	}
	s.neighbours(t)
	for range 2 * most {
		if !answered(s.dial(t, otherAttacker, ask)) {
			t.Error("a connection of a trusted proxy was not answered")
		}
	}
	if got := s.metric("px360_refused_total", "connections", "caller"); got != 3 {
		t.Errorf("%v connections counted as refused, want 3", got)
	}
	must(t, held[0].Close())
	dbtest.Eventually(t, "a closed connection makes room", func() bool {
		conn := s.dial(t, attacker, "")
		_, err := io.WriteString(conn, ask)
		return err == nil && answered(conn)
	})
}
