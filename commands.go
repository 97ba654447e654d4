package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/schema"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/tests/examples"
	"github.com/px360/px360/tests/hospitalday/demo"
)

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "px360",
		Short: "Follow patients through their hospital journey",
		Long: "PX360 follows patients through their hospital journey: hospital systems send events, events complete\n" +
			"the stages of journeys, stages send surveys, bad answers open actions, and partners hear of it by\n" +
			"webhooks.\n\n" +
			"`px360 up` is all that is needed to try it. In production, run `px360 migrate` once for each release,\n" +
			"and then any number of `px360 serve` and `px360 work` on one Postgres.",
		Example:           "  px360 up            start everything on http://" + defaultAddr + "\n  px360 demo          play a hospital day against it",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return p.prepare(c) },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		help(c, args)
		if c == root {
			fmt.Fprintln(p.stdout)
			_ = writeVariables(p.stdout)
		}
	})
	root.AddCommand(p.upCommand(), p.serveCommand(), p.workCommand(), p.migrateCommand(), p.userCommand(), p.demoCommand(), p.versionCommand())
	return root
}

func (p *program) upCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Start everything in one process",
		Long: "Migrates, serves the API, works on events and sends surveys, in one process. Without PX360_DATABASE_URL it runs a\n" +
			"private Postgres, whose data stays in PX360_DATA_DIR. The secret key and the password of the first\n" +
			"PX Admin are made once and kept there, readable for you only, unless they are given. Requests over\n" +
			"their limit are reported in the log and answered all the same, unless PX360_RATE_LIMITS says otherwise.\n" +
			"Where it listens on a loopback address, webhook endpoints may be on this machine too.",
		Example: "  px360 up\n  PX360_ADDR=127.0.0.1:9000 PX360_DATA_DIR=/tmp/px360 px360 up",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.up(c.Context()) },
	}
}

func (p *program) up(ctx context.Context) error {
	if err := os.MkdirAll(p.config.DataDir, 0o755); err != nil { // a user that runs Postgres for root must get through
		return fmt.Errorf("make the data directory (PX360_DATA_DIR chooses another): %w", err)
	}
	// Listen first, so that a second program on the same address fails before it changes anything.
	listener, err := listen(ctx, cmp.Or(p.config.Addr, defaultAddr))
	if err != nil {
		return err
	}
	defer listener.Close()
	databaseURL, release, err := p.resolveDatabase(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := schema.Up(ctx, databaseURL); err != nil {
		return err
	}
	if p.config.SecretKey == "" {
		if p.config.SecretKey, _, err = loadOrCreateSecret(p.dataFile(secretKeyFile), newSecretKey); err != nil {
			return err
		}
	}
	database, err := p.open(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer p.close(database)
	if len(p.config.WebhookNetworks) == 0 && listensOnLoopback(listener) {
		p.config.WebhookNetworks = loopback
	}
	api, err := p.newServer(database, baseURL(listener), limits.ModeReport)
	if err != nil {
		return err
	}
	login, err := p.firstAdmin(ctx, database, api)
	if err != nil {
		return err
	}
	metrics, err := p.metrics(ctx)
	if err != nil {
		return err
	}
	sending, err := p.newSurveys(database, baseURL(listener), true)
	if err != nil {
		return err
	}
	watching := p.newActions(database, baseURL(listener), sending)
	telling, err := p.newWebhooks(ctx, database)
	if err != nil {
		return err
	}
	p.banner(cmp.Or(p.config.PublicURL, baseURL(listener)), login)
	return runTasks(ctx, metrics, p.newWorker(database).Run, sending.Run, watching.Run, telling.Run, func(ctx context.Context) error { return api.Serve(ctx, listener) })
}

// firstAdmin makes sure that there is a PX Admin, and says how to log in. An advisory lock serializes
// programs that start at the same time, or both could create the password file and the user.
func (p *program) firstAdmin(ctx context.Context, database *queries.DB, api *server.Server) (login string, err error) {
	lock, err := database.Pool.Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("look for a PX Admin: %w", err)
	}
	defer lock.Release()
	const key = 360
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", key); err != nil {
		return "", fmt.Errorf("look for a PX Admin: %w", err)
	}
	defer func() { _, _ = lock.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", key) }()
	return p.ensureAdmin(ctx, api)
}

func (p *program) ensureAdmin(ctx context.Context, api *server.Server) (login string, err error) {
	name, password, generated := p.config.AdminUsername, p.config.AdminPassword, false
	file := p.dataFile(adminPasswordFile)
	if password == "" {
		// The file before the user: a crash in between must not leave a user whose password is lost.
		if password, generated, err = loadOrCreateSecret(file, newPassword); err != nil {
			return "", err
		}
	}
	created, err := api.EnsureAdmin(ctx, name, string(password))
	switch {
	case err != nil:
		return "", fmt.Errorf("create the first PX Admin, %s: %w", name, err)
	case p.config.AdminPassword != "" && created:
		return fmt.Sprintf("user %s, password as in PX360_ADMIN_PASSWORD", name), nil
	case p.config.AdminPassword != "":
		return "as a PX Admin; users who were there before keep their password, whatever PX360_ADMIN_PASSWORD is", nil
	case created:
		return fmt.Sprintf("user %s, password %s (kept in %s)", name, string(password), file), nil
	case generated: // there is a PX Admin already, so nobody has this password
		return "as a PX Admin; `px360 user set-password NAME` helps if the password is lost", os.Remove(file)
	}
	return fmt.Sprintf("user %s, password as in %s unless it was changed", name, file), nil
}

func (p *program) banner(at, login string) {
	fmt.Fprintf(p.stdout, "\nPX360 is running.\n\n"+
		"  API     %s/api/\n  Docs    %s/api/docs/\n  Log in  %s\n  Demo    px360 demo --url %s   plays a hospital day\n\n"+
		"Ctrl-C stops it.\n\n", at, at, login, at)
}

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the API",
		Long: "Serves the API, /healthz and /readyz on PX360_ADDR. It needs PX360_DATABASE_URL, a schema that\n" +
			"`px360 migrate` has brought up to date, and PX360_SECRET_KEY, the same for every serve. Any number may\n" +
			"run on one database. SIGTERM lets the requests in flight finish, for at most 15 seconds.",
		Example: "  PX360_DATABASE_URL=postgres://… PX360_SECRET_KEY=… PX360_ADDR=0.0.0.0:8000 px360 serve",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.serve(c.Context()) },
	}
}

