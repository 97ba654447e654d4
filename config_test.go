package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/tests/dbtest"
)

func mustRead(t *testing.T, environ ...string) Config {
	t.Helper()
	config, warnings, err := readConfig(environ)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return config
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	config := mustRead(t, "HOME=/home/sara", "PATH=/bin", "PX360_LOG_LEVEL=", "PX360_WORKERS=", "PX360_RATE_LIMIT_USER=", "PX360_TEST_ANYTHING=1")
	if config.AdminUsername != "admin" || config.AccessLifetime != 30*time.Minute || config.RefreshLifetime != 24*time.Hour ||
		config.Workers != 2 || config.MaxConnections != 16 || config.MaxInFlight != 256 || config.LogLevel != slog.LevelInfo {
		t.Errorf("got %+v", config)
	}
	hour, minute := time.Hour, time.Minute
	if config.LimitEvents != (limits.Limit{Quota: 1000, Window: hour}) || config.LimitAuth != (limits.Limit{Quota: 10, Window: minute}) ||
		config.LimitUser != (limits.Limit{Quota: 100, Window: minute}) || config.LimitEventBytes != (limits.Limit{Quota: 100_000_000, Window: hour}) {
		t.Errorf("limits %v, %v, %v", config.LimitEvents, config.LimitAuth, config.LimitUser)
	}
	if config.EventSenders != "any" {
		t.Errorf("events by %s", config.EventSenders)
	}
	if config.Addr != "" || config.RateLimits != "" || config.MetricsAddr != "" || config.TrustedProxies != nil {
		t.Errorf("a setting without a default has a value: %+v", config)
	}
}

// Several hosts mean the one that takes writes, unless the URL says otherwise.
func TestDatabaseURLOnPrimary(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u:p@db/px360":                                 "",
		"postgres://u:p@db/px360?sslmode=prefer":                  "",
		"postgres://u:p@db1,db2/px360":                            "?target_session_attrs=read-write",
		"postgres://u:p@db1:5433,db2:5434/px360?sslmode=disable":  "&target_session_attrs=read-write",
		"postgres://u:p@db:5433,db:5434/px360":                    "?target_session_attrs=read-write",
		"postgres:///px360?host=/one,/other":                      "&target_session_attrs=read-write",
		"host=db1,db2 dbname=px360":                               " target_session_attrs=read-write",
		"postgres://u:p@db1,db2/px360?target_session_attrs=any":   "",
		"postgres://u:p@db1,db2/px360?target_session_attrs=wrong": "",
		"no URL": "",
	} {
		if got := string(mustRead(t, "PX360_DATABASE_URL="+url).DatabaseURL); got != url+want {
			t.Errorf("%s becomes %s", url, got)
		}
	}
}

