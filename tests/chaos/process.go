package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	secretKey     = "a signing key of no use outside of this harness"
	adminName     = "admin"
	adminPassword = "a-Pass-for-tests-360"
	// maxConnections is small, so that a burst can exhaust the pool of a process.
	maxConnections = 8
	// restartPause is how long a supervisor waits before it starts a process that ended again.
	restartPause = 300 * time.Millisecond
)

// A process is one `px360 serve` or `px360 work`, kept running by supervise as an init system would.
type process struct {
	name, command string
	dir           string
	environment   []string
	proxies       []*proxy // one for each node of the cluster
	addr, metrics string
	found         *findings

	mu      sync.Mutex
	binary  string
	cmd     *exec.Cmd // nil while it is down
	asked   bool      // a fault ended it
	heldTo  time.Time // a fault keeps it down until then
	starts  int
	stopped int // nested SIGSTOPs
}

// newProcess prepares a process whose connections to Postgres go through proxies of its own.
func newProcess(ctx context.Context, h *harness, command string, index int) (*process, error) {
	p := &process{
		name: fmt.Sprintf("%s-%d", command, index), command: command, binary: h.first(), dir: h.dir, found: h.found,
	}
	var hosts []string
	for _, n := range h.cluster.nodes {
		proxy, err := newProxy(ctx, n, p.name)
		if err != nil {
			return nil, err
		}
		p.proxies = append(p.proxies, proxy)
		hosts = append(hosts, proxy.addr())
	}
	var err error
	if p.addr, err = h.ports.address(); err != nil {
		return nil, err
	}
	if p.metrics, err = h.ports.address(); err != nil {
		return nil, err
	}
	p.environment = environment(h.dir, "postgres://postgres@"+strings.Join(hosts, ",")+"/"+databaseName+"?sslmode=disable")
	p.environment = append(p.environment, "PX360_ADDR="+p.addr, "PX360_METRICS_ADDR="+p.metrics, "PX360_PUBLIC_URL=http://"+p.addr,
		fmt.Sprintf("PX360_MAX_CONNECTIONS=%d", maxConnections))
	return p, nil
}

// environment is that of every px360 which the harness starts.
func environment(dir, databaseURL string) []string {
	return append(os.Environ(), "PX360_DATABASE_URL="+databaseURL, "PX360_SECRET_KEY="+secretKey, "PX360_RATE_LIMITS=off",
		"PX360_ACCESS_TOKEN_LIFETIME=24h", "PX360_LOG_LEVEL=warn", "PX360_DATA_DIR="+filepath.Join(dir, "data"))
}

// ports gives addresses that no outgoing connection takes while a process is down: those are from 32768 on.
type ports struct{ next int }

func newPorts() *ports { return &ports{next: 10000 + rand.IntN(20000)} }

func (p *ports) address() (string, error) {
	for range 200 {
		p.next++
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.next))
		if err != nil {
			continue
		}
		return listener.Addr().String(), listener.Close()
	}
	return "", errors.New("no port is free")
}

// supervise starts the process whenever it is down, until ctx ends; then it kills it.
func (p *process) supervise(ctx context.Context) {
	runtime.LockOSThread() // the parent-death signal is tied to the thread; it ends with this goroutine
	for ctx.Err() == nil {
		p.mu.Lock()
		held := time.Until(p.heldTo)
		p.mu.Unlock()
		if held > 0 {
			sleep(ctx, held)
			continue
		}
		if err := p.runOnce(ctx); err != nil {
			p.found.add(checkCrashes, "%s cannot be started: %v", p.name, err)
			return
		}
		sleep(ctx, restartPause)
	}
}

func (p *process) runOnce(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(p.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p.mu.Lock()
	binary := p.binary
	p.mu.Unlock()
	cmd := exec.CommandContext(ctx, binary, p.command) // killed when ctx ends
	cmd.Env, cmd.Stdout, cmd.Stderr = p.environment, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mu.Lock()
	p.cmd, p.asked, p.starts = cmd, false, p.starts+1
	p.mu.Unlock()
	err = cmd.Wait()
	p.mu.Lock()
	asked := p.asked
	p.cmd = nil
	p.mu.Unlock()
	if !asked && ctx.Err() == nil && !p.hadNoDatabase() {
		p.found.add(checkCrashes, "%s ended by itself: %v", p.name, err)
	}
	return nil
}

// signal sends a signal to the process, if it is up.
func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(signal) // it may be ending
	}
}

// end ends the process by the signal and keeps it down for a while.
func (p *process) end(signal syscall.Signal, down time.Duration) {
	p.mu.Lock()
	p.asked, p.heldTo = true, time.Now().Add(down)
	p.mu.Unlock()
	p.signal(signal)
}

// replace ends the process in order, and goes on with another program.
func (p *process) replace(binary string) {
	p.mu.Lock()
	p.binary = binary
	p.mu.Unlock()
	p.end(syscall.SIGTERM, 0)
}

// pause stops the process as SIGSTOP does, until resume was called as often.
func (p *process) pause() {
	p.mu.Lock()
	p.stopped++
	p.mu.Unlock()
	p.signal(syscall.SIGSTOP)
}

func (p *process) resume() {
	p.mu.Lock()
	p.stopped--
	last := p.stopped == 0
	p.mu.Unlock()
	if last {
		p.signal(syscall.SIGCONT)
	}
}

// url is where the process listens.
func (p *process) url() string { return "http://" + p.addr }

var errNotReady = errors.New("not ready in time")

// waitReady waits until the process answers that it is ready.
func (p *process) waitReady(ctx context.Context, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		if answersOK(ctx, p.url()+"/readyz") {
			return nil
		}
		if time.Now().After(deadline) || !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s: %w", p.name, errNotReady)
		}
	}
}

// hadNoDatabase tells whether the last line of the log says that the database was away when the process started. Then it
// ends; later it must not end by itself.
func (p *process) hadNoDatabase() bool {
	const last = 2 << 10 // bytes; the line goes on with the connection's errors, one a line
	log, err := os.ReadFile(filepath.Join(p.dir, p.name+".log"))
	return err == nil && strings.Contains(string(log[max(0, len(log)-last):]), "px360 "+p.command+": read the schema version")
}

func answersOK(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// runCommand runs a px360 command that ends by itself, past every proxy.
func runCommand(ctx context.Context, binary, dir, databaseURL, stdin string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environment(dir, databaseURL)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("px360 %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