func (p *program) serve(ctx context.Context) error {
	if p.config.SecretKey == "" {
		return errors.New("PX360_SECRET_KEY is not set: give every serve the same key, for example from `openssl rand -base64 48`")
	}
	database, err := p.openMigrated(ctx)
	if err != nil {
		return err
	}
	defer p.close(database)
	listener, err := listen(ctx, cmp.Or(p.config.Addr, defaultAddr))
	if err != nil {
		return err
	}
	defer listener.Close()
	public := localURL(listener)
	if p.config.PublicURL == "" {
		p.log.Warn("PX360_PUBLIC_URL is not set: links to other pages begin with " + public)
	}
	api, err := p.newServer(database, public, limits.ModeEnforce)
	if err != nil {
		return err
	}
	metrics, err := p.metrics(ctx)
	if err != nil {
		return err
	}
	p.log.Info("serving", "addr", listener.Addr().String(), "version", version(), "config", p.config)
	return runTasks(ctx, metrics, func(ctx context.Context) error { return api.Serve(ctx, listener) })
}

func (p *program) workCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "work",
		Short: "Work on events, send surveys, watch deadlines, deliver webhooks",
		Long: "Applies the events that are waiting: completes stages and journeys, schedules surveys. Sends surveys by\n" +
			"the channels that are configured, for which it needs PX360_SECRET_KEY and PX360_PUBLIC_URL as serve has\n" +
			"them. Watches the deadlines of actions, and delivers webhooks, also with PX360_SECRET_KEY. It needs\n" +
			"PX360_DATABASE_URL and a schema that `px360 migrate` has brought up to date. Any number may run on one\n" +
			"database. It answers /healthz and /readyz on PX360_ADDR, by default " + defaultWorkAddr + ". SIGTERM lets the\n" +
			"batch in hand finish, for at most 15 seconds.",
		Example: "  PX360_DATABASE_URL=postgres://… PX360_WORKERS=4 px360 work",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.work(c.Context()) },
	}
}

func (p *program) work(ctx context.Context) error {
	database, err := p.openMigrated(ctx)
	if err != nil {
		return err
	}
	defer p.close(database)
	metrics, err := p.metrics(ctx)
	if err != nil {
		return err
	}
	health := noop
	listener, err := listen(ctx, cmp.Or(p.config.Addr, defaultWorkAddr))
	switch {
	case err == nil:
		health = serveHTTP(listener, server.Health(database))
	case p.config.Addr != "":
		return err
	default: // usually another work on this host, and no address was asked for
		p.log.Warn("health checks are off: set PX360_ADDR to a free address", "error", err)
	}
	sending, err := p.newSurveys(database, "", false)
	if err != nil {
		return err
	}
	watching := p.newActions(database, "", sending)
	telling, err := p.newWebhooks(ctx, database)
	if err != nil {
		return err
	}
	p.log.Info("working", "version", version(), "config", p.config)
	return runTasks(ctx, metrics, health, p.newWorker(database).Run, sending.Run, watching.Run, telling.Run)
}

