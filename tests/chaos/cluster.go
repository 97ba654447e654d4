package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/schema/localpg"
)

const (
	databaseName = "px360"
	// restartTimeout bounds how long a killed Postgres may take to come back. Children of the dead postmaster hold its
	// shared memory until they notice, and then the WAL is replayed.
	restartTimeout = 60 * time.Second
)

// serverSettings differ from those of a throwaway server: a standby can follow it, and it vacuums as in production.
// A killed process loses nothing without fsync; only a power cut would, which is not among the faults.
var serverSettings = map[string]string{
	"wal_level":               "replica",
	"max_wal_senders":         "4",
	"wal_keep_size":           "256MB",
	"max_connections":         "100",
	"autovacuum":              "on",
	"log_min_error_statement": "panic",
	// What reads from the standby does not hold up its replay.
	"max_standby_streaming_delay": "1s",
	"max_standby_archive_delay":   "1s",
	// The standby follows a restarted primary at once: commits wait for it.
	"wal_retrieve_retry_interval": "200ms",
}

// A cluster is the Postgres that the harness owns: a primary and, with a standby, its synchronous standby.
type cluster struct {
	nodes   []*node
	primary atomic.Int32 // index of the node that takes writes
}

// A node is one Postgres server.
type node struct {
	dir  string
	disk bool // dir is a file system of its own

	mu sync.Mutex
	pg *localpg.Postgres // nil while it is down
}

// startCluster creates the servers under dir, with an empty database and nobody connected to it. With the size of a disk,
// each has a file system of its own.
func startCluster(ctx context.Context, dir string, standby bool, disk string) (*cluster, error) {
	c := &cluster{nodes: []*node{{dir: filepath.Join(dir, "primary")}}}
	first := c.nodes[0]
	if err := errors.Join(first.mount(disk), first.start(ctx)); err != nil {
		return c, err
	}
	if _, err := first.pg.EnsureDatabase(ctx, databaseName); err != nil || !standby {
		return c, err
	}
	second := &node{dir: filepath.Join(dir, "standby")}
	c.nodes = append(c.nodes, second)
	return c, errors.Join(second.mount(disk), c.addStandby(ctx, first, second))
}

// addStandby copies the stopped primary, starts both and lets commits wait for the standby.
func (c *cluster) addStandby(ctx context.Context, primary, standby *node) error {
	from := primary.pg.Dir()
	socket := primary.socketDir()
	if err := primary.stop(); err != nil {
		return err
	}
	to := filepath.Join(filepath.Dir(from), filepath.Base(standby.dir))
	if err := copyTree(filepath.Join(from, "data"), filepath.Join(to, "data")); err != nil {
		return fmt.Errorf("copy the primary for the standby: %w", err)
	}
	connect := fmt.Sprintf("primary_conninfo = 'host=%s port=5432 user=postgres application_name=standby'\n", socket)
	for name, text := range map[string]string{"postgresql.auto.conf": connect, "standby.signal": ""} {
		if err := writeLike(filepath.Join(to, "data", "PG_VERSION"), filepath.Join(to, "data", name), text); err != nil {
			return err
		}
	}
	if err := errors.Join(primary.start(ctx), standby.start(ctx)); err != nil {
		return err
	}
	return c.exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
}

// current is the node that takes writes.
func (c *cluster) current() *node { return c.nodes[c.primary.Load()] }

// promote makes the standby the primary.
func (c *cluster) promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	for {
		done, err := c.nodes[1].promoted(ctx)
		if done {
			c.primary.Store(1)
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return errors.Join(errors.New("the standby is not promoted"), err)
		}
	}
}

// promoted asks a standby to become the primary, and whether it is. It does not wait for that in one statement, whose
// snapshot the replay would have to wait for.
func (n *node) promoted(ctx context.Context) (done bool, err error) {
	conn, err := pgx.Connect(ctx, n.url())
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SELECT CASE WHEN pg_is_in_recovery() THEN NOT pg_promote(false) ELSE true END").Scan(&done)
	return done, err
}

// connect opens a connection to the primary, past every proxy.
func (c *cluster) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, c.current().url())
}

