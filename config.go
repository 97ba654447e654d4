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
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/worker"
	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/surveys"
)

// Config is the whole configuration, read once from environment variables. Its tags are also the
// documentation: `px360 help` prints them as a table.
//
// env is the variable, without its prefix. unset says in words what an unset variable means; without
// it, the table shows the value in defaultConfig.
type Config struct {
	DatabaseURL secret `env:"DATABASE_URL" unset:"up: a private Postgres" help:"postgres://user:password@host/database; several hosts for a primary with standbys: the one that takes writes, unless target_session_attrs says otherwise"`
	Addr        string `env:"ADDR" unset:"127.0.0.1:8000" help:"where to listen; work, which only answers health checks there, on port 8001"`
	PublicURL   string `env:"PUBLIC_URL" unset:"http://localhost:<port>" help:"how clients and patients reach the API: the base of links to other pages and to surveys; required by work once a channel is configured"`
	DataDir     string `env:"DATA_DIR" unset:"~/.local/share/px360; root: /var/lib/px360" help:"where up keeps its private Postgres, secret key and first password"`

	SecretKey         secret `env:"SECRET_KEY" unset:"up: made once" help:"signs tokens and API keys, makes links to surveys and seals the secrets of webhooks; at least 32 bytes, required by serve, and by work once a channel is configured or there is a webhook endpoint"`
	SecretKeyPrevious secret `env:"SECRET_KEY_PREVIOUS" help:"the key before this one: what it signed and sealed, and its links, stay valid"`
	AdminUsername     string `env:"ADMIN_USERNAME" help:"the first PX Admin, made by up; the demo logs in as this user"`
	AdminPassword     secret `env:"ADMIN_PASSWORD" unset:"up: made once" help:"the password of the first PX Admin"`

	AccessLifetime   time.Duration  `env:"ACCESS_TOKEN_LIFETIME" help:"how long an access token is valid"`
	RefreshLifetime  time.Duration  `env:"REFRESH_TOKEN_LIFETIME" help:"how long a refresh token is valid"`
	RotateRefresh    bool           `env:"ROTATE_REFRESH_TOKENS" help:"true: a refresh token can be used once, and the answer has the next one; reuse revokes all tokens of its user"`
	RateLimits       rateLimits     `env:"RATE_LIMITS" unset:"serve: enforce; up: report" help:"enforce, report (only log and count) or off"`
	LimitEvents      limits.Limit   `env:"RATE_LIMIT_EVENTS" help:"creation of events, by hospital and source system; a source system has ten times that over all hospitals, and a sender over all source systems"`
	LimitEventBytes  limits.Limit   `env:"RATE_LIMIT_EVENT_BYTES" help:"bytes of the bodies of events: as many at once, and what that refills; by hospital and source system, ten times that over all hospitals; at least 5242880"`
	LimitAuth        limits.Limit   `env:"RATE_LIMIT_AUTH" help:"token operations, wrong API keys, and wrong links to surveys, by client address"`
	LimitUser        limits.Limit   `env:"RATE_LIMIT_USER" help:"everything else, by user"`
	LongestLoginWait time.Duration  `env:"LONGEST_LOGIN_WAIT" help:"how long a login waits at most after wrong passwords for the same name; 0, which lets anyone guess, is for tests"`
	TrustedProxies   []netip.Prefix `env:"TRUSTED_PROXIES" unset:"none" help:"networks whose X-Forwarded-For is trusted, such as 10.0.0.0/8,192.0.2.7"`

	Workers         int                 `env:"WORKERS" help:"batches of events that a process works on at a time"`
	MaxConnections  int32               `env:"MAX_CONNECTIONS" help:"connections to the database that a process may have"`
	MaxInFlight     int                 `env:"MAX_IN_FLIGHT" help:"requests that a process answers at once; a quarter of them is reserved for events"`
	Connections     int                 `env:"CONNECTIONS_PER_ADDRESS" help:"connections that one client address may have open, trusted proxies excepted"`
	MaxPayload      int                 `env:"MAX_PAYLOAD_BYTES" help:"bytes that the payload_json of an event may have, from 65536 to 1048576"`
	EventSenders    server.EventSenders `env:"EVENT_SENDERS" help:"who may send events, beside API keys: any (every user of a hospital) or staff (PX Admins, Hospital Admins and PX Coordinators)"`
	EventRetention  time.Duration       `env:"EVENT_RETENTION" unset:"for ever" help:"how long events are kept once they are processed, failed or ignored, such as 17520h; for as long a repeat of their source_event_id is known. Set it for every work"`
	AuditRetention  time.Duration       `env:"AUDIT_RETENTION" unset:"for ever" help:"how long entries of the audit log are kept"`
	SurveyMaxAge    time.Duration       `env:"SURVEY_MAX_AGE" help:"surveys are not sent if the completion of their stage is received later than this, or if they are due longer ago"`
	SMTPURL         secret              `env:"SMTP_URL" unset:"no email" help:"the mail server: smtp://user:password@host:587, with STARTTLS unless it ends in ?starttls=off, or smtps://"`
	EmailFrom       string              `env:"EMAIL_FROM" help:"the address that email comes from; required with PX360_SMTP_URL"`
	SMSURL          secret              `env:"SMS_URL" unset:"no SMS" help:"where the SMS gateway is asked; as PX360_SMS_BODY a template of Go's text/template with .To, .Text, .ID, .Sender, json and urlquery"`
	SMSMethod       string              `env:"SMS_METHOD" help:"the HTTP method of that request"`
	SMSHeaders      secret              `env:"SMS_HEADERS" help:"its headers, as a JSON object such as {\"Authorization\": \"Bearer …\"}"`
	SMSBody         secret              `env:"SMS_BODY" unset:"a JSON object of to, text and id" help:"its body"`
	SMSTo           string              `env:"SMS_TO" help:"how numbers are written: e164 (+966…), or digits for gateways that refuse the plus sign"`
	SMSSender       string              `env:"SMS_SENDER" help:"the .Sender of the templates"`
	SMSSuccess      string              `env:"SMS_SUCCESS" unset:"any 2xx" help:"a JSON pointer to what must be true in the answer, such as /success, or to what must be a text: /status=OK"`
	SMSProvider     string              `env:"SMS_PROVIDER_ID" help:"a JSON pointer to what the gateway calls the message"`
	WebhookNetworks []netip.Prefix      `env:"WEBHOOK_ALLOW" unset:"none" help:"inner networks, such as 10.0.0.0/8, that webhook endpoints may be in, there also without TLS"`
	PhoneRegion     string              `env:"PHONE_REGION" help:"the country of phone numbers without one"`

	MetricsAddr string     `env:"METRICS_ADDR" unset:"off" help:"where to serve Prometheus metrics and pprof; keep it private"`
	LogLevel    slog.Level `env:"LOG_LEVEL" help:"debug, info, warn or error"`
}

