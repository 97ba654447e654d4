package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/tests/dbtest"
)

// The attacks are made on a `px360 serve` of its own, from outside: on what it shares among all clients, while its
// neighbours' requests must all be answered well. Afterwards its descriptors, goroutines and connections are what they
// were, its memory has stayed small, and nothing was answered with 500.

const (
	// mostMemory is how much memory the process may have used at any time, in KB of resident set.
	mostMemory = 200 << 10
	// mostGrowth is by how much one request may make that grow, in KB.
	mostGrowth = 64 << 10
	// mostHeld is by how much the live heap may grow by an attack that is over, in bytes: caches are still filling.
	mostHeld = 16 << 20
)

// A target is a process under attack.
type target struct {
	*attackedServer
	t       *testing.T
	process *os.Process
	metrics string // URL
	client  *http.Client
	over    chan struct{} // closed when the attack is to end
	held    []net.Conn
	floods  sync.WaitGroup
	peak    int // of resident memory, in KB
	answers atomic.Int64
	failed  atomic.Int64 // those with 500
}

// TestAttacks runs before the parallel tests: memory depends on how soon the garbage collector gets a processor.
func TestAttacks(t *testing.T) {
	program := builtProgram(t)
	for _, mode := range []string{"enforce", "off"} {
		t.Run("rate limits "+mode, func(t *testing.T) {
			t.Parallel()
			a := startTarget(t, program, mode)
			for _, attack := range attacks {
				if mode == "off" && attack.needsLimits {
					continue
				}
				t.Run(attack.name, func(t *testing.T) { a.withstand(t, attack.run) })
			}
			a.notePeak()
			t.Logf("%d answers to attackers; resident memory at most %d MB", a.answers.Load(), a.peak>>10)
			if a.peak > mostMemory {
				t.Errorf("the process used %d KB of memory", a.peak)
			}
			if n := a.failed.Load(); n > 0 {
				t.Errorf("%d answers were 500", n)
			}
		})
	}
}

// build builds the program, once for all tests that run it as a process.
var build = sync.OnceValues(func() (string, error) {
	program, err := filepath.Abs("../bin/px360-under-test")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
})

func builtProgram(t *testing.T) string {
	t.Helper()
	program, err := build()
	must(t, err)
	return program
}

// startTarget starts the program on a database of its own.
func startTarget(t *testing.T, program, mode string) *target {
	t.Helper()
	s := &system{t: t, dbURL: dbtest.New(t), log: &logBuffer{}}
	pool, err := pgxpool.New(context.Background(), s.dbURL)
	must(t, err)
	t.Cleanup(pool.Close)
	s.db = pool
	address, metrics := freeAddress(t), freeAddress(t)
	s.url = "http://" + address
	environment := append(os.Environ(), "PX360_DATABASE_URL="+s.dbURL, "PX360_SECRET_KEY="+signingKey, "PX360_ADDR="+address,
		"PX360_PUBLIC_URL="+s.url, "PX360_METRICS_ADDR="+metrics, "PX360_RATE_LIMITS="+mode,
		"PX360_RATE_LIMIT_USER=2000/m", "PX360_RATE_LIMIT_AUTH=300/m", "PX360_MAX_IN_FLIGHT=64")
	create := exec.CommandContext(t.Context(), program, "user", "create-admin", adminName)
	create.Env, create.Stdin = environment, strings.NewReader(adminPassword+"\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	serve := exec.Command(program, "serve")
	serve.Env, serve.Stderr = environment, s.log
	must(t, serve.Start())
	t.Cleanup(func() {
		must(t, serve.Process.Signal(os.Interrupt))
		if err := serve.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	dbtest.Eventually(t, "the process is ready", func() bool {
		res, err := http.Get(s.url + "/readyz/")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	s.admin = s.login(adminName, adminPassword)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attacker)}}
	return &target{
		attackedServer: withNeighbours(t, s), process: serve.Process, metrics: "http://" + metrics,
		client: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}, Timeout: time.Minute},
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// withstand makes an attack, has the neighbours send their requests meanwhile, and waits until all that it took is given
// back.
func (a *target) withstand(t *testing.T, attack func(*target)) {
	before := a.resources()
	a.t, a.attackedServer.t, a.held, a.over = t, t, nil, make(chan struct{})
	attack(a)
	a.neighbours(t)
	close(a.over)
	for _, conn := range a.held {
		_ = conn.Close()
	}
	a.floods.Wait()
	http.DefaultClient.CloseIdleConnections()
	a.client.CloseIdleConnections()
	dbtest.Eventually(t, "memory, descriptors, goroutines and connections are back", func() bool {
		now := a.resources()
		return now.descriptors <= before.descriptors+slack && now.goroutines <= before.goroutines+slack &&
			now.connections <= poolSize && now.heap <= before.heap+mostHeld
	})
}

const (
	slack    = 40 // connections of the pool, and of those who look
	poolSize = 18 // that of the program, with its listener
)

type resources struct{ descriptors, goroutines, connections, heap int }

// resources are what the process has in use.
func (a *target) resources() (r resources) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.process.Pid))
	must(a.attackedServer.t, err)
	r.descriptors = len(entries)
	a.internal("/debug/pprof/heap?gc=1") // so that what is garbage does not count
	text := a.internal("/metrics")
	for name, into := range map[string]*int{"go_goroutines": &r.goroutines, "go_memstats_heap_alloc_bytes": &r.heap} {
		match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
		if match == nil {
			a.attackedServer.t.Fatalf("the metrics have no %s", name)
		}
		n, err := strconv.ParseFloat(match[1], 64)
		must(a.attackedServer.t, err)
		*into = int(n)
	}
	r.connections = value[int](a.system, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'px360%'")
	return r
}