// exec runs statements on the primary, each on its own.
func (c *cluster) exec(ctx context.Context, statements ...string) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// remove stops the servers and deletes their data.
func (c *cluster) remove() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.stop())
		if n.disk {
			errs = append(errs, syscall.Unmount(n.dir, 0))
		}
		errs = append(errs, localpg.Remove(n.dir))
	}
	return errors.Join(errs...)
}

// mount makes the server's directory a file system of this size; blank: an ordinary directory.
func (n *node) mount(size string) error {
	if size == "" {
		return nil
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", n.dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		return fmt.Errorf("a file system of %s for %s, which needs root: %w", size, n.dir, err)
	}
	n.disk = true
	return nil
}

// fill takes all of the room that a file system has left with one file, and returns its path.
func fill(dir string) (path string, err error) {
	path = filepath.Join(dir, "ballast")
	ballast, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer ballast.Close()
	for range 10 { // until Postgres takes nothing meanwhile
		var room syscall.Statfs_t
		if err = syscall.Fstatfs(int(ballast.Fd()), &room); err == nil {
			err = syscall.Fallocate(int(ballast.Fd()), 0, 0, int64(room.Bavail)*room.Bsize)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			break
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("fill the file system of %s: %w", dir, err), os.Remove(path))
	}
	return path, nil
}

// revive starts a server that has ended by itself.
func (n *node) revive(ctx context.Context) error {
	for deadline := time.Now().Add(3 * time.Second); ; { // a backend's panic ends all of them, and not the postmaster
		conn, err := pgx.Connect(ctx, n.url())
		if err == nil {
			return conn.Close(ctx)
		}
		if time.Now().After(deadline) || !sleep(ctx, 100*time.Millisecond) {
			_ = n.stop()
			return n.start(ctx)
		}
	}
}

// start starts the server. It tries again while children of a killed postmaster still hold its shared memory.
func (n *node) start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pg != nil {
		return nil
	}
	for deadline := time.Now().Add(restartTimeout); ; {
		pg, err := localpg.Start(ctx, localpg.Options{Dir: n.dir, Throwaway: true, Settings: serverSettings})
		if err == nil {
			n.pg = pg
			return nil
		}
		if time.Now().After(deadline) || !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("start Postgres in %s: %w", n.dir, err)
		}
	}
}

// stop shuts the server down in order.
func (n *node) stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pg == nil {
		return nil
	}
	err := n.pg.Stop()
	n.pg = nil
	return err
}

// kill sends the signal: SIGQUIT makes Postgres end at once without a checkpoint, SIGKILL goes to every process of it.
// It returns when the postmaster has ended.
func (n *node) kill(signal syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pg == nil {
		return nil
	}
	pid, err := n.postmaster()
	if err != nil {
		return err
	}
	victims := []int{pid}
	if signal == syscall.SIGKILL {
		victims = append(victims, childrenOf(pid)...)
	}
	for _, victim := range victims {
		_ = syscall.Kill(victim, signal) // it may have ended
	}
	err = n.pg.Stop() // waits for the end, and releases the data directory
	n.pg = nil
	return err
}

func (n *node) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(n.pg.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

func childrenOf(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var children []int
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// url is the connection URL; one that nobody answers while the server is down.
func (n *node) url() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pg == nil {
		return "postgres:///px360?host=/nowhere"
	}
	return n.pg.URL(databaseName)
}

func (n *node) socketDir() string {
	address, err := url.Parse(n.url())
	if err != nil {
		return ""
	}
	return address.Query().Get("host")
}

// dial connects to the server's socket.
func (n *node) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", filepath.Join(n.socketDir(), ".s.PGSQL.5432"))
}

// logFile is where the server logs.
func (n *node) logFile() string {
	if n.pg != nil {
		return filepath.Join(n.pg.Dir(), "postgres.log")
	}
	return filepath.Join(n.dir, "postgres.log")
}

// copyTree copies a directory with modes and owners.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			err = os.MkdirAll(target, info.Mode().Perm())
		} else {
			err = copyFile(path, target, info.Mode().Perm())
		}
		return errors.Join(err, chownLike(info, target))
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// writeLike writes a file that has the owner of another.
func writeLike(model, path, text string) error {
	info, err := os.Stat(model)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, []byte(text), 0o600), chownLike(info, path))
}

func chownLike(info fs.FileInfo, path string) error {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}
	return nil
}

// sleep waits, and reports whether it was not interrupted.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