// prefix of every variable.
const prefix = "PX360_"

// testPrefix begins the variables of the tests, which the program ignores.
const testPrefix = prefix + "TEST_"

// defaultConfig is the configuration if no variable is set. What a package takes as an option has the
// default of that package.
func defaultConfig() Config {
	s, w, q := server.DefaultOptions(), worker.DefaultOptions(), queries.DefaultOptions()
	return Config{
		AdminUsername:    "admin",
		AccessLifetime:   s.AccessLifetime,
		RefreshLifetime:  s.RefreshLifetime,
		RotateRefresh:    s.RotateRefresh,
		LimitEvents:      s.Limits.Events,
		LimitEventBytes:  s.Limits.EventBytes,
		LimitAuth:        s.Limits.Auth,
		LimitUser:        s.Limits.User,
		Workers:          w.Concurrency,
		MaxConnections:   q.MaxConnections,
		MaxInFlight:      s.MaxInFlight,
		Connections:      s.Connections,
		MaxPayload:       s.MaxPayload,
		EventSenders:     s.EventSenders,
		LongestLoginWait: s.LongestLoginWait,
		SurveyMaxAge:     surveys.DefaultOptions().MaxAge,
		SMSMethod:        "POST",
		SMSBody:          `{"to": {{json .To}}, "text": {{json .Text}}, "id": {{json .ID}}}`,
		SMSTo:            "e164",
		PhoneRegion:      "SA",
		LogLevel:         slog.LevelInfo,
	}
}

