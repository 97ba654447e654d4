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
)

// The hostile tests send what no honest client would. Each attack must get exactly the answer that its
// table says, and for all of them holds: no 5xx, nothing of the machinery in an answer or in the log, no
// secret in the log, nothing changed unless it was a success, and the server is as alive as before.

// An attack is one request, or what goes for one, and the answer to it.
type attack struct {
	name   string
	method string // GET, or POST where there is a body
	path   string
	token  string // "": the PX Admin's; noToken: none
	body   any    // as system.send takes it
	header []string
	raw    string // sent as it is, in the place of all that

	status int
	want   string // the answer's body, or, before an ellipsis, how it begins
}

const noToken = "none"

// hostile is a clinic under attack.
type hostile struct {
	*clinic
	address string // of the server
	secrets []string
	before  string // what is in the database
	cases   atomic.Int64
}

func newHostile(t *testing.T) *hostile {
	c := startServer(t).clinic()
	h := &hostile{clinic: c, address: strings.TrimPrefix(c.url, "http://")}
	h.secret(password, adminPassword, signingKey)
	h.secret(strings.Split(c.px, ".")...)
	h.before = h.contents()
	t.Cleanup(func() {
		h.checkLog(t)
		t.Logf("%d hostile cases", h.cases.Load())
	})
	return h
}

// secret names what must not be in the log. What is too short to be a secret is in every log.
func (h *hostile) secret(texts ...string) {
	for _, text := range texts {
		if len(text) >= 8 {
			h.secrets = append(h.secrets, text)
		}
	}
}

// settle takes what is in the database now for what is to stay.
func (h *hostile) settle() { h.before = h.contents() }

func (h *hostile) run(t *testing.T, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			h.cases.Add(1)
			got := h.strike(t, a)
			if got.status != a.status || !matches(a.want, got.body) {
				t.Errorf("answered %d %s\nwant %d %s", got.status, abridged(got.body), a.status, a.want)
			}
			h.checkAnswer(t, got, a)
			h.checkAlive(t)
			switch now := h.contents(); {
			case got.status < 300:
				h.before = now
			case now != h.before:
				t.Error("the database changed")
				h.before = now
			}
		})
	}
}

func (h *hostile) strike(t *testing.T, a attack) answer {
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
		token = h.px
	case noToken:
		token = ""
	}
	return h.send(method, a.path, token, a.body, a.header...)
}

// sendRaw writes text to a connection of its own and reads so many answers; fewer if the server closes
// the connection before.
func (h *hostile) sendRaw(t *testing.T, text string, answers int) []answer {
	t.Helper()
	conn, err := net.Dial("tcp", h.address)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	// The server may answer and close before it has read everything: that is no failure to write.
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

// matches tells whether got is what want says.
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

// machinery is what an attacker would like to see: SQL, Postgres, stacks, Go's types, schema text.
var machinery = regexp.MustCompile(`(?i)sqlstate|\bpgx|\bpq:|postgres|goroutine |\.go:\d|runtime error|\bpanic|select .+ from |insert into |update .+ set |` +
	`delete from |syntax error|relation "|column "|violates|constraint|json: cannot|json\.|strconv|reflect\.|\*?echo\.|uuid\.uuid|map\[|interface \{|openapi|<nil>|%!|nil pointer|x-px360|additionalProperties`)

func (h *hostile) checkAnswer(t *testing.T, got answer, a attack) {
	t.Helper()
	if got.status >= 500 && a.status < 500 {
		t.Error("a server error")
	}
	if found := machinery.FindString(got.body); found != "" {
		t.Errorf("the answer tells of the machinery: %q in %s", found, abridged(got.body))
	}
	if got.header.Get("X-Request-ID") == "" { // answered by net/http, before there was a request
		if ours := strings.HasPrefix(got.body, "{"); ours || got.status < 400 {
			t.Errorf("an answer of ours without an X-Request-ID: %v", got.header)
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

// checkAlive asks for the server's health, which it must tell within a second whatever was sent before.
func (h *hostile) checkAlive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/healthz", nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("the server does not say that it is alive: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %d", res.StatusCode)
	}
}

// checkLog looks for secrets and machinery in all that was logged.
func (h *hostile) checkLog(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(h.log.String()) {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes in the log: %s", len(line), abridged(line))
		}
		if found := machinery.FindString(line); found != "" {
			t.Errorf("the log tells of the machinery: %q in %s", found, abridged(line))
		}
		for _, secret := range h.secrets {
			if strings.Contains(line, secret) {
				t.Errorf("a secret is in the log: %s", abridged(line))
			}
		}
	}
}

// contents is the same as long as no row of any table is another. Locks leave no trace in it.
func (h *hostile) contents() string {
	h.t.Helper()
	tables := value[[]string](h.system, `SELECT array_agg(format('SELECT %L || count(*) || coalesce(md5(string_agg(xmin::text || t::text, '','' ORDER BY t::text)), '''') AS d FROM %s t', relname, oid::regclass))
		FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)
	return value[string](h.system, "SELECT md5(string_agg(d, ',' ORDER BY d)) FROM ("+strings.Join(tables, " UNION ALL ")+") x")
}

// The answers that many attacks get.
const (
	saysNoCredentials = `{"detail":"Authentication credentials were not provided."}`
	saysNotFound      = `{"detail":"Not found."}`
	saysForbidden     = `{"detail":"You do not have permission to perform this action."}`
	saysNoLogin       = `{"detail":"No active account found with the given credentials"}`
	saysBadKey        = `{"detail":"Invalid API key."}`
	saysTooLarge      = `{"detail":"Request body too large."}`
	saysParseError    = `{"detail":"JSON parse error - …`
	saysInvalidPage   = `{"detail":"Invalid page."}`
	saysUnreadable    = `{"detail":"The request body could not be read."}`
	saysMalformed     = `400 Bad Request…` // net/http's own, as plain text
	saysList          = `{"count":…`
)

func saysField(field, message string) string {
	return jsonText(fields{field: []string{message}})
}

func saysMethod(method string) string {
	return jsonText(fields{"detail": fmt.Sprintf(`Method "%s" not allowed.`, method)})
}

func saysMedia(mediaType string) string {
	return jsonText(fields{"detail": fmt.Sprintf(`Unsupported media type "%s" in request.`, mediaType)})
}

// apiKey makes a config, of the clinic unless hospital says otherwise, and returns its key.
func (h *hostile) apiKey(source string, hospital uuid.UUID, active bool) string {
	h.t.Helper()
	a := h.expect(h.t, http.StatusCreated, "POST", "/api/integrations/configs/", h.px,
		fields{"name": unique("Config"), "source_system": source, "hospital": hospital, "is_active": active})
	key := a.json()["api_key"].(string)
	h.secret(key)
	h.settle()
	return key
}
