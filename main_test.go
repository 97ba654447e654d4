package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/schema/localpg"
	"github.com/px360/px360/server"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/fixtures"
	"github.com/px360/px360/tests/hospitalday/demo"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// process is a running command.
type process struct {
	t              *testing.T
	stdout, stderr *output
	stop           context.CancelFunc
	done           chan struct{}
	code           int
}

// output is a buffer that is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a command in the background and stops it at the end of the test.
func start(t *testing.T, environ []string, stdin string, args ...string) *process {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &process{t: t, stdout: &output{}, stderr: &output{}, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		p := program{stdin: strings.NewReader(stdin), stdout: r.stdout, stderr: r.stderr, environ: environ}
		r.code = p.run(ctx, args)
	}()
	t.Cleanup(func() { r.stopAndWait() })
	return r
}

// stopAndWait stops the command and returns its exit code.
func (r *process) stopAndWait() int {
	r.stop()
	<-r.done
	return r.code
}

// wait waits until the command ends by itself and returns its exit code.
func (r *process) wait() int {
	<-r.done
	return r.code
}

// waitFor waits until the output matches the pattern and returns the first group.
func (r *process) waitFor(o *output, pattern string) string {
	r.t.Helper()
	var found []string
	expression := regexp.MustCompile(pattern)
	dbtest.Eventually(r.t, "output "+pattern, func() bool {
		found = expression.FindStringSubmatch(o.String())
		select {
		case <-r.done:
			if found == nil {
				r.t.Fatalf("the command exited with code %d:\n%s%s", r.code, r.stdout, r.stderr)
			}
		default:
		}
		return found != nil
	})
	return found[1]
}

// run runs a command to its end and expects this exit code.
func run(t *testing.T, want int, environ []string, stdin string, args ...string) *process {
	t.Helper()
	r := start(t, environ, stdin, args...)
	if got := r.wait(); got != want {
		t.Fatalf("px360 %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, want, r.stdout, r.stderr)
	}
	return r
}

func wantText(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("no %q in:\n%s", want, text)
	}
}

func connect(t *testing.T, url, username, password string) *client.Client {
	t.Helper()
	api, err := client.New(url, client.WithPassword(username, password))
	if err == nil {
		_, err = api.RetrieveMe(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func TestHelp(t *testing.T) {
	t.Parallel()
	help := run(t, 0, nil, "", "help").stdout.String()
	for _, want := range []string{"px360 up", "Environment variables:", "PX360_DATABASE_URL", "127.0.0.1:8000"} {
		wantText(t, help, want)
	}
	if run(t, 0, nil, "").stdout.String() != help {
		t.Error("px360 without arguments does not print the help")
	}
	eachCommand(func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s lacks a short text, a long text or an example", c.CommandPath())
		}
	})
}

// pflag shows the first backquoted part of a flag's usage as its placeholder, so usage texts must
// not quote anything else.
func TestFlagPlaceholders(t *testing.T) {
	t.Parallel()
	wantText(t, run(t, 0, nil, "", "demo", "--help").stdout.String(), "--password PASSWORD ")
	flags := 0
	eachCommand(func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) {
			flags++
			placeholder, usage := pflag.UnquoteUsage(f)
			if strings.Contains(placeholder, " ") || strings.Contains(usage, "`") {
				t.Errorf("%s shows --%s %s: %s", c.CommandPath(), f.Name, placeholder, usage)
			}
		})
	})
	if flags < 10 {
		t.Errorf("only %d flags were checked", flags)
	}
}

// eachCommand visits the root command and all below it.
func eachCommand(visit func(*cobra.Command)) {
	p := &program{stdout: &output{}}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		visit(c)
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(p.rootCommand())
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"frobnicate":        `unknown command "frobnicate"`,
		"up now":            `unknown command "now" for "px360 up"`,
		"serve --fast":      "unknown flag: --fast",
		"user create-admin": "accepts 1 arg(s), received 0\n`px360 user create-admin --help` tells more",
	} {
		wantText(t, run(t, 2, nil, "", strings.Fields(line)...).stderr.String(), want)
	}
}

