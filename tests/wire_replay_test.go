package tests

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/px360/px360/tests/dbtest"
)

// A step is a request, a login, or a wait for the events of an encounter.
type step struct {
	Do                     string
	As, Username, Password string // of a login
	Encounter              string // of a wait
	Method, Path           string
	Auth                   json.RawMessage // whose token: a name; null: none; omitted: the admin's
	Headers                map[string]*string
	JSON                   json.RawMessage
	Form                   [][2]json.RawMessage
	Raw                    *string
	Save                   map[string]string // symbols: the path of each value in the answer
}

// A probe is a recorded request with the steps that prepare it.
type probe struct {
	step
	Name, Area, Kind, Basis string
	Reads                   bool
	Setup                   []step
	Ignore                  []string // members of the answer that are not compared
}

// A wireAnswer is the answer to a probe, with normalised values.
type wireAnswer struct {
	Method  string
	Status  int
	Headers map[string]string
	Body    any
	Error   string // why the probe could not be sent
}

// String is the text that the patterns of differences.json match.
func (a wireAnswer) String() string {
	if a.Error != "" {
		return a.Error
	}
	return fmt.Sprintf("%s %d %s", a.Method, a.Status, jsonText(a.Body))
}

// A replay sends probes to one server.
type replay struct {
	s         *system
	transport *http.Transport
	symbols   map[string]string // the values of {{name}}
}

func newReplay(s *system) *replay {
	r := &replay{s: s, transport: &http.Transport{DisableCompression: true}}
	s.t.Cleanup(r.transport.CloseIdleConnections)
	r.symbols = map[string]string{
		"tag": "q" + strconv.FormatInt(time.Now().UnixMicro()%(1<<40), 36), "base": s.url, "unknown": wireUnknownID,
		"admin_username": adminName, "admin_password": adminPassword,
	}
	return r
}

// answer sends a probe. A change that the recorded server refused and this one makes is undone, so
// that later probes find the fixtures unchanged.
func (r *replay) answer(p probe, recorded wireAnswer) wireAnswer {
	a := r.attempt(p.Name)
	for _, s := range p.Setup {
		if err := a.do(s); err != nil {
			return wireAnswer{Error: "not prepared: " + err.Error()}
		}
	}
	var undo func()
	if (p.Method == http.MethodPut || p.Method == http.MethodPatch) && recorded.Status >= 300 {
		undo = a.snapshot(p.Path)
	}
	res, body, err := a.send(p.step)
	if err != nil {
		return wireAnswer{Error: err.Error()}
	}
	if undo != nil && res.StatusCode < 300 {
		undo()
	}
	return a.normalised(p, res, body)
}

// An attempt is the execution of one probe, with symbols of its own.
type attempt struct {
	*replay
	local map[string]string
}

func (r *replay) attempt(name string) *attempt {
	return &attempt{r, map[string]string{"u": fmt.Sprintf("u%x", sha256.Sum256([]byte(name)))[:9]}}
}

// do executes a step of the preparation, which must succeed.
func (a *attempt) do(s step) error {
	switch s.Do {
	case "login":
		return a.login(s.As, a.text(s.Username), a.text(s.Password))
	case "wait":
		a.wait(a.text(s.Encounter))
		return nil
	}
	res, body, err := a.send(s)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s answered %d %s", s.Method, s.Path, res.StatusCode, body)
	}
	for name, path := range s.Save {
		a.local[name] = pick(body, path)
	}
	return nil
}

func (a *attempt) login(as, username, password string) error {
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		return err
	}
	res, got, err := a.send(step{Method: "POST", Path: "/api/auth/token/", Auth: json.RawMessage("null"), JSON: body})
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("login of %s answered %d %s", username, res.StatusCode, got)
	}
	a.symbols["access."+as], a.symbols["refresh."+as] = pick(got, "access"), pick(got, "refresh")
	return nil
}

// wait waits until no event of the encounter is pending.
func (a *attempt) wait(encounter string) {
	path := "/api/integrations/events/?page_size=1&status=pending&encounter_id=" + encounter
	dbtest.Eventually(a.s.t, "the events of "+encounter+" are processed", func() bool {
		_, body, err := a.send(step{Method: "GET", Path: path})
		must(a.s.t, err)
		return pick(body, "count") == "0"
	})
}

// snapshot returns a function that restores the object at path.
func (a *attempt) snapshot(path string) func() {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimSuffix(path, "/") + "/"
	res, body, err := a.send(step{Method: "GET", Path: path})
	if err != nil || res.StatusCode != http.StatusOK {
		return nil // the object does not exist
	}
	return func() {
		if err := a.do(step{Method: "PUT", Path: path, JSON: body}); err != nil {
			a.s.t.Fatalf("restore: %v", err)
		}
	}
}

