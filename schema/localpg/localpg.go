//go:build unix

// Package localpg runs a private Postgres for development and tests. Nothing need be installed by
// hand, it does not listen on the network, and it ends with the program.
//
// One process owns the server: it holds an exclusive lock on a file in the directory and is the
// parent of the postmaster, which ends with it. A second process that starts on the same directory
// joins: it gets the same URL and does not stop the server when it ends. When the owner ends first,
// one of the joined processes takes the lock and starts the server again under the same URL, so
// that they lose their connections for a moment but keep their database. The file lock alone
// decides who the owner is; there is no other state to agree on or clean up.
package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrInUse is returned by Remove while a process runs the server.
var ErrInUse = errors.New("the private Postgres is in use")

const (
	// superuser is the only role; the mode of the socket's directory keeps other
	// users of the machine out.
	superuser = "postgres"
	port      = "5432"

	// startTimeout allows for the replay of a long WAL after a crash.
	startTimeout = 2 * time.Minute
	// pollInterval is short compared with the 200 ms that a start takes.
	pollInterval = 20 * time.Millisecond
	// takeOverInterval bounds how long joined processes are without a database.
	takeOverInterval = 100 * time.Millisecond

	// rootDir holds the data where root's server cannot reach Options.Dir.
	rootDir = "/var/lib/px360"
)

// Options configure Start. Only Dir is required.
type Options struct {
	// Dir holds the data and the log, also between runs. Root cannot run Postgres, so for root the
	// user postgres or nobody owns it; if that user cannot reach it, a directory under
	// /var/lib/px360 is used instead (see Postgres.Dir).
	Dir string
	// Settings override the defaults of the server's settings.
	Settings map[string]string
	// Throwaway trades durability for speed, for tests: a new cluster is copied from a cached one
	// (0.1 s instead of 1 s), and commits do not wait for the disk.
	Throwaway bool
	// Log receives warnings and errors of the running server. Default: discard.
	Log *slog.Logger
	// Progress receives messages for a waiting user, such as before a download.
	Progress func(string)
}

// Postgres is a running server, owned or joined.
type Postgres struct {
	place place
	opts  Options

	cancel   context.CancelFunc // ends takeOver
	watching sync.WaitGroup

	mu     sync.Mutex
	lock   *os.File // held while this process owns the server
	server *server

	stopOnce sync.Once
	stopErr  error
}

// Start starts the server in opts.Dir, or joins the one that another process
// runs there, and returns when it answers. ctx bounds the start only; the server
// runs until Stop or until the process ends.
func Start(ctx context.Context, opts Options) (*Postgres, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	where, err := locate(opts.Dir)
	if err != nil {
		return nil, err
	}
	if err := where.create(); err != nil {
		return nil, err
	}

	p := &Postgres{place: where, opts: opts, cancel: func() {}}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	deadline := time.Now().Add(startTimeout)
	for {
		owned, err := p.own(ctx)
		if err != nil {
			return nil, err
		}
		if owned || p.join(ctx) {
			return p, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("another process holds %s but its Postgres does not answer; end that process and try again",
				where.lockFile())
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the Postgres of another process in %s: %w", where.dir, ctx.Err())
		case <-tick.C:
		}
	}
}