func (p *program) migrateCommand() *cobra.Command {
	var down, deleteAll bool
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long: "Applies to PX360_DATABASE_URL the migrations that it does not have yet; of several that start together,\n" +
			"one migrates and the others wait. The previous release runs on the new schema, so migrate first and\n" +
			"then replace serve and work. --down takes all of it back and deletes every row.",
		Example: "  PX360_DATABASE_URL=postgres://… px360 migrate",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case p.config.DatabaseURL == "":
				return errors.New("PX360_DATABASE_URL is not set (`px360 up` migrates its private Postgres by itself)")
			case down && !deleteAll:
				return errors.New("--down deletes every row of the database: add --delete-all-data if that is what you want")
			case down:
				return schema.Down(c.Context(), string(p.config.DatabaseURL))
			}
			if err := schema.Up(c.Context(), string(p.config.DatabaseURL)); err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "the schema is up to date, at version %d\n", schema.Latest())
			return nil
		},
	}
	command.Flags().BoolVar(&down, "down", false, "take back every migration, and with them all data")
	command.Flags().BoolVar(&deleteAll, "delete-all-data", false, "confirm --down")
	return command
}

func (p *program) userCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "user",
		Short: "Create a PX Admin, or give a user another password",
		Long: "For the first PX Admin, and for whoever locked themselves out: needs the database, not the API. Without\n" +
			"PX360_DATABASE_URL it is the private Postgres of `px360 up`, which may be running or not.\n" +
			"The password is asked for, or read from standard input where that is no terminal.",
		Example: "  px360 user create-admin sara\n  px360 user set-password sara < password-file",
	}
	add := func(use, short string, change func(*server.Server, context.Context, string, string) error, done string) {
		command.AddCommand(&cobra.Command{
			Use: use + " NAME", Short: short, Long: short + ".\n" + command.Long, Example: "  px360 user " + use + " sara",
			Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				return p.withServer(c.Context(), func(api *server.Server) error {
					password, err := p.readPassword(c.Context())
					if err != nil {
						return err
					}
					if err := change(api, c.Context(), args[0], password); err != nil {
						return err
					}
					fmt.Fprintf(p.stdout, done+"\n", args[0])
					return nil
				})
			},
		})
	}
	add("create-admin", "Create a PX Admin", (*server.Server).CreateAdmin, "%s is a PX Admin now")
	add("set-password", "Give a user another password, and end their sessions", (*server.Server).SetPassword, "%s has a new password")
	return command
}

// withServer runs f with a server that does not listen, on the configured or the private database.
func (p *program) withServer(ctx context.Context, f func(*server.Server) error) error {
	return p.withDatabase(ctx, func(database *queries.DB) error {
		p.config.SecretKey = secret(cmp.Or(string(p.config.SecretKey), newSecretKey())) // passwords do not depend on it
		api, err := p.newServer(database, "http://localhost", limits.ModeOff)
		if err != nil {
			return err
		}
		return f(api)
	})
}

// withDatabase runs f on the configured or the private database, which may be in use by `px360 up` or not running.
func (p *program) withDatabase(ctx context.Context, f func(*queries.DB) error) error {
	if p.config.DatabaseURL == "" {
		if _, err := os.Stat(p.privatePostgresDir()); err != nil {
			return errors.New("PX360_DATABASE_URL is not set, and there is no private Postgres of `px360 up` in " + p.config.DataDir)
		}
	}
	databaseURL, release, err := p.resolveDatabase(ctx)
	if err != nil {
		return err
	}
	defer release()
	p.config.DatabaseURL = secret(databaseURL)
	database, err := p.openMigrated(ctx)
	if err != nil {
		return err
	}
	defer p.close(database)
	return f(database)
}

// readPassword prompts for a password, twice and without echo, or reads a line if stdin is no terminal.
func (p *program) readPassword(ctx context.Context) (string, error) {
	terminal, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		line, err := bufio.NewReader(p.stdin).ReadString('\n')
		password := strings.TrimRight(line, "\r\n")
		if password == "" {
			return "", errors.Join(errors.New("there is no password on standard input"), ignoreEOF(err))
		}
		return password, nil
	}
	password, err := p.ask(ctx, terminal, "Password: ")
	if err != nil {
		return "", err
	}
	again, err := p.ask(ctx, terminal, "Again: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ: nothing was changed")
	}
	return password, err
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// ask reads a line without echo. It restores the state of the terminal when ctx ends.
func (p *program) ask(ctx context.Context, terminal *os.File, prompt string) (string, error) {
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return "", fmt.Errorf("the terminal: %w", err)
	}
	fmt.Fprint(p.stderr, prompt)
	defer fmt.Fprintln(p.stderr)
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(int(terminal.Fd()))
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", errors.Join(errors.New("interrupted: nothing was changed"), term.Restore(int(terminal.Fd()), before))
	case a := <-answers:
		return string(a.text), a.err
	}
}