func TestMissingConfiguration(t *testing.T) {
	t.Parallel()
	dir := "PX360_DATA_DIR=" + t.TempDir()
	key := "PX360_SECRET_KEY=" + newSecretKey()
	for line, want := range map[string]string{
		"serve":                                "PX360_DATABASE_URL is not set",
		"work":                                 "PX360_DATABASE_URL is not set",
		"migrate":                              "PX360_DATABASE_URL is not set",
		"user create-admin sara":               "PX360_DATABASE_URL is not set, and there is no private Postgres",
		"demo":                                 "give the password of admin in PX360_ADMIN_PASSWORD",
		"demo --url https://px360.example.org": "give the password of admin at px360.example.org",
	} {
		wantText(t, run(t, 1, []string{dir, key}, "", strings.Fields(line)...).stderr.String(), want)
	}
	wantText(t, run(t, 1, []string{dir, "PX360_DATABASE_URL=postgres://px360"}, "", "serve").stderr.String(), "PX360_SECRET_KEY is not set")
}

// The kept password of the local server is not sent to another host.
func TestDemoLogin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, adminPasswordFile), []byte("kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ url, flag, variable, want string }{
		{"", "", "", "kept"},
		{"http://localhost:9000", "", "", "kept"},
		{"http://[::1]:9000", "", "", "kept"},
		{"", "flag", "variable", "flag"},
		{"https://px360.example.org", "", "variable", "variable"},
		{"https://px360.example.org", "", "", ""},
		{"https://localhost.example.org", "", "", ""},
	} {
		p := program{config: Config{DataDir: dir, AdminUsername: "admin", AdminPassword: secret(test.variable)}}
		options := demo.Options{URL: test.url, Password: test.flag}
		if err := p.demoLogin(&options); (err == nil) != (test.want != "") || options.Password != test.want {
			t.Errorf("%+v: password %q, %v", test, options.Password, err)
		}
	}
}

// The first run of up and demo, and a second one on the same data.
func TestUpAndDemo(t *testing.T) {
	t.Parallel()
	environ := []string{
		"PX360_DATABASE_URL=" + dbtest.New(t), "PX360_DATA_DIR=" + t.TempDir(), "PX360_ADDR=127.0.0.1:0",
		"PX360_METRICS_ADDR=127.0.0.1:0", "PX360_LOG_LEVEL=info", "PX360_ADDDR=x",
	}
	up := start(t, environ, "", "up")
	url := up.waitFor(up.stdout, `API +(http://127\.0\.0\.1:\d+)/api/`)
	password := up.waitFor(up.stdout, `Log in +user admin, password (\S+) \(kept in `)
	connect(t, url, "admin", password)
	wantText(t, up.stderr.String(), "do you mean PX360_ADDR?")

	first := run(t, 0, environ, "", "demo", "--url", url).stdout.String()
	for _, want := range []string{ // as in the day's README
		`accepted +5382\n`, `duplicate +10 `, `refused +981 `, `processed +2298 `, `ignored +2395 +stage_done`, `ignored +653 +no_stage`,
		`ignored +26 +journey_not_active`, `failed +10 +department_missing`, `active +537\n`, `completed +477\n`, `surveys scheduled +574\n`,
		`completed +\d{3} +\n`, `sent +\d{3} +\n`, `skipped +31 +no_contact\n`, `skipped +1 +contact_cap\n`, `NPS +-?\d`, `closed +1 *\n`, `pending_approval +1 *\n`, `of them breached +1 *\n`,
		`webhooks verified +\d{4} *\n`, `journey\.completed +477 *\n`, `sla\.breached +1 *\n`, `to answer one yourself +` + url + "/s/",
	} {
		if !regexp.MustCompile(want).MatchString(first) {
			t.Errorf("no %s in:\n%s", want, first)
		}
	}
	metrics := up.waitFor(up.stderr, `"msg":"serving metrics and profiles","addr":"([^"]+)"`)
	if response, err := http.Get("http://" + metrics + "/metrics"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("metrics: %v, %v", response, err)
	} else {
		response.Body.Close()
	}
	if code := up.stopAndWait(); code != 0 {
		t.Errorf("up exited with code %d", code)
	}

	up = start(t, environ, "", "up")
	url = up.waitFor(up.stdout, `API +(http://127\.0\.0\.1:\d+)/api/`)
	wantText(t, up.stdout.String(), "user admin, password as in ")
	second := run(t, 0, environ, "", "demo", "--url", url).stdout.String()
	for _, want := range []string{`accepted +0\n`, `duplicate +5392 `, `patients +0 +1028\n`, `processed +2298 `, `completed +477\n`} {
		if !regexp.MustCompile(want).MatchString(second) {
			t.Errorf("no %s in:\n%s", want, second)
		}
	}
}