func TestDefaultsAsVariables(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]any{
		"24h":    24 * time.Hour,
		"30m":    30 * time.Minute,
		"1h30m":  90 * time.Minute,
		"1m30s":  90 * time.Second,
		"10s":    10 * time.Second,
		"info":   slog.LevelInfo,
		"10/m":   limits.Limit{Quota: 10, Window: time.Minute},
		"false":  false,
		"(set)":  secret("hunter2"),
		"a name": "a name",
	} {
		if got := asVariable(reflect.ValueOf(value)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestConfigValues(t *testing.T) {
	t.Parallel()
	config := mustRead(t, "PX360_TRUSTED_PROXIES=10.1.2.3/8, 192.0.2.7,2001:db8::/32", "PX360_RATE_LIMITS=off",
		"PX360_LOG_LEVEL=WARN", "PX360_ACCESS_TOKEN_LIFETIME=90s", "PX360_DATA_DIR=/data")
	want := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32"),
	}
	if fmt.Sprint(config.TrustedProxies) != fmt.Sprint(want) {
		t.Errorf("trusted proxies are %v, want %v", config.TrustedProxies, want)
	}
	if config.RateLimits != limits.ModeOff || config.LogLevel != slog.LevelWarn || config.AccessLifetime != 90*time.Second || config.DataDir != "/data" {
		t.Errorf("got %+v", config)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"PX360_WORKERS=many":              `PX360_WORKERS: "many" is no number`,
		"PX360_WORKERS=0":                 "PX360_WORKERS must be at least 1",
		"PX360_MAX_CONNECTIONS=3":         "PX360_MAX_CONNECTIONS at least 2 more",
		"PX360_RATE_LIMITS=maybe":         `PX360_RATE_LIMITS: "maybe" is neither enforce, report nor off`,
		"PX360_CONNECTIONS_PER_ADDRESS=0": "PX360_CONNECTIONS_PER_ADDRESS must be at least 1",
		"PX360_EVENT_SENDERS=nurses":      `PX360_EVENT_SENDERS: the senders of events can be any or staff, not "nurses"`,
		"PX360_TRUSTED_PROXIES=localhost": `PX360_TRUSTED_PROXIES: "localhost" is no network such as 10.0.0.0/8`,
		"PX360_LOG_LEVEL=loud":            "PX360_LOG_LEVEL: ",
		"PX360_REFRESH_TOKEN_LIFETIME=1x": "PX360_REFRESH_TOKEN_LIFETIME: ",
		"PX360_LONGEST_LOGIN_WAIT=5s":     "PX360_LONGEST_LOGIN_WAIT must be from 0s to 4s",
		"PX360_EVENT_RETENTION=2 years":   "PX360_EVENT_RETENTION: ",
		"PX360_AUDIT_RETENTION=-1h":       "PX360_EVENT_RETENTION and PX360_AUDIT_RETENTION must be at least 24h",
		"PX360_EVENT_RETENTION=30m":       "PX360_EVENT_RETENTION and PX360_AUDIT_RETENTION must be at least 24h",
		"PX360_MAX_IN_FLIGHT=0":           "PX360_MAX_IN_FLIGHT must be at least 1",
		"PX360_MAX_PAYLOAD_BYTES=65535":   "PX360_MAX_PAYLOAD_BYTES must be from 65536 to 1048576",
		"PX360_ACCESS_TOKEN_LIFETIME=0s":  "PX360_ACCESS_TOKEN_LIFETIME and ",
		"PX360_SECRET_KEY=hunter2":        "PX360_SECRET_KEY has 7 bytes and needs 32",
		"PX360_SECRET_KEY_PREVIOUS=short": "PX360_SECRET_KEY_PREVIOUS has 5 bytes and needs 32",
	} {
		_, _, err := readConfig([]string{set})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", set, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("an error contains a secret: %v", err)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"PX360_DATABSE_URL": "do you mean PX360_DATABASE_URL?",
		"PX360_ADRESS":      "do you mean PX360_ADDR?",
		"PX360_ADMIN_USER":  "do you mean PX360_ADMIN_USERNAME?",
		"PX360_COFFEE":      "`px360 help` lists those there are",
	} {
		_, warnings, err := readConfig([]string{name + "=x"})
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], name+" ") || !strings.HasSuffix(warnings[0], want) {
			t.Errorf("%s: %v, %v", name, warnings, err)
		}
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	const hidden = "correct-horse-battery-staple-and-more"
	config := mustRead(t, "PX360_SECRET_KEY="+hidden, "PX360_SECRET_KEY_PREVIOUS="+hidden, "PX360_ADMIN_PASSWORD="+hidden,
		"PX360_DATABASE_URL=postgres://px360:"+hidden+"@db/px360", "PX360_LOG_LEVEL=debug")
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+verb+"\n", config, config.SecretKey)
	}
	_ = json.NewEncoder(&shown).Encode(config)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("configuration", "config", config, "key", config.SecretKey)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("configuration", "config", config, "key", config.SecretKey)
	if strings.Contains(shown.String(), "correct-horse") || strings.Contains(shown.String(), fmt.Sprintf("%x", "correct-horse")) {
		t.Errorf("the log contains a secret:\n%s", shown.String())
	}
	if !strings.Contains(shown.String(), `"PX360_SECRET_KEY":"(set)"`) || !strings.Contains(shown.String(), `"PX360_LOG_LEVEL":"DEBUG"`) {
		t.Errorf("the log lacks a setting:\n%s", shown.String())
	}
}

