// Command px360 is the whole of PX360 in one binary: `px360 help` tells what it can do.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/schema"
	"github.com/px360/px360/schema/localpg"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/worker"
	"github.com/px360/px360/worker/actions"
	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/surveys"
	"github.com/px360/px360/worker/webhooks"
)

// softMemoryLimit is from where on the garbage collector works harder, in bytes, unless GOMEMLIMIT says otherwise. A burst
// of large requests leaves more garbage than a collector that waits for a busy processor takes away.
const softMemoryLimit = 160 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemoryLimit)
	}
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	os.Exit(p.runUntilSignal(os.Args[1:]))
}

const (
	// shutdownTimeout is a second more than the graceful shutdown of the server or the worker may take.
	shutdownTimeout = 16 * time.Second
	// poolCloseTimeout bounds the wait for connections that are still in use after the shutdown.
	poolCloseTimeout = 2 * time.Second

	defaultAddr     = "127.0.0.1:8000"
	defaultWorkAddr = "127.0.0.1:8001" // another port, so that serve and work can run on one host
)

// program is one run of px360. Tests fill it in with buffers and an environment of their own.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string

	config   Config
	log      *slog.Logger
	registry *prometheus.Registry
}

// runUntilSignal is run with a context that SIGINT or SIGTERM cancels. The first signal starts a graceful
// shutdown, the second one ends the process at once.
func (p *program) runUntilSignal(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return p.run(ctx, args)
}

// run runs a command and returns the exit code: 0, 1 if it failed, 2 for a usage error.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(p.stderr, "%s: %v\n", command.CommandPath(), err)
	if p.log == nil { // prepare did not run: a usage error
		fmt.Fprintf(p.stderr, "`%s --help` tells more\n", command.CommandPath())
		return 2
	}
	return 1
}