// Of several hosts each command uses the one that takes writes, though another one answers first.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	var sockets []string
	for _, readOnly := range []string{"on", "off"} {
		postgres, err := localpg.Start(t.Context(), localpg.Options{
			Dir: filepath.Join(t.TempDir(), "postgres"), Throwaway: true, Settings: map[string]string{"default_transaction_read_only": readOnly},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = postgres.Stop() })
		address, err := url.Parse(postgres.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, address.Query().Get("host"))
	}
	environ := []string{
		"PX360_DATABASE_URL=postgres://postgres@/postgres?port=5432&host=" + strings.Join(sockets, ","),
		"PX360_SECRET_KEY=" + newSecretKey(), "PX360_ADDR=127.0.0.1:0",
	}
	run(t, 0, environ, "", "migrate")
	serve := start(t, environ, "", "serve")
	address := serve.waitFor(serve.stderr, `"msg":"serving","addr":"([^"]+)"`)
	ready, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	ready.Body.Close()
	if ready.StatusCode != http.StatusOK {
		t.Errorf("/readyz answers %s", ready.Status)
	}
}

// version7 makes what `up` of the last release left behind, and returns the environment to start it in.
func version7(t *testing.T) (environ []string) {
	t.Helper()
	url, dir := dbtest.NewBlank(t), t.TempDir()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	fixtures.Version7(t, conn)
	for file, text := range map[string]string{secretKeyFile: fixtures.Version7SecretKey, adminPasswordFile: fixtures.Version7Password} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PX360_DATABASE_URL=" + url, "PX360_DATA_DIR=" + dir, "PX360_ADDR=127.0.0.1:0"}
}

// The data of the last release's `up`, opened by this one's: secret key, password and database are as it left them.
func TestUpAtVersion7(t *testing.T) {
	t.Parallel()
	up := start(t, version7(t), "", "up")
	server := up.waitFor(up.stdout, `API +(http://127\.0\.0\.1:\d+)/api/`)
	wantText(t, up.stdout.String(), "user admin, password as in ")
	ready, err := http.Get(server + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	ready.Body.Close()
	if ready.StatusCode != http.StatusOK {
		t.Errorf("/readyz answers %s", ready.Status)
	}

	api := connect(t, server, "admin", fixtures.Version7Password)
	for search, want := range map[string]string{"": "MRN-1 MRN-2", "احمد على": "MRN-1", "zahr mrn-2": "MRN-2", "ahmad zahrani": ""} {
		list, err := api.ListPatients(t.Context(), &client.ListPatientsParams{Search: &search})
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, patient := range list.Results {
			found = append(found, patient.MRN)
		}
		slices.Sort(found)
		if got := strings.Join(found, " "); got != want {
			t.Errorf("patients found by %q: %q, want %q", search, got, want)
		}
	}

	sender, err := client.New(server, client.WithAPIKey(fixtures.Version7APIKey))
	if err != nil {
		t.Fatal(err)
	}
	again := "his-2" // waits in the queue since the last release
	sent, err := sender.CreateEvent(t.Context(), client.EventCreate{
		SourceSystem: "his", EventCode: "DISCHARGED", EncounterID: "ENC-1", SourceEventID: &again,
	})
	if err != nil || !sent.Duplicate {
		t.Fatalf("want a duplicate, got %v: %v", sent, err)
	}
	dbtest.Eventually(t, "the waiting event's outcome", func() bool {
		event, err := api.RetrieveEvent(t.Context(), sent.ID)
		if err != nil {
			t.Fatal(err)
		}
		return event.Status == client.EventStatusProcessed
	})
}

// up must not leave a password file that no user logs in with.
// Twice, because what is there stays, and then jdoe of the examples logs in.
func TestDemoExamples(t *testing.T) {
	t.Parallel()
	environ := []string{"PX360_DATABASE_URL=" + dbtest.New(t)}
	for range 2 {
		wantText(t, run(t, 0, environ, "", "demo", "--examples").stdout.String(), "the objects of the examples are there")
	}
	run(t, 0, environ, "correct-horse-battery\n", "user", "set-password", "jdoe")
	up := start(t, append(environ, "PX360_DATA_DIR="+t.TempDir(), "PX360_ADDR=127.0.0.1:0"), "", "up")
	connect(t, up.waitFor(up.stdout, `API +(http://127\.0\.0\.1:\d+)/api/`), "jdoe", "correct-horse-battery")
}

func TestUpWithAnotherAdmin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	environ := []string{"PX360_DATABASE_URL=" + dbtest.New(t), "PX360_DATA_DIR=" + dir, "PX360_ADDR=127.0.0.1:0"}
	run(t, 0, environ, "correct-horse-battery\n", "user", "create-admin", "sara")
	up := start(t, environ, "", "up")
	up.waitFor(up.stdout, `(as a PX Admin; .px360 user set-password NAME. helps)`)
	if _, err := os.Stat(filepath.Join(dir, adminPasswordFile)); err == nil {
		t.Error("there is a password file, but no user has that password")
	}
}