func TestVariablesAreDocumented(t *testing.T) {
	t.Parallel()
	for _, v := range variables() {
		if v.name == prefix || v.help == "" {
			t.Errorf("field %s of Config has no name or no help", v.field)
		}
	}
	var table strings.Builder
	if err := writeVariables(&table); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(table.String(), "\n"); lines != len(variables())+2 {
		t.Errorf("the table has %d lines:\n%s", lines, table.String())
	}
}

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	home, xdg := map[string]string{"HOME": "/home/sara"}, map[string]string{"HOME": "/home/sara", "XDG_DATA_HOME": "/data"}
	for want, got := range map[string]string{
		"/home/sara/.local/share/px360": defaultDataDir(home, false),
		"/data/px360":                   defaultDataDir(xdg, false),
		"/var/lib/px360":                defaultDataDir(xdg, true),
		".local/share/px360":            defaultDataDir(nil, false),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

var updateReadme = flag.Bool("update", false, "write the table of environment variables into the README")

// TestReadmeEnvironment compares the README's table of environment variables with the configuration.
func TestReadmeEnvironment(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	table.WriteString("| variable | if unset | meaning |\n|---|---|---|\n")
	for _, v := range variables() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", v.name, strings.ReplaceAll(v.unset, "<port>", "‹port›"), v.help)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- environment -->\n", "<!-- /environment -->"
	head, rest, _ := strings.Cut(string(text), begin)
	have, tail, found := strings.Cut(rest, end)
	if !found {
		t.Fatal("the README lacks the markers around the environment variables")
	}
	if *updateReadme {
		have = table.String()
		if err := os.WriteFile("README.md", []byte(head+begin+have+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have != table.String() {
		t.Errorf("the README's table is out of date; run `go test . -run ReadmeEnvironment -update`")
	}
}

// A worker that is to send surveys says what it lacks, and nothing secret; one without a channel warns and works.
func TestChannelConfiguration(t *testing.T) {
	t.Parallel()
	database := []string{"PX360_DATABASE_URL=" + dbtest.New(t), "PX360_ADDR=127.0.0.1:0"}
	key, public, mail := "PX360_SECRET_KEY="+newSecretKey(), "PX360_PUBLIC_URL=https://px.example", "PX360_SMTP_URL=smtp://px:hidden@mail.example"
	from := "PX360_EMAIL_FROM=px@hospital.example"
	for _, c := range []struct {
		want    string
		environ []string
	}{
		{"PX360_SECRET_KEY is not set: links in surveys", []string{mail, from, public}},
		{"PX360_PUBLIC_URL is not set: links in surveys", []string{mail, from, key}},
		{"PX360_SMTP_URL and PX360_EMAIL_FROM: ", []string{mail, key, public}},
		{"PX360_SMTP_URL and PX360_EMAIL_FROM: ", []string{"PX360_SMTP_URL=http://px:hidden@mail.example", from, key, public}},
		{"PX360_SMS_…: numbers can be written as e164 or digits", []string{"PX360_SMS_URL=https://px:hidden@sms.example", "PX360_SMS_TO=local", key, public}},
		{"PX360_SURVEY_MAX_AGE must be more than 0s", []string{"PX360_SURVEY_MAX_AGE=0s"}},
	} {
		said := run(t, 1, slices.Concat(database, c.environ), "", "work").stderr.String()
		wantText(t, said, c.want)
		if strings.Contains(said, "hidden") {
			t.Errorf("a secret is shown: %s", said)
		}
	}
	work := start(t, database, "", "work")
	work.waitFor(work.stderr, `(no channel is configured: surveys wait)`)
}

func TestLogHasNoControlCharacters(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	path := "/a\x00\x1b[31m\x7f\u0085\u009b2Jن…/"
	newJSONLog(&out, &slog.HandlerOptions{}).Info("request", "path", path)
	line := out.Bytes()
	for _, char := range string(line[:len(line)-1]) {
		if unicode.IsControl(char) {
			t.Errorf("%U is in %q", char, line)
		}
	}
	var logged struct{ Path string }
	if err := json.Unmarshal(line, &logged); err != nil || logged.Path != path {
		t.Errorf("%q is logged as %s (%v)", path, line, err)
	}
}