func (p *program) demoCommand() *cobra.Command {
	var options demo.Options
	var seedExamples bool
	command := &cobra.Command{
		Use:   "demo",
		Short: "Play a hospital day against a running PX360",
		Long: "Sets up a hospital, DEMO, with its departments, physicians, patients and templates, sends the 6,373\n" +
			"events of one synthetic day through the public API, and shows what came out. Every second journey is\n" +
			"created only after some of its events. Where `px360 up` sends by no channel, its surveys are sent at once and\n" +
			"most of them answered. The user must be a PX Admin. It can be run again: what is there\n" +
			"is not doubled. Where rate limits are enforced it waits as the server asks, about twenty minutes.\n\n" +
			"With --examples it rather inserts the hospital that the examples of the documentation pages show, under the\n" +
			"same ids, so that `Try it out` works there as it is. For that it needs the database, not the API, as\n" +
			"`px360 user` does.",
		Example: "  px360 demo\n  px360 demo --examples\n" +
			"  PX360_ADMIN_PASSWORD=… px360 demo --url https://px360.example.org --username sara",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if seedExamples {
				return p.seedExamples(c.Context())
			}
			if err := p.demoLogin(&options); err != nil {
				return err
			}
			options.Progress, options.Interactive = p.stderr, isTerminal(p.stderr)
			if isLoopback(options.URL) {
				options.Outbox = p.dataFile(outboxFile)
			}
			summary, err := demo.Run(c.Context(), options)
			if c.Context().Err() != nil {
				return errors.New("interrupted; run it again to go on where it stopped")
			}
			if err != nil {
				return err
			}
			return summary.Write(p.stdout)
		},
	}
	command.Flags().BoolVar(&seedExamples, "examples", false, "insert the objects of the documentation's examples instead")
	// The backquoted word of a flag's text is its placeholder in the help.
	command.Flags().StringVar(&options.URL, "url", "", "the `URL` of PX360 (default http://"+defaultAddr+", or PX360_ADDR)")
	command.Flags().StringVar(&options.Username, "username", "", "the `NAME` of a PX Admin (default PX360_ADMIN_USERNAME)")
	command.Flags().StringVar(&options.Password, "password", "",
		"the `PASSWORD` of the PX Admin; others on this host can see it here, so rather set PX360_ADMIN_PASSWORD\n(default that, or what px360 up keeps in the data directory)")
	for _, flag := range []string{"url", "username", "password"} {
		command.MarkFlagsMutuallyExclusive("examples", flag)
	}
	return command
}

func (p *program) seedExamples(ctx context.Context) error {
	err := p.withDatabase(ctx, func(database *queries.DB) error { return examples.Seed(ctx, database.Pool) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, "the objects of the examples are there: see /api/docs/, and log in as a PX Admin, or as the\n"+
		"Hospital Admin jdoe once `px360 user set-password jdoe` has set a password")
	return err
}

// demoLogin fills in what the flags leave out. The password in the data directory is sent only to a
// loopback address: it belongs to the program on this host.
func (p *program) demoLogin(o *demo.Options) error {
	o.URL = cmp.Or(o.URL, "http://"+cmp.Or(p.config.Addr, defaultAddr))
	o.Username = cmp.Or(o.Username, p.config.AdminUsername)
	if o.Password = cmp.Or(o.Password, string(p.config.AdminPassword)); o.Password != "" {
		return nil
	}
	at, err := url.Parse(o.URL)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	if !isLoopback(o.URL) {
		return fmt.Errorf("give the password of %s at %s in PX360_ADMIN_PASSWORD", o.Username, at.Hostname())
	}
	kept, err := readSecret(p.dataFile(adminPasswordFile))
	if err != nil {
		return fmt.Errorf("give the password of %s in PX360_ADMIN_PASSWORD; `px360 up` has kept none here: %w", o.Username, err)
	}
	o.Password = string(kept)
	return nil
}

// isLoopback tells whether a URL is this host's: the files in the data directory belong to the program there.
func isLoopback(address string) bool {
	at, err := url.Parse(address)
	return err == nil && (at.Hostname() == "localhost" || net.ParseIP(at.Hostname()).IsLoopback())
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show which version this is",
		Long:    "Shows the version, the commit it was built from and the Go release that built it.",
		Example: "  px360 version",
		Args:    cobra.NoArgs,
		// Overrides the root's, which would fail on a wrong configuration.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.stdout, "px360 %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