// prepare reads the configuration and sets up the log, before any command runs.
func (p *program) prepare(c *cobra.Command) error {
	config, warnings, err := readConfig(p.environ)
	p.config = config
	options := &slog.HandlerOptions{Level: config.LogLevel}
	p.log = newJSONLog(p.stderr, options)
	if err != nil {
		return err
	}
	if c.Name() == "up" && isTerminal(p.stderr) {
		p.log = slog.New(slog.NewTextHandler(p.stderr, options))
	}
	for _, warning := range warnings {
		p.log.Warn(warning)
	}
	p.registry = prometheus.NewRegistry()
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

// dataFile is the path of a file in the data directory.
func (p *program) dataFile(file string) string { return filepath.Join(p.config.DataDir, file) }

func (p *program) privatePostgresDir() string { return p.dataFile("postgres") }

// resolveDatabase returns the URL of the configured database. If none is configured it starts the
// private Postgres, or joins the one that is running, and returns its URL; release stops or leaves it.
func (p *program) resolveDatabase(ctx context.Context) (databaseURL string, release func(), err error) {
	if p.config.DatabaseURL != "" {
		return string(p.config.DatabaseURL), func() {}, nil
	}
	private, err := localpg.Start(ctx, localpg.Options{
		Dir: p.privatePostgresDir(), Log: p.log, Progress: func(text string) { p.log.Info(text) },
	})
	if err != nil {
		return "", nil, err
	}
	release = func() {
		if err := private.Stop(); err != nil {
			p.log.Error("stop the private Postgres", "error", err)
		}
	}
	databaseURL, err = private.EnsureDatabase(ctx, "px360")
	if err != nil {
		release()
		return "", nil, err
	}
	return databaseURL, release, nil
}

// open opens a connection pool, whatever the state of the schema.
func (p *program) open(ctx context.Context, databaseURL string) (*queries.DB, error) {
	o := queries.DefaultOptions()
	o.MaxConnections, o.ListConnections = p.config.MaxConnections, p.config.listConnections()
	return queries.Open(ctx, databaseURL, o)
}

// openMigrated opens the configured database, and fails unless its schema is up to date.
func (p *program) openMigrated(ctx context.Context) (*queries.DB, error) {
	if p.config.DatabaseURL == "" {
		return nil, errors.New("PX360_DATABASE_URL is not set: it says where Postgres is (`px360 up` can do without)")
	}
	database, err := p.open(ctx, string(p.config.DatabaseURL))
	if err != nil {
		return nil, err
	}
	if err := schema.Check(ctx, database.Pool); err != nil {
		p.close(database)
		return nil, err
	}
	return database, nil
}

// close closes the pool. It waits for connections in use, up to poolCloseTimeout.
func (p *program) close(database *queries.DB) {
	closed := make(chan struct{})
	go func() { database.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(poolCloseTimeout):
		p.log.Warn("database connections are still in use, exiting anyway", "timeout", poolCloseTimeout)
	}
}

// newServer makes a server. publicURL and rateLimits are the command's defaults, for an unset variable.
func (p *program) newServer(database *queries.DB, publicURL, rateLimits string) (*server.Server, error) {
	o := server.DefaultOptions()
	o.PublicURL = cmp.Or(p.config.PublicURL, publicURL)
	o.SecretKey, o.SecretKeyPrevious = string(p.config.SecretKey), string(p.config.SecretKeyPrevious)
	o.AccessLifetime, o.RefreshLifetime = p.config.AccessLifetime, p.config.RefreshLifetime
	o.RotateRefresh = p.config.RotateRefresh
	o.RateLimits = cmp.Or(string(p.config.RateLimits), rateLimits)
	o.Limits = limits.Limits{Events: p.config.LimitEvents, EventBytes: p.config.LimitEventBytes, Auth: p.config.LimitAuth, User: p.config.LimitUser}
	o.LongestLoginWait = p.config.LongestLoginWait
	o.MaxInFlight = p.config.MaxInFlight
	o.Connections = p.config.Connections
	o.MaxPayload = p.config.MaxPayload
	o.EventSenders = p.config.EventSenders
	o.TrustedProxies = p.config.TrustedProxies
	o.WebhookNetworks = p.config.WebhookNetworks
	o.Log, o.Registerer = p.log, p.registry
	return server.New(database, o)
}

func (p *program) newWorker(database *queries.DB) *worker.Worker {
	o := worker.DefaultOptions()
	o.Concurrency, o.Log, o.Registerer = p.config.Workers, p.log, p.registry
	o.EventRetention, o.AuditRetention = p.config.EventRetention, p.config.AuditRetention
	return worker.New(database, o)
}

// outboxFile, in the data directory, has the messages that up would send if a channel was configured.
const outboxFile = "outbox.jsonl"

// newSurveys makes what sends surveys. publicURL is the command's default, for an unset variable. Where develop is true
// and no channel is configured, messages go to the log and the outbox instead.
func (p *program) newSurveys(database *queries.DB, publicURL string, develop bool) (*surveys.Service, error) {
	o := surveys.DefaultOptions()
	var err error
	if o.Channels, err = p.config.channels(); err != nil {
		return nil, err
	}
	if len(o.Channels) == 0 && develop {
		for _, name := range []string{channels.SMS, channels.Email} {
			o.Channels[name] = channels.Outbox(name, p.config.PhoneRegion, p.dataFile(outboxFile), p.log)
		}
	}
	o.PublicURL = cmp.Or(p.config.PublicURL, publicURL)
	o.SecretKey, o.SecretKeyPrevious = string(p.config.SecretKey), string(p.config.SecretKeyPrevious)
	switch {
	case len(o.Channels) > 0 && o.SecretKey == "":
		return nil, errors.New("PX360_SECRET_KEY is not set: links in surveys are derived from it, so give work the same one as serve")
	case len(o.Channels) > 0 && o.PublicURL == "":
		return nil, errors.New("PX360_PUBLIC_URL is not set: links in surveys begin with it")
	}
	o.MaxAge = p.config.SurveyMaxAge
	o.Log, o.Registerer = p.log, p.registry
	return surveys.New(database, o), nil
}

// newActions makes what watches the deadlines of actions. Emails go the way that surveys' go.
func (p *program) newActions(database *queries.DB, publicURL string, sending *surveys.Service) *actions.Service {
	o := actions.DefaultOptions()
	o.Email, o.PublicURL = sending.Channels[channels.Email], cmp.Or(p.config.PublicURL, publicURL)
	o.Log, o.Registerer = p.log, p.registry
	return actions.New(database, o)
}

// newWebhooks makes what delivers webhooks. It fails where there are endpoints, and no key to open their secrets with.
func (p *program) newWebhooks(ctx context.Context, database *queries.DB) (*webhooks.Service, error) {
	o := webhooks.DefaultOptions()
	o.SecretKey, o.SecretKeyPrevious = string(p.config.SecretKey), string(p.config.SecretKeyPrevious)
	o.Networks = p.config.WebhookNetworks
	o.Log, o.Registerer = p.log, p.registry
	s := webhooks.New(database, o)
	err := s.CheckKey(ctx)
	if errors.Is(err, webhooks.ErrNoKey) {
		err = fmt.Errorf("PX360_SECRET_KEY is not set: %w; give work the same one as serve", err)
	}
	return s, err
}

// metrics returns a task that serves Prometheus metrics and pprof profiles. They have their own address,
// because they reveal more than a client should know. Without one, the task is a no-op.
func (p *program) metrics(ctx context.Context) (func(context.Context) error, error) {
	if p.config.MetricsAddr == "" {
		return noop, nil
	}
	listener, err := listen(ctx, p.config.MetricsAddr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	p.log.Info("serving metrics and profiles", "addr", listener.Addr().String())
	return serveHTTP(listener, mux), nil
}

// serveHTTP returns a task that serves until its context ends, without a graceful shutdown: it is for
// requests that may be cut off.
func serveHTTP(listener net.Listener, handler http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		s := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		stop := context.AfterFunc(ctx, func() { _ = s.Close() })
		defer stop()
		if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
		}
		return nil
	}
}