func TestConcurrentUps(t *testing.T) {
	t.Parallel()
	environ := []string{"PX360_DATABASE_URL=" + dbtest.NewBlank(t), "PX360_DATA_DIR=" + t.TempDir(), "PX360_ADDR=127.0.0.1:0"}
	one, other := start(t, environ, "", "up"), start(t, environ, "", "up")
	url := one.waitFor(one.stdout, `API +(http://127\.0\.0\.1:\d+)/api/`)
	other.waitFor(other.stdout, `(PX360 is running)`)
	kept, err := os.ReadFile(filepath.Join(environ[1][len("PX360_DATA_DIR="):], adminPasswordFile))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, url, "admin", strings.TrimSpace(string(kept)))
	address := strings.TrimPrefix(url, "http://")
	third := run(t, 1, append(environ, "PX360_ADDR="+address), "", "up")
	wantText(t, third.stderr.String(), address+" is in use, perhaps by another px360")
}

// up with the default configuration, which starts a private Postgres.
func TestUpWithPrivatePostgres(t *testing.T) {
	t.Parallel()
	// Not t.TempDir(): as root, Postgres runs as another user, who cannot enter its parents.
	dir, err := os.MkdirTemp("", "px360-up-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := localpg.Remove(filepath.Join(dir, "postgres")); err != nil {
			t.Error(err)
		}
	})
	environ := []string{"PX360_DATA_DIR=" + dir, "PX360_ADDR=127.0.0.1:0", "PX360_ADMIN_USERNAME=sara", "PX360_ADMIN_PASSWORD=correct-horse-battery"}
	up := start(t, environ, "", "up")
	url := up.waitFor(up.stdout, `API +(http://127\.0\.0\.1:\d+)/api/`)
	wantText(t, up.stdout.String(), "user sara, password as in PX360_ADMIN_PASSWORD")
	connect(t, url, "sara", "correct-horse-battery")

	run(t, 0, environ, "other-horse-battery", "user", "set-password", "sara") // joins the running Postgres
	connect(t, url, "sara", "other-horse-battery")
	if code := up.stopAndWait(); code != 0 {
		t.Errorf("up exited with code %d", code)
	}
	run(t, 0, environ, "third-horse-battery", "user", "set-password", "sara") // starts the Postgres
}

