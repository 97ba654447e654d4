package tests

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

// The hostile tests send requests of attackers. Each must get exactly the answer in its table. For all
// of them: no 5xx, no internals in an answer or in the log, no secret in the log, no change of the
// database unless the request succeeds, and the server stays responsive.

// An attack is a request and the expected answer.
type attack struct {
	name   string
	method string // GET, or POST where there is a body
	path   string
	token  string // "": the PX Admin's; noToken: none
	body   any    // as system.send takes it
	header []string
	raw    string // raw bytes to send instead of the above

	status int
	want   string // the body; its prefix if this ends with an ellipsis
}

const noToken = "none"

// hostile is a clinic whose server is attacked.
type hostile struct {
	*clinic
	address string // of the server
	secrets []string
	before  string // fingerprint before the attack
	cases   atomic.Int64
}

func newHostile(t *testing.T) *hostile {
	c := startServer(t).clinic()
	h := &hostile{clinic: c, address: strings.TrimPrefix(c.url, "http://")}
	h.secret(password, adminPassword, signingKey)
	h.secret(strings.Split(c.px.access, ".")...)
	h.before = h.fingerprint()
	t.Cleanup(func() {
		h.checkLog(t)
		t.Logf("%d hostile cases", h.cases.Load())
	})
	return h
}

// secret adds texts that the log must not contain. Shorter texts occur by chance.
func (h *hostile) secret(texts ...string) {
	for _, text := range texts {
		if len(text) >= 8 {
			h.secrets = append(h.secrets, text)
		}
	}
}

// snapshot takes the current state of the database as the expected one.
func (h *hostile) snapshot() { h.before = h.fingerprint() }

func (h *hostile) run(t *testing.T, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			h.cases.Add(1)
			got := h.request(t, a)
			if got.status != a.status || !matches(a.want, got.body) {
				t.Errorf("answered %d %s\nwant %d %s", got.status, abridged(got.body), a.status, a.want)
			}
			h.checkAnswer(t, got, a)
			h.checkAlive(t)
			switch now := h.fingerprint(); {
			case got.status < 300:
				h.before = now
			case now != h.before:
				t.Error("the database changed")
				h.before = now
			}
		})
	}
}

func (h *hostile) request(t *testing.T, a attack) answer {
	t.Helper()
	if a.raw != "" {
		return h.sendRaw(t, a.raw, 1)[0]
	}
	method, token := a.method, a.token
	if method == "" {
		method = http.MethodGet
		if a.body != nil {
			method = http.MethodPost
		}
	}
	switch token {
	case "":
		token = h.px.access
	case noToken:
		token = ""
	}
	return h.send(method, a.path, token, a.body, a.header...)
}

// sendRaw writes text to a new connection and reads so many answers, or fewer if the server closes the
// connection.
func (h *hostile) sendRaw(t *testing.T, text string, answers int) []answer {
	t.Helper()
	conn, err := net.Dial("tcp", h.address)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	// A write error is no failure: the server may answer and close the connection before it has
	// read everything.
	go func() { _, _ = io.WriteString(conn, strings.ReplaceAll(text, "HOST", h.address)) }()
	reader := bufio.NewReader(conn)
	method, _, _ := strings.Cut(text, " ")
	var all []answer
	for range answers {
		res, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			break
		}
		body, err := io.ReadAll(res.Body)
		must(t, err)
		all = append(all, answer{res.StatusCode, res.Header, string(body)})
	}
	if len(all) == 0 {
		t.Fatal("the server closed the connection without an answer")
	}
	return all
}

// matches reports whether got is want, or begins with it if it ends with an ellipsis.
func matches(want, got string) bool {
	if start, found := strings.CutSuffix(want, "…"); found {
		return strings.HasPrefix(got, start)
	}
	return strings.TrimSuffix(got, "\n") == want
}

func abridged(text string) string {
	if len(text) > 600 {
		return text[:600] + fmt.Sprintf("… (%d bytes)", len(text))
	}
	return text
}