// listen opens a TCP listener, with an error that says what to do about an address in use.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use, perhaps by another px360: stop that, or choose another PX360_ADDR", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return listener, nil
}

// baseURL is the URL of a listener for clients on this host.
func baseURL(listener net.Listener) string {
	if at, ok := listener.Addr().(*net.TCPAddr); ok && at.IP.IsUnspecified() {
		return localURL(listener)
	}
	return "http://" + listener.Addr().String()
}

func localURL(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return "http://localhost:" + port
}

// loopback are the networks that up delivers webhooks to, where nobody else can ask it to.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func listensOnLoopback(listener net.Listener) bool {
	at, ok := listener.Addr().(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// runTasks runs tasks in an errgroup: when one fails or ctx ends, the context of all is cancelled. It
// returns the first error, or an error if some task has not returned within shutdownTimeout.
func runTasks(ctx context.Context, tasks ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, task := range tasks {
		group.Go(func() error { return task(ctx) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(shutdownTimeout):
		return fmt.Errorf("shutdown took longer than %v: exiting anyway", shutdownTimeout)
	}
}

// noop is a task for what is switched off.
func noop(context.Context) error { return nil }

// version is the version of the module and the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	text := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && !strings.Contains(text, setting.Value[:min(12, len(setting.Value))]) {
			text += " " + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return text
}

// The files in the data directory that hold secrets generated by up.
const (
	secretKeyFile     = "secret-key"
	adminPasswordFile = "admin-password"
)

// newSecretKey has some 260 bits of randomness in 52 letters and digits.
func newSecretKey() string { return rand.Text() + rand.Text() }

// newPassword has 100 bits of randomness, in groups that a person can copy.
func newPassword() string {
	text := strings.ToLower(rand.Text())
	return strings.Join([]string{text[:5], text[5:10], text[10:15], text[15:20]}, "-")
}

// loadOrCreateSecret returns the secret in a file. If there is no file it generates one and creates the
// file atomically: processes that do so concurrently all return the same secret, and created is true for
// one of them.
func loadOrCreateSecret(path string, generate func() string) (text secret, created bool, err error) {
	if text, err := readSecret(path); !errors.Is(err, fs.ErrNotExist) {
		return text, false, err
	}
	// Unlike a rename, a hard link never replaces a file that exists.
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*") // of mode 0600
	if err != nil {
		return "", false, fmt.Errorf("store a secret in the data directory: %w", err)
	}
	defer os.Remove(temporary.Name())
	made := generate()
	_, err = temporary.WriteString(made + "\n")
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return "", false, fmt.Errorf("store a secret in the data directory: %w", err)
	}
	switch err := os.Link(temporary.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		text, err := readSecret(path)
		return text, false, err
	case err != nil:
		return "", false, fmt.Errorf("store a secret in the data directory: %w", err)
	}
	return secret(made), true, nil
}

func readSecret(path string) (secret, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	trimmed := strings.TrimSpace(string(text))
	if trimmed == "" {
		return "", fmt.Errorf("%s is empty: delete it, and a new secret will be made", path)
	}
	return secret(trimmed), nil
}

// newJSONLog makes a log of a JSON object per line, in which no control character stands as it is.
func newJSONLog(w io.Writer, options *slog.HandlerOptions) *slog.Logger {
	return slog.New(slog.NewJSONHandler(controlEscaper{w}, options))
}

// A controlEscaper writes JSON with the control characters escaped that JSON allows as they are, DEL and the C1 set:
// terminals obey them, and paths of requests are logged.
type controlEscaper struct{ w io.Writer }

var controls = regexp.MustCompile("[\x7f\u0080-\u009f]")

// Write writes whole lines, as a slog handler does.
func (e controlEscaper) Write(line []byte) (int, error) {
	escaped := controls.ReplaceAllFunc(line, func(char []byte) []byte { return fmt.Appendf(nil, `\u%04x`, []rune(string(char))[0]) })
	if _, err := e.w.Write(escaped); err != nil {
		return 0, err
	}
	return len(line), nil
}
