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
	// A fast shutdown ends sessions but waits for the last checkpoint.
	fastPatience = 20 * time.Second
	// An immediate one kills its own children after 5 s.
	immediatePatience = 10 * time.Second
	// A log larger than this is put aside at the next start.
	largeLog = 10 << 20
)

// defaults suit one developer and a handful of processes. fsync stays on: what
// the program shows as saved should survive a power cut here, too.
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

// throwaway trades what a test does not need for speed. Commits are still written
// before they are answered, so that data survives a kill, if not a power cut.
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
	err      error         // how it ended; read after done
	stopping atomic.Bool
}

// launch starts the server, making the cluster first if there is none, and
// returns when it answers. The caller holds the lock.
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
	// Mkdir, not MkdirAll: in a directory that others can write to, only what we
	// made ourselves is ours.
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

// startBound starts the command on a thread that lives exactly as long as the
// command or this process: the kernel's parent-death signal follows the thread,
// and Go would otherwise end idle threads at will.
func startBound(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

// settingArgs are the -c arguments, in a stable order.
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

// childEnv is our environment without what would steer Postgres: PGDATA,
// PGPORT, PGOPTIONS and a locale that this machine may not have.
func childEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	return append(env, "LC_ALL=C")
}

// openLog also returns where this run's part of the log begins.
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
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	url := where.url("postgres")
	tick := time.NewTicker(pollEvery)
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

// watch says so when the server ends before it is told to.
func (s *server) watch(log *slog.Logger, file string) {
	<-s.done
	if !s.stopping.Load() {
		log.Error("the private Postgres ended by itself; its log says why, and starting the program again starts it again",
			"error", s.err, "log", file)
	}
}

// stop ends the server: sessions are cut off and the data is written; if that
// takes too long, the next start has to replay the log.
func (s *server) stop(log *slog.Logger) error {
	s.stopping.Store(true)
	for _, step := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{
		{syscall.SIGINT, fastPatience},
		{syscall.SIGQUIT, immediatePatience},
		{syscall.SIGKILL, immediatePatience},
	} {
		if err := s.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop the private Postgres: %w", err)
		}
		select {
		case <-s.done:
			return nil
		case <-time.After(step.patience):
			log.Warn("the private Postgres is slow to stop", "signal", step.signal.String(), "waited", step.patience)
		}
	}
	return fmt.Errorf("the private Postgres (process %d) does not end, not even when killed; its disk may hang", s.cmd.Process.Pid)
}

// clearStale makes way for a new server where one died without cleaning up. The
// caller holds the lock, so no living program of ours runs a server here.
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
	// No postmaster of this directory lives, and the socket's directory serves
	// no other one.
	if err := os.RemoveAll(p.socket); err != nil {
		return fmt.Errorf("remove the socket that a dead Postgres left (set TMPDIR to a directory of your own if it belongs to somebody else): %w", err)
	}
	return nil
}

// endOrphan waits for a server whose owner was killed. On Linux it is already on
// its way out.
func (p place) endOrphan(ctx context.Context, pid int) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the Postgres (process %d) that an ended program left in %s: %w", pid, p.dir, err)
		}
		for deadline := time.Now().Add(immediatePatience); time.Now().Before(deadline); {
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

// disown replaces the number in postmaster.pid, which by now belongs to a zombie
// or a stranger, by one that no process ever has. Postgres would refuse to start
// because that process lives. Removing the file would do as well, but then
// Postgres could not find the shared memory named in it, and so not notice
// leftover children of the dead server that still write.
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

// tryLock returns nil without an error while another process holds the lock. The
// lock goes with the process, however it ends, and children do not inherit it.
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