// internals matches implementation details: SQL, Postgres, stack traces, Go types, schema texts.
var internals = regexp.MustCompile(`(?i)sqlstate|\bpgx|\bpq:|postgres|goroutine |\.go:\d|runtime error|\bpanic|select .+ from |insert into |update .+ set |` +
	`delete from |syntax error|relation "|column "|violates|constraint|json: cannot|json\.|strconv|reflect\.|\*?echo\.|uuid\.uuid|map\[|interface \{|openapi|<nil>|%!|nil pointer|x-px360|additionalProperties`)

func (h *hostile) checkAnswer(t *testing.T, got answer, a attack) {
	t.Helper()
	if got.status >= 500 && a.status < 500 {
		t.Error("a server error")
	}
	if found := internals.FindString(got.body); found != "" {
		t.Errorf("the answer discloses internals: %q in %s", found, abridged(got.body))
	}
	if got.header.Get("X-Request-ID") == "" { // answered by net/http, not by the handler
		if ours := strings.HasPrefix(got.body, "{"); ours || got.status < 400 {
			t.Errorf("an answer of the handler without X-Request-ID: %v", got.header)
		}
		return
	}
	if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", got.header)
	}
	if got.body != "" && got.header.Get("Content-Type") != "application/json" {
		t.Errorf("the answer is of type %q", got.header.Get("Content-Type"))
	}
}

// checkAlive requires an answer to a health check within a second.
func (h *hostile) checkAlive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/healthz", nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("no answer to the health check: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %d", res.StatusCode)
	}
}

// checkLog fails for secrets and internals in the log.
func (h *hostile) checkLog(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(h.log.String()) {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes in the log: %s", len(line), abridged(line))
		}
		if found := internals.FindString(line); found != "" {
			t.Errorf("the log has internals: %q in %s", found, abridged(line))
		}
		for _, secret := range h.secrets {
			if strings.Contains(line, secret) {
				t.Errorf("a secret is in the log: %s", abridged(line))
			}
		}
	}
}

// fingerprint changes when a row of any table is changed, but not when it is locked.
func (h *hostile) fingerprint() string {
	h.t.Helper()
	tables := value[[]string](h.system, `SELECT array_agg(format('SELECT %L || count(*) || coalesce(md5(string_agg(xmin::text || t::text, '','' ORDER BY t::text)), '''') AS d FROM %s t', relname, oid::regclass))
		FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)
	return value[string](h.system, "SELECT md5(string_agg(d, ',' ORDER BY d)) FROM ("+strings.Join(tables, " UNION ALL ")+") x")
}

// Answers to many attacks.
const (
	bodyNoCredentials = `{"detail":"Authentication credentials were not provided."}`
	bodyNotFound      = `{"detail":"Not found."}`
	bodyForbidden     = `{"detail":"You do not have permission to perform this action."}`
	bodyNoLogin       = `{"detail":"No active account found with the given credentials"}`
	bodyBadKey        = `{"detail":"Invalid API key."}`
	bodyTooLarge      = `{"detail":"Request body too large."}`
	bodyParseError    = `{"detail":"JSON parse error - …`
	bodyInvalidPage   = `{"detail":"Invalid page."}`
	bodyUnreadable    = `{"detail":"The request body could not be read."}`
	bodyMalformed     = `400 Bad Request…` // by net/http, as plain text
	bodyList          = `{"count":…`
)

func fieldError(field, message string) string {
	return jsonText(fields{field: []string{message}})
}

// quoted is text as messages quote it.
func quoted(text string) string {
	if len(text) > 100 {
		return text[:100] + "…"
	}
	return text
}

func methodNotAllowed(method string) string {
	return jsonText(fields{"detail": fmt.Sprintf(`Method "%s" not allowed.`, quoted(method))})
}

func unsupportedMedia(mediaType string) string {
	return jsonText(fields{"detail": fmt.Sprintf(`Unsupported media type "%s" in request.`, mediaType)})
}

// apiKey creates a config of this hospital and returns its key.
func (h *hostile) apiKey(source string, hospital uuid.UUID, active bool) string {
	h.t.Helper()
	made := try(h.px.CreateIntegrationConfig(context.Background(), client.IntegrationConfigCreate{
		Name: unique("Config"), SourceSystem: source, Hospital: client.Value(hospital), IsActive: &active,
	})).ok(h.t)
	h.secret(made.APIKey)
	h.snapshot()
	return made.APIKey
}