// own tries to take the lock and, if it gets it, starts the server.
func (p *Postgres) own(ctx context.Context) (bool, error) {
	lock, err := tryLock(p.place.lockFile())
	if err != nil || lock == nil {
		return false, err
	}
	srv, err := launch(ctx, p.place, p.opts)
	if err != nil {
		lock.Close()
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lock, p.server = lock, srv
	return true, nil
}

// join reports whether the server of another process answers, and if so runs takeOver in the
// background.
func (p *Postgres) join(ctx context.Context) bool {
	// The owner may have another TMPDIR; postmaster.pid has the path of its socket.
	socket := readPidFile(p.place.pidFile()).socket
	if socket == "" {
		return false
	}
	running := place{dir: p.place.dir, socket: socket, runAs: p.place.runAs}
	if !answers(ctx, running.url("postgres")) {
		return false
	}
	p.place = running
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	p.watching.Go(func() { p.takeOver(watch) })
	return true
}

// takeOver polls for the lock until the owner has ended, and becomes the owner.
func (p *Postgres) takeOver(ctx context.Context) {
	tick := time.NewTicker(takeOverInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		owned, err := p.own(ctx)
		if ctx.Err() != nil {
			return // Stop stops a server that own started
		}
		if err != nil {
			p.opts.Log.Error("the private Postgres ended with the program that ran it and could not be started again; start this program again",
				"error", err)
			return
		}
		if owned {
			p.opts.Log.Info("the program that ran the private Postgres has ended; this one runs it now", "dir", p.place.dir)
			return
		}
	}
}

// Dir is where the data is: Options.Dir, or the directory under /var/lib/px360.
func (p *Postgres) Dir() string { return p.place.dir }

// URL is the connection URL of a database of this server, as pgx parses it. It uses the unix socket
// and is the same in every run. The database need not exist; EnsureDatabase creates it.
func (p *Postgres) URL(database string) string { return p.place.url(database) }

// EnsureDatabase creates the database unless it exists, and returns its URL.
func (p *Postgres) EnsureDatabase(ctx context.Context, database string) (string, error) {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return "", fmt.Errorf("connect to the private Postgres: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&exists)
	if err != nil {
		return "", fmt.Errorf("look for database %s: %w", database, err)
	}
	if !exists {
		_, err = conn.Exec(ctx, `CREATE DATABASE `+pgx.Identifier{database}.Sanitize())
		// Two programs that start at the same time may both find it missing.
		if code := pgCode(err); err != nil && code != "42P04" && code != "23505" {
			return "", fmt.Errorf("create database %s: %w", database, err)
		}
	}
	return p.URL(database), nil
}

func pgCode(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// Stop stops the server if this process owns it: transactions are rolled back and the data is
// flushed to disk. A joined process only stops watching. Further calls return the result of the
// first.
func (p *Postgres) Stop() error {
	p.stopOnce.Do(func() {
		p.cancel()
		p.watching.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.server == nil {
			return
		}
		p.stopErr = p.server.stop(p.opts.Log)
		if err := os.RemoveAll(p.place.socket); err != nil && p.stopErr == nil {
			p.stopErr = fmt.Errorf("remove the socket of the private Postgres: %w", err)
		}
		p.lock.Close() // last: the next owner relies on a stopped server
	})
	return p.stopErr
}

// Remove deletes what Start created in dir, and stops a server whose owner was killed. It returns
// ErrInUse while a process runs the server, and nil if there is nothing in dir.
func Remove(dir string) error {
	where, err := locate(dir)
	if err != nil {
		return err
	}
	lock, err := tryLock(where.lockFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.RemoveAll(where.dir)
	case err != nil:
		return err
	case lock == nil:
		return fmt.Errorf("remove %s: %w", where.dir, ErrInUse)
	}
	defer lock.Close()
	if err := where.clearStale(context.Background()); err != nil {
		return err
	}
	if err := os.RemoveAll(where.dir); err != nil {
		return fmt.Errorf("remove the private Postgres: %w", err)
	}
	return nil
}

// place has the paths of one server.
type place struct {
	dir    string
	socket string   // directory of the unix socket
	runAs  *account // the user that the server runs as; nil for that of this process
}

func (p place) data() string     { return filepath.Join(p.dir, "data") }
func (p place) pidFile() string  { return filepath.Join(p.data(), "postmaster.pid") }
func (p place) lockFile() string { return filepath.Join(p.dir, "lock") }
func (p place) logFile() string  { return filepath.Join(p.dir, "postgres.log") }

func (p place) url(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(superuser),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {p.socket}, "port": {port}}.Encode(),
	}
	return u.String()
}

// locate resolves Options.Dir.
func locate(dir string) (place, error) {
	if dir == "" {
		return place{}, errors.New("localpg: no directory given for the private Postgres")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return place{}, fmt.Errorf("find directory %s: %w", dir, err)
	}
	runAs, err := unprivileged()
	if err != nil {
		return place{}, err
	}
	// The directory itself will be owned by that user; its parents must be accessible.
	if runAs != nil && !runAs.reaches(filepath.Dir(abs)) {
		abs = filepath.Join(rootDir, shortHash(abs))
	}
	// isPostmaster compares this path with the postmaster's command line, so every process must use
	// the same form.
	real, err := realPath(abs)
	if err != nil {
		return place{}, fmt.Errorf("find directory %s: %w", abs, err)
	}
	return place{dir: real, socket: socketDir(real), runAs: runAs}, nil
}

// realPath resolves symbolic links in the part of the path that exists.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	parent, err := realPath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// socketDir is outside Dir because the path of a socket is limited to about 100 bytes, and some
// file systems cannot hold sockets.
func socketDir(dir string) string {
	name := "px360-" + shortHash(dir)
	if path := filepath.Join(os.TempDir(), name); len(path) < 80 {
		return path
	}
	return filepath.Join("/tmp", name)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// create makes the directory. Its parents get mode 0755, so that the server's user can enter.
func (p place) create() error {
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o755); err != nil {
		return fmt.Errorf("make a place for the private Postgres (is the data directory writable?): %w", err)
	}
	if parent := filepath.Dir(p.dir); parent == rootDir {
		if err := os.Chmod(parent, 0o755); err != nil { // whatever the umask
			return fmt.Errorf("make a place for the private Postgres: %w", err)
		}
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a place for the private Postgres (is the data directory writable?): %w", err)
	}
	if err := p.runAs.chown(p.dir); err != nil {
		return err
	}
	if p.runAs != nil && !p.runAs.reaches(p.dir) {
		return fmt.Errorf("user %s, as whom root runs Postgres, cannot reach %s; choose a data directory that it can reach, or run as another user",
			p.runAs.name, p.dir)
	}
	return nil
}

// answers reports whether a server accepts connections at the URL.
func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return false
	}
	conn.Close(ctx)
	return true
}

// tail is the last part of what the file has after offset.
func tail(path string, offset int64) string {
	const most = 2000
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		offset = max(offset, end-most)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(f, most))
	return string(text)
}