// secret is a string that is redacted wherever it is printed or logged.
type secret string

func (s secret) String() string {
	if s == "" {
		return ""
	}
	return "(set)"
}

// Format redacts it for every verb of fmt, also those that do not call String.
func (s secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText redacts it in JSON.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// rateLimits is what happens to requests over the limit; empty means the default of the command.
type rateLimits string

// UnmarshalText reads one of the three words.
func (r *rateLimits) UnmarshalText(text []byte) error {
	*r = rateLimits(text)
	if !slices.Contains([]string{limits.ModeEnforce, limits.ModeReport, limits.ModeOff}, string(text)) {
		return fmt.Errorf("%q is neither enforce, report nor off", text)
	}
	return nil
}

// readConfig reads the configuration, and returns warnings about unknown variables.
func readConfig(environ []string) (Config, []string, error) {
	config := defaultConfig()
	variables := env.ToMap(environ)
	err := env.ParseWithOptions(&config, env.Options{
		Environment: variables,
		Prefix:      prefix,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[[]netip.Prefix](): parseNetworks},
	})
	if err != nil {
		return Config{}, nil, errors.New(explainParse(err))
	}
	if err := config.validate(); err != nil {
		return Config{}, nil, err
	}
	config.DatabaseURL = onPrimary(config.DatabaseURL)
	if config.DataDir == "" {
		config.DataDir = defaultDataDir(variables, os.Geteuid() == 0)
	}
	return config, unknownVariables(variables), nil
}

// validate refuses what the packages would refuse, by the name of the variable.
func (c Config) validate() error {
	switch {
	case c.Workers < 1 || int(c.MaxConnections) < c.Workers+2:
		return fmt.Errorf("%sWORKERS must be at least 1, and %sMAX_CONNECTIONS at least 2 more than that", prefix, prefix)
	case c.LongestLoginWait < 0 || c.LongestLoginWait > limits.LongestLoginWait:
		return fmt.Errorf("%sLONGEST_LOGIN_WAIT must be from 0s to %s", prefix, limits.LongestLoginWait)
	case c.MaxInFlight < 1:
		return fmt.Errorf("%sMAX_IN_FLIGHT must be at least 1", prefix)
	case c.EventRetention != 0 && c.EventRetention < worker.MinRetention, c.AuditRetention != 0 && c.AuditRetention < worker.MinRetention:
		return fmt.Errorf("%sEVENT_RETENTION and %sAUDIT_RETENTION must be at least %v, or not set", prefix, prefix, worker.MinRetention)
	case c.SurveyMaxAge <= 0:
		return fmt.Errorf("%sSURVEY_MAX_AGE must be more than 0s", prefix)
	case c.Connections < 1:
		return fmt.Errorf("%sCONNECTIONS_PER_ADDRESS must be at least 1", prefix)
	case c.MaxPayload < server.MinMaxPayload || c.MaxPayload > server.MaxMaxPayload:
		return fmt.Errorf("%sMAX_PAYLOAD_BYTES must be from %d to %d", prefix, server.MinMaxPayload, server.MaxMaxPayload)
	case c.AccessLifetime < time.Second || c.RefreshLifetime < time.Second:
		return fmt.Errorf("%sACCESS_TOKEN_LIFETIME and %sREFRESH_TOKEN_LIFETIME must be at least 1s", prefix, prefix)
	}
	for name, key := range map[string]secret{"SECRET_KEY": c.SecretKey, "SECRET_KEY_PREVIOUS": c.SecretKeyPrevious} {
		if key != "" && len(key) < server.MinSecretKeyBytes {
			return fmt.Errorf("%s%s has %d bytes and needs %d; `openssl rand -base64 48` makes one", prefix, name, len(key), server.MinSecretKeyBytes)
		}
	}
	return nil
}

// listConnections is how many of a process's connections are for lists alone: a quarter, of those that its worker can spare.
func (c Config) listConnections() int32 {
	return min(c.MaxConnections/4, c.MaxConnections-int32(c.Workers)-2)
}