// internal reads a page that is not for clients.
func (a *target) internal(path string) string {
	res, err := http.Get(a.metrics + path)
	must(a.attackedServer.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(a.attackedServer.t, err)
	return string(text)
}

// memory is a line of the process's status in KB: VmRSS now, VmHWM at most.
func (a *target) memory(line string) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Pid))
	must(a.attackedServer.t, err)
	match := regexp.MustCompile(`(?m)^` + line + `:\s+(\d+) kB$`).FindSubmatch(status)
	if match == nil {
		a.attackedServer.t.Fatalf("the process's status has no %s", line)
	}
	kilobytes, err := strconv.Atoi(string(match[1]))
	must(a.attackedServer.t, err)
	return kilobytes
}

// notePeak keeps the most memory that was used since the process began, and resetPeak begins anew within the run.
func (a *target) notePeak() { a.peak = max(a.peak, a.memory("VmHWM")) }

func (a *target) resetPeak() {
	a.notePeak()
	must(a.attackedServer.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", a.process.Pid), []byte("5"), 0))
}

// hold opens connections that send text and then nothing, and read nothing.
func (a *target) hold(n int, text string) {
	for range n {
		a.held = append(a.held, a.dial(a.t, attacker, text))
	}
}

// trickle opens connections that send head, and then text byte by byte until the attack is over.
func (a *target) trickle(n int, head, text string) {
	a.hold(n, head)
	for _, conn := range a.held[len(a.held)-n:] {
		a.floods.Go(func() {
			for i := range text {
				select {
				case <-a.over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
					return
				}
			}
		})
	}
}

// readSlowly opens connections that send text and read the answer byte by byte until the attack is over.
func (a *target) readSlowly(n int, text string) {
	a.hold(n, text)
	for _, conn := range a.held[len(a.held)-n:] {
		a.floods.Go(func() {
			for one := make([]byte, 1); ; {
				select {
				case <-a.over:
					return
				case <-time.After(time.Millisecond):
				}
				if _, err := conn.Read(one); err != nil {
					return
				}
			}
		})
	}
}

// An attackRequest is a request of an attacker.
type attackRequest struct {
	method, path, token string
	body                any // nil, a text, or what becomes JSON
	header              []string
}

// flood sends requests from several connections until the attack is over; make gets the number of each. The first, alone,
// shows how much memory one takes.
func (a *target) flood(make func(i int) attackRequest) {
	a.resetPeak()
	before := a.memory("VmRSS")
	a.ask(make(0))
	if grown := a.memory("VmHWM") - before; grown > mostGrowth {
		a.t.Errorf("one request makes the memory grow by %d KB", grown)
	}
	var next atomic.Int64
	for range 8 {
		a.floods.Go(func() {
			for {
				select {
				case <-a.over:
					return
				default:
					a.ask(make(int(next.Add(1))))
				}
			}
		})
	}
}

// ask sends a request and counts its answer.
func (a *target) ask(d attackRequest) {
	var body io.Reader
	switch b := d.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		text, _ := json.Marshal(b)
		body = strings.NewReader(string(text))
	}
	req, err := http.NewRequest(d.method, a.url+d.path, body)
	must(a.t, err)
	req.Header.Set("Content-Type", "application/json")
	if d.token != "" {
		req.Header.Set("Authorization", "Bearer "+d.token)
	}
	for i := 0; i < len(d.header); i += 2 {
		req.Header.Set(d.header[i], d.header[i+1])
	}
	res, err := a.client.Do(req)
	if err != nil { // the connection was closed: a body was not read to its end
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			a.t.Errorf("%s %s: %v", d.method, d.path, err)
		}
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	a.answers.Add(1)
	if res.StatusCode == http.StatusInternalServerError {
		a.failed.Add(1)
		a.t.Errorf("%s %s: 500", d.method, d.path)
	}
}

// deactivated is a user's token that is worth nothing any more.
func (a *target) deactivated() string {
	gone := a.person(a.hospital, "Viewer")
	a.exec("UPDATE users SET is_active = false WHERE id = $1", gone.id)
	return gone.access
}