// send makes the request of a step, byte for byte.
func (a *attempt) send(s step) (*http.Response, []byte, error) {
	body, contentType := a.body(s)
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequest(s.Method, a.s.url, reader)
	if err != nil {
		return nil, nil, err
	}
	path, query, _ := strings.Cut(escape(a.text(s.Path)), "?")
	req.URL.Opaque, req.URL.RawQuery = path, query // unchanged, not normalised
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if name := s.caller(); name != "" {
		req.Header.Set("Authorization", "Bearer "+a.value("access."+a.text(name)))
	}
	for name, value := range s.Headers {
		req.Header.Del(name)
		if value != nil {
			req.Header.Set(name, a.text(*value))
		}
	}
	res, err := a.transport.RoundTrip(req) // no redirects, no cookies
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res, got, err
}

func (s step) caller() string {
	switch string(s.Auth) {
	case "":
		return "admin"
	case "null":
		return ""
	}
	name, _ := strconv.Unquote(string(s.Auth))
	return name
}

func (a *attempt) body(s step) ([]byte, string) {
	switch {
	case s.JSON != nil:
		return []byte(jsonText(a.fill(decode(s.JSON)))), "application/json"
	case s.Raw != nil:
		return []byte(a.text(*s.Raw)), "application/json"
	case s.Form != nil:
		var pairs []string
		for _, pair := range s.Form {
			pairs = append(pairs, url.QueryEscape(fmt.Sprint(a.fill(decode(pair[0]))))+"="+url.QueryEscape(fmt.Sprint(a.fill(decode(pair[1])))))
		}
		return []byte(strings.Join(pairs, "&")), "application/x-www-form-urlencoded"
	}
	return nil, ""
}

var symbolPattern = regexp.MustCompile(`\{\{[\w.]+\}\}`)

// text replaces symbols by their values.
func (a *attempt) text(text string) string {
	return symbolPattern.ReplaceAllStringFunc(text, func(symbol string) string { return a.value(symbol[2 : len(symbol)-2]) })
}

func (a *attempt) value(name string) string {
	if base, ok := strings.CutSuffix(name, ".upper"); ok {
		return strings.ToUpper(a.value(base))
	}
	if base, ok := strings.CutSuffix(name, ".hex"); ok {
		return strings.ReplaceAll(a.value(base), "-", "")
	}
	value := cmp.Or(a.local[name], a.symbols[name])
	if value == "" {
		a.s.t.Fatalf("{{%s}} has no value", name)
	}
	return value
}

// fill replaces symbols in a whole body, and expands {"$repeat": …} and the like.
func (a *attempt) fill(data any) any {
	switch d := data.(type) {
	case string:
		return a.text(d)
	case []any:
		for i := range d {
			d[i] = a.fill(d[i])
		}
	case map[string]any:
		if unit, ok := d["$repeat"].([]any); ok {
			return strings.Repeat(a.text(unit[0].(string)), times(unit[1]))
		}
		if item, ok := d["$times"].([]any); ok {
			list := make([]any, times(item[1]))
			for i := range list {
				list[i] = a.fill(item[0])
			}
			return list
		}
		if depth, ok := d["$deep"]; ok {
			var nested any = []any{}
			for range times(depth) - 1 {
				nested = []any{nested}
			}
			return nested
		}
		filled := map[string]any{}
		for key, value := range d {
			filled[a.text(key)] = a.fill(value)
		}
		return filled
	}
	return data
}

func times(n any) int {
	count, _ := strconv.Atoi(fmt.Sprint(n))
	return count
}

// decode parses JSON and preserves the text of numbers: 3.0 is sent as 3.0.
func decode(text []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	_ = decoder.Decode(&value)
	return value
}

// jsonText writes JSON in canonical form: sorted keys, no spaces, minimal escapes.
func jsonText(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
	return strings.TrimSuffix(text.String(), "\n")
}

// pick is the value at a path such as results.0.id.
func pick(body []byte, path string) string {
	value := decode(body)
	for key := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			value = v[times(key)]
		}
	}
	return fmt.Sprint(value)
}

// escape percent-encodes the characters that a request line cannot contain. It leaves existing escapes
// unchanged, malformed ones too.
func escape(path string) string {
	var escaped strings.Builder
	for _, c := range []byte(path) {
		if c > ' ' && c < 0x7f && !strings.ContainsRune("\"#<>[\\]^`{|}$", rune(c)) {
			escaped.WriteByte(c)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}