// channels are the ways to reach patients that are configured.
func (c Config) channels() (map[string]channels.Channel, error) {
	configured := map[string]channels.Channel{}
	if c.SMTPURL != "" {
		email, err := channels.NewEmail(string(c.SMTPURL), c.EmailFrom)
		if err != nil {
			return nil, fmt.Errorf("%sSMTP_URL and %sEMAIL_FROM: %w", prefix, prefix, err)
		}
		configured[channels.Email] = email
	}
	if c.SMSURL != "" {
		sms, err := channels.NewSMS(channels.Gateway{
			URL: string(c.SMSURL), Method: c.SMSMethod, Headers: string(c.SMSHeaders), Body: string(c.SMSBody), To: c.SMSTo,
			Sender: c.SMSSender, Success: c.SMSSuccess, ProviderID: c.SMSProvider, Region: c.PhoneRegion,
		})
		if err != nil {
			return nil, fmt.Errorf("%sSMS_…: %w", prefix, err)
		}
		configured[channels.SMS] = sms
	}
	return configured, nil
}

// onPrimary is the URL with target_session_attrs=read-write, if it names several hosts and does not state it: whoever
// connects to a standby, which answers first while the primary restarts, would stay there. A URL that is none is left for
// whoever opens it to refuse.
func onPrimary(databaseURL secret) secret {
	const name, value = "target_session_attrs", "read-write"
	config, err := pgconn.ParseConfig(string(databaseURL))
	if err != nil || strings.Contains(string(databaseURL), name) || os.Getenv("PGTARGETSESSIONATTRS") != "" {
		return databaseURL
	}
	several := slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool {
		return f.Host != config.Host || f.Port != config.Port // else the same host, without TLS
	})
	separator := " "
	if strings.Contains(string(databaseURL), "://") {
		separator = "?"
		if strings.Contains(string(databaseURL), "?") {
			separator = "&"
		}
	}
	if !several {
		return databaseURL
	}
	return databaseURL + secret(separator+name+"="+value)
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

// explainParse names the variables, where the library names the fields of the struct.
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

// defaultDataDir follows the XDG base directory specification for a user, and the FHS for root.
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
	name, field, unset, help string // unset: what it means that it is not set
}

// variables lists what Config reads, in its order.
func variables() []variable {
	var list []variable
	for field, value := range reflect.ValueOf(defaultConfig()).Fields() {
		list = append(list, variable{
			name:  prefix + field.Tag.Get("env"),
			field: field.Name,
			unset: cmp.Or(field.Tag.Get("unset"), asVariable(value)),
			help:  field.Tag.Get("help"),
		})
	}
	return list
}

// asVariable writes a value as one would set it in a variable.
func asVariable(value reflect.Value) string {
	text := fmt.Sprint(value.Interface())
	switch value.Interface().(type) {
	case time.Duration: // 24h rather than 24h0m0s
		if short, found := strings.CutSuffix(text, "m0s"); found {
			text = short + "m"
		}
		if short, found := strings.CutSuffix(text, "h0m"); found {
			text = short + "h"
		}
	case slog.Level:
		text = strings.ToLower(text)
	}
	return text
}

// writeVariables writes the table of variables.
func writeVariables(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "Environment variables:\n  NAME\tIF UNSET\tMEANING\n")
	for _, v := range variables() {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, v.unset, v.help)
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

// unknownVariables warns of variables that are not read, which are usually misspelt.
func unknownVariables(environment map[string]string) []string {
	var known, warnings []string
	for _, v := range variables() {
		known = append(known, v.name)
	}
	for name := range environment {
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, testPrefix) || slices.Contains(known, name) {
			continue
		}
		nearest := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(levenshtein(name, a), levenshtein(name, b)) })
		warning := fmt.Sprintf("%s is no variable of this program and is ignored", name)
		if levenshtein(name, nearest) <= (len(name)-len(prefix))*2/3 {
			warning += fmt.Sprintf("; do you mean %s?", nearest)
		} else {
			warning += "; `px360 help` lists those there are"
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return warnings
}

// levenshtein is the edit distance: the number of letters to insert, delete or replace to make a into b.
func levenshtein(a, b string) int {
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