// The commands of a production system: migrate, then serve and work as separate processes.
func TestServeAndWork(t *testing.T) {
	t.Parallel()
	environ := []string{
		"PX360_DATABASE_URL=" + dbtest.NewBlank(t), "PX360_ADDR=127.0.0.1:0", "PX360_SECRET_KEY=" + newSecretKey(),
		"PX360_DATA_DIR=" + t.TempDir(),
	}
	for _, command := range []string{"serve", "work"} {
		wantText(t, run(t, 1, environ, "", command).stderr.String(), "run `px360 migrate`")
	}
	wantText(t, run(t, 0, environ, "", "migrate").stdout.String(), "up to date")
	run(t, 0, environ, "", "migrate")
	run(t, 0, environ, "correct-horse-battery\n", "user", "create-admin", "sara")

	serve, work := start(t, environ, "", "serve"), start(t, environ, "", "work")
	url := "http://" + serve.waitFor(serve.stderr, `"msg":"serving","addr":"([^"]+)"`)
	work.waitFor(work.stderr, `"msg":"(working)"`)
	wantText(t, serve.stderr.String(), "PX360_PUBLIC_URL is not set")
	api := connect(t, url, "sara", "correct-horse-battery")
	sent, err := api.CreateEvent(t.Context(), client.EventCreate{SourceSystem: "his", EventCode: "X", EncounterID: "E1"})
	if err != nil || sent.Duplicate {
		t.Fatalf("%v: %+v", err, sent)
	}
	dbtest.Eventually(t, "the event's outcome", func() bool {
		event, err := api.RetrieveEvent(t.Context(), sent.ID)
		if err != nil {
			t.Fatal(err)
		}
		return event.Status == client.EventStatusIgnored && event.Reason == "no_journey"
	})
	endpoint := client.WebhookEndpointCreate{URL: "https://partner.example/", Events: []client.WebhookEventType{client.WebhookEventTypeSLABreached}}
	if _, err := api.CreateWebhookEndpoint(t.Context(), endpoint); err != nil {
		t.Fatal(err)
	}
	keyless := slices.DeleteFunc(slices.Clone(environ), func(variable string) bool { return strings.HasPrefix(variable, "PX360_SECRET_KEY=") })
	wantText(t, run(t, 1, keyless, "", "work").stderr.String(), "PX360_SECRET_KEY is not set: there are webhook endpoints")
	for _, r := range []*process{serve, work} {
		if code := r.stopAndWait(); code != 0 {
			t.Errorf("exited with code %d:\n%s", code, r.stderr)
		}
		wantJSONLines(t, r.stderr.String())
	}
}

func wantJSONLines(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a log line is not JSON: %s", line)
		}
	}
}

func TestMigrateDown(t *testing.T) {
	t.Parallel()
	environ := []string{"PX360_DATABASE_URL=" + dbtest.New(t)}
	wantText(t, run(t, 1, environ, "", "migrate", "--down").stderr.String(), "add --delete-all-data")
	run(t, 0, environ, "", "migrate", "--down", "--delete-all-data")
	wantText(t, run(t, 1, environ, "", "work").stderr.String(), "run `px360 migrate`")
}

func TestRunTasks(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	waits := func(ctx context.Context) error { <-ctx.Done(); return nil }
	fails := func(context.Context) error { return lost }
	if err := runTasks(t.Context(), noop, waits, fails); !errors.Is(err, lost) {
		t.Errorf("a task failed, and runTasks returned %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := runTasks(ctx, noop, waits); err != nil {
		t.Errorf("cancelled tasks ended with %v", err)
	}
}

func TestLoadOrCreateSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	first, created, err := loadOrCreateSecret(path, newSecretKey)
	if err != nil || !created || len(first) < server.MinSecretKeyBytes {
		t.Fatal(len(first), created, err)
	}
	again, created, err := loadOrCreateSecret(path, newSecretKey)
	if err != nil || created || again != first {
		t.Errorf("the second call: created is %v, error %v, same secret %v", created, err, again == first)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("temporary files are left: %v", files)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := loadOrCreateSecret(path, newSecretKey); err == nil || !strings.Contains(err.Error(), "is empty: delete it") {
		t.Errorf("an empty file: %v", err)
	}
}

func TestSecretCreatedConcurrently(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	var mu sync.Mutex
	var wait sync.WaitGroup
	secrets, creators := map[secret]bool{}, 0
	for range 20 {
		wait.Go(func() {
			text, created, err := loadOrCreateSecret(path, newPassword)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			secrets[text] = true
			if created {
				creators++
			}
		})
	}
	wait.Wait()
	if len(secrets) != 1 || creators != 1 {
		t.Errorf("%d secrets by %d creators", len(secrets), creators)
	}
}
