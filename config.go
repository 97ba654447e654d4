package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/px360/px360/server"
)

// Config is everything that can be configured, by environment variables alone. It is read once. Its
// tags are also the documentation: `px360 help` prints them as a table.
//
// env is the variable, without its prefix; envDefault the default; otherwise says in words what an
// unset variable means where that is no constant.
type Config struct {
	DatabaseURL secret `env:"DATABASE_URL" otherwise:"up: a private Postgres" help:"postgres://user:password@host/database; several hosts for a primary with standbys"`
	Addr        string `env:"ADDR" otherwise:"127.0.0.1:8000" help:"where to listen; work, which only tells its health there, on port 8001"`
	PublicURL   string `env:"PUBLIC_URL" otherwise:"http://localhost:<port>" help:"how clients reach the API: the base of links to other pages"`
	DataDir     string `env:"DATA_DIR" otherwise:"~/.local/share/px360; root: /var/lib/px360" help:"where up keeps its private Postgres, secret key and first password"`

	SecretKey         secret `env:"SECRET_KEY" otherwise:"up: made once" help:"signs tokens and API keys; at least 32 bytes, required by serve"`
	SecretKeyPrevious secret `env:"SECRET_KEY_PREVIOUS" help:"the key before this one: what it signed stays good"`
	AdminUsername     string `env:"ADMIN_USERNAME" envDefault:"admin" help:"the first PX Admin, made by up; the demo logs in as this user"`
	AdminPassword     secret `env:"ADMIN_PASSWORD" otherwise:"up: made once" help:"the password of the first PX Admin"`

	AccessLifetime  time.Duration  `env:"ACCESS_TOKEN_LIFETIME" envDefault:"30m" help:"how long an access token is good"`
	RefreshLifetime time.Duration  `env:"REFRESH_TOKEN_LIFETIME" envDefault:"24h" help:"how long a refresh token is good"`
	RotateRefresh   bool           `env:"ROTATE_REFRESH_TOKENS" envDefault:"false" help:"true: a refresh token is good once and is answered with the next; one that is used again ends all tokens of its user"`
	RateLimits      rateLimits     `env:"RATE_LIMITS" otherwise:"serve: enforce; up: report" help:"enforce, report (only log and count) or off"`
	LimitEvents     server.Limit   `env:"RATE_LIMIT_EVENTS" envDefault:"1000/h" help:"creation of events, by source system; a sender has ten times that over all sources"`
	LimitAuth       server.Limit   `env:"RATE_LIMIT_AUTH" envDefault:"10/m" help:"token operations, by client address"`
	LimitUser       server.Limit   `env:"RATE_LIMIT_USER" envDefault:"100/m" help:"everything else, by user"`
	TrustedProxies  []netip.Prefix `env:"TRUSTED_PROXIES" otherwise:"none" help:"networks whose X-Forwarded-For is believed, such as 10.0.0.0/8,192.0.2.7"`

	Workers        int        `env:"WORKERS" envDefault:"2" help:"batches of events that a process works on at a time"`
	MaxConnections int32      `env:"MAX_CONNECTIONS" envDefault:"16" help:"connections to the database that a process may have"`
	MaxInFlight    int        `env:"MAX_IN_FLIGHT" envDefault:"256" help:"requests that a process answers at once; a quarter of them is kept for events"`
	MetricsAddr    string     `env:"METRICS_ADDR" otherwise:"off" help:"where to show Prometheus metrics and pprof; keep it private"`
	LogLevel       slog.Level `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
}

// prefix of every variable.
const prefix = "PX360_"

// testPrefix begins the variables of the tests, which are none of the program's business.
const testPrefix = prefix + "TEST_"

// minSecretKey is the length of an HS256 key below which guessing it is easier than it should be.
const minSecretKey = 32

// secret is a text that is never shown: whoever prints or logs it gets a word in its place.
type secret string

func (s secret) String() string {
	if s == "" {
		return ""
	}
	return "(set)"
}

// Format keeps every verb of fmt from showing it, those included that do not call String.
func (s secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText keeps JSON from showing it.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// rateLimits is what happens to requests over the limit; blank leaves it to the command.
type rateLimits string

const (
	enforceLimits rateLimits = "enforce"
	reportLimits  rateLimits = "report"
	limitsOff     rateLimits = "off"
)

// UnmarshalText reads one of the three words.
func (r *rateLimits) UnmarshalText(text []byte) error {
	*r = rateLimits(text)
	if !slices.Contains([]rateLimits{enforceLimits, reportLimits, limitsOff}, *r) {
		return fmt.Errorf("%q is neither enforce, report nor off", text)
	}
	return nil
}

// readConfig reads the configuration, and returns warnings about variables that mean nothing.
func readConfig(environ []string) (Config, []string, error) {
	var config Config
	variables := env.ToMap(environ)
	err := env.ParseWithOptions(&config, env.Options{
		Environment: variables,
		Prefix:      prefix,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[[]netip.Prefix](): parseNetworks},
	})
	if err != nil {
		return Config{}, nil, errors.New(explainParse(err))
	}
	if config.Workers < 1 || config.MaxConnections < int32(config.Workers)+2 {
		return Config{}, nil, fmt.Errorf("%sWORKERS must be at least 1, and %sMAX_CONNECTIONS at least 2 more than that", prefix, prefix)
	}
	if key := config.SecretKey; key != "" && len(key) < minSecretKey {
		return Config{}, nil, fmt.Errorf("%sSECRET_KEY has %d bytes and needs %d; `openssl rand -base64 48` makes one", prefix, len(key), minSecretKey)
	}
	if config.DataDir == "" {
		config.DataDir = defaultDataDir(variables, os.Geteuid() == 0)
	}
	return config, unknownVariables(variables), nil
}

// parseNetworks reads networks in CIDR notation, or single addresses, between commas.
func parseNetworks(text string) (any, error) {
	var networks []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if address, err := netip.ParseAddr(part); err == nil {
			networks = append(networks, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8", part)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// explainParse names the variables, where the library names the struct's fields.
func explainParse(err error) string {
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return err.Error()
	}
	var lines []string
	for _, err := range all.Errors {
		parse, ok := errors.AsType[env.ParseError](err)
		if !ok {
			lines = append(lines, err.Error())
			continue
		}
		why := parse.Err.Error()
		if number, ok := errors.AsType[*strconv.NumError](parse.Err); ok {
			why = fmt.Sprintf("%q is no number", number.Num)
		}
		for _, v := range variables() {
			if v.field == parse.Name {
				lines = append(lines, v.name+": "+why)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// defaultDataDir is where programs keep what they keep, for a user or for root.
func defaultDataDir(variables map[string]string, root bool) string {
	if root {
		return "/var/lib/px360"
	}
	if dir := variables["XDG_DATA_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "px360")
	}
	return filepath.Join(cmp.Or(variables["HOME"], variables["USERPROFILE"], "."), ".local", "share", "px360")
}

// variable is one line of the table.
type variable struct {
	name, field, otherwise, help string
}

// variables lists what Config reads, in its order.
func variables() []variable {
	var list []variable
	for field := range reflect.TypeFor[Config]().Fields() {
		list = append(list, variable{
			name:      prefix + field.Tag.Get("env"),
			field:     field.Name,
			otherwise: cmp.Or(field.Tag.Get("envDefault"), field.Tag.Get("otherwise")),
			help:      field.Tag.Get("help"),
		})
	}
	return list
}

// writeVariables writes the table of variables.
func writeVariables(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "Environment variables:\n  NAME\tIF UNSET\tMEANING\n")
	for _, v := range variables() {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, v.otherwise, v.help)
	}
	return table.Flush()
}

// LogValue shows what is configured; secrets show only whether they are set.
func (c Config) LogValue() slog.Value {
	var attributes []slog.Attr
	values := reflect.ValueOf(c)
	for i, v := range variables() {
		attributes = append(attributes, slog.String(v.name, fmt.Sprint(values.Field(i).Interface())))
	}
	return slog.GroupValue(attributes...)
}

// unknownVariables warns of names that nobody reads, which are typing errors more often than not.
func unknownVariables(environment map[string]string) []string {
	var known, warnings []string
	for _, v := range variables() {
		known = append(known, v.name)
	}
	for name := range environment {
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, testPrefix) || slices.Contains(known, name) {
			continue
		}
		nearest := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
		warning := fmt.Sprintf("%s is no variable of this program and is ignored", name)
		if distance(name, nearest) <= (len(name)-len(prefix))*2/3 {
			warning += fmt.Sprintf("; do you mean %s?", nearest)
		} else {
			warning += "; `px360 help` lists those there are"
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return warnings
}

// distance is the number of letters to insert, delete or replace to make a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
