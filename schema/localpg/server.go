//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// A fast shutdown ends sessions and waits for the last checkpoint.
	fastTimeout = 20 * time.Second
	// An immediate shutdown kills the child processes after 5 s.
	immediateTimeout = 10 * time.Second
	// A larger log is rotated at the next start.
	largeLog = 10 << 20
)

// defaults suit one developer and a handful of processes. fsync stays on, so that data survives a
// power cut.
var defaults = map[string]string{
	"listen_addresses":        "",
	"port":                    port,
	"unix_socket_permissions": "0700",
	"max_connections":         "200",
	"shared_buffers":          "256MB",
	"timezone":                "UTC",
	"log_timezone":            "UTC",
	"logging_collector":       "off",
	"log_destination":         "stderr",
}

// throwaway trades durability for speed. Commits are still written to the operating system, so data
// survives a killed server, but not a power cut.
var throwaway = map[string]string{
	"fsync":            "off",
	"full_page_writes": "off",
	"wal_level":        "minimal",
	"max_wal_senders":  "0",
	"shared_buffers":   "128MB",
	"autovacuum":       "off",
}

// server is a postmaster that is a child of this process.
type server struct {
	cmd      *exec.Cmd
	done     chan struct{} // closed when the postmaster has ended
	err      error         // of cmd.Wait; valid after done
	stopping atomic.Bool
}

// launch starts the server, creates the cluster first if there is none, and returns when the server
// accepts connections. The caller holds the lock.
func launch(ctx context.Context, where place, opts Options) (*server, error) {
	bin, err := findBinaries(ctx, where, opts)
	if err != nil {
		return nil, err
	}
	if err := where.clearStale(ctx); err != nil {
		return nil, err
	}
	if err := where.ensureCluster(ctx, bin, opts); err != nil {
		return nil, err
	}
	// Mkdir, not MkdirAll: an existing directory in the shared temporary directory may belong to
	// another user.
	if err := os.Mkdir(where.socket, 0o700); err != nil {
		return nil, fmt.Errorf("make the socket directory of the private Postgres (if it belongs to somebody else, set TMPDIR to a directory of your own): %w", err)
	}
	if err := where.runAs.chown(where.socket); err != nil {
		return nil, err
	}
	log, offset, err := where.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command(bin.path("postgres"), append([]string{"-D", where.data()}, settingArgs(where, opts)...)...)
	cmd.Dir = where.dir
	cmd.Env = childEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttr(where.runAs)
	srv := &server{cmd: cmd, done: make(chan struct{})}
	if err := startBound(cmd, func(err error) { srv.err = err; close(srv.done) }); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	if err := srv.waitReady(ctx, where); err != nil {
		srv.stop(opts.Log)
		os.RemoveAll(where.socket)
		return nil, fmt.Errorf("%w; its log %s ends with:\n%s", err, where.logFile(), tail(where.logFile(), offset))
	}
	go srv.watch(opts.Log, where.logFile())
	return srv, nil
}

// startBound starts the command from a locked OS thread that lives as long as the command: the
// parent-death signal is tied to the thread, and Go ends idle threads.
func startBound(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

// settingArgs are the -c arguments, sorted by name.
func settingArgs(where place, opts Options) []string {
	settings := maps.Clone(defaults)
	settings["unix_socket_directories"] = where.socket
	if opts.Throwaway {
		maps.Copy(settings, throwaway)
	}
	maps.Copy(settings, opts.Settings)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// childEnv is the environment without variables that affect Postgres: PGDATA, PGPORT, PGOPTIONS and
// locales that may not be installed.
func childEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	return append(env, "LC_ALL=C")
}

// openLog also returns the offset at which this run's log begins.
func (p place) openLog() (*os.File, int64, error) {
	if info, err := os.Stat(p.logFile()); err == nil && info.Size() > largeLog {
		if err := os.Rename(p.logFile(), p.logFile()+".old"); err != nil {
			return nil, 0, fmt.Errorf("put the log of the private Postgres aside: %w", err)
		}
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the log of the private Postgres: %w", err)
	}
	info, err := log.Stat()
	if err != nil {
		log.Close()
		return nil, 0, fmt.Errorf("open the log of the private Postgres: %w", err)
	}
	return log, info.Size(), nil
}

func (s *server) waitReady(ctx context.Context, where place) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	url := where.url("postgres")
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !answers(ctx, url) {
		select {
		case <-s.done:
			return fmt.Errorf("the private Postgres ended while starting (%v)", s.err)
		case <-ctx.Done():
			return fmt.Errorf("the private Postgres did not get ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// watch logs an error when the server ends without being stopped.
func (s *server) watch(log *slog.Logger, file string) {
	<-s.done
	if !s.stopping.Load() {
		log.Error("the private Postgres ended by itself; its log says why, and starting the program again starts it again",
			"error", s.err, "log", file)
	}
}

// stop shuts the server down fast; after a timeout immediately, which makes the next start replay
// the WAL; and finally kills it.
func (s *server) stop(log *slog.Logger) error {
	s.stopping.Store(true)
	for _, step := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{
		{syscall.SIGINT, fastTimeout},
		{syscall.SIGQUIT, immediateTimeout},
		{syscall.SIGKILL, immediateTimeout},
	} {
		if err := s.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop the private Postgres: %w", err)
		}
		select {
		case <-s.done:
			return nil
		case <-time.After(step.timeout):
			log.Warn("the private Postgres is slow to stop", "signal", step.signal.String(), "waited", step.timeout)
		}
	}
	return fmt.Errorf("the private Postgres (process %d) does not end, not even when killed; its disk may hang", s.cmd.Process.Pid)
}

// clearStale cleans up after a server that was killed. The caller holds the lock, so no living
// program owns a server here.
func (p place) clearStale(ctx context.Context) error {
	if pid := readPidFile(p.pidFile()).pid; pid > 0 && isPostmaster(pid, p.data()) {
		if err := p.endOrphan(ctx, pid); err != nil {
			return err
		}
	}
	if pid := readPidFile(p.pidFile()).pid; pid > 0 && exists(pid) {
		if err := p.disown(); err != nil {
			return err
		}
	}
	// No postmaster of this directory runs, and no other server uses this socket directory.
	if err := os.RemoveAll(p.socket); err != nil {
		return fmt.Errorf("remove the socket that a dead Postgres left (set TMPDIR to a directory of your own if it belongs to somebody else): %w", err)
	}
	return nil
}

// endOrphan stops a server whose owner was killed. On Linux the parent-death signal is stopping it
// already.
func (p place) endOrphan(ctx context.Context, pid int) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the Postgres (process %d) that an ended program left in %s: %w", pid, p.dir, err)
		}
		for deadline := time.Now().Add(immediateTimeout); time.Now().Before(deadline); {
			if !isPostmaster(pid, p.data()) {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("stop the Postgres (process %d) that an ended program left in %s: %w", pid, p.dir, ctx.Err())
			case <-tick.C:
			}
		}
	}
	return fmt.Errorf("the Postgres (process %d) that an ended program left in %s does not end; end it by hand", pid, p.dir)
}

// disown replaces the process id in postmaster.pid, which now belongs to a zombie or another
// process, by one that no process can have. Postgres refuses to start while the process lives.
// Deleting the file would lose the shared memory key in it, by which Postgres detects leftover
// children of the dead server that still write.
func (p place) disown() error {
	const nobody = "2147483647"
	text, err := os.ReadFile(p.pidFile())
	if err != nil {
		return fmt.Errorf("read what a dead Postgres left: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(p.pidFile(), []byte(nobody+"\n"+rest), 0o600); err != nil {
		return fmt.Errorf("mark as dead what a dead Postgres left: %w", err)
	}
	return nil
}

func exists(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// tryLock returns nil without an error while another process holds the lock. The kernel releases
// the lock when the process ends, and children do not inherit it.
func tryLock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock the private Postgres (does its directory belong to another user?): %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, nil
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s (is it on a network file system?): %w", path, err)
		}
		// Remove may have deleted the file between the open and the lock.
		held, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(held, named) {
			return f, nil
		}
		f.Close()
		if err2 != nil && !errors.Is(err2, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock the private Postgres: %w", err2)
		}
	}
}
