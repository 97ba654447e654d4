package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/mail"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/px360/px360/openapi"
	"github.com/px360/px360/server/problem"
)

// Requests are parsed before they are authenticated. The fuzz targets look for input that makes a parser panic, or that
// it accepts against the contract.

// nouns are those of the published document.
var nouns = []string{"hospital", "department", "user", "role", "physician", "patient", "survey_template", "journey_template",
	"stage_template", "journey_instance", "stage_instance", "survey_instance", "action", "webhook_endpoint", "webhook_message", "config"}

// published are the operations of the published document, by id.
var published = sync.OnceValue(func() map[string]*Operation {
	doc, err := openapi.Load()
	if err != nil {
		panic(err)
	}
	c, err := Compile(doc, Settings{Nouns: nouns, MaxPayload: 64 << 10, Policy: policy()})
	if err != nil {
		panic(err)
	}
	operations := map[string]*Operation{}
	for _, path := range c.Paths {
		for _, o := range path.Operations {
			operations[o.ID] = o
		}
	}
	return operations
})

// bodies are operations whose bodies have every kind of value among them.
var bodies = []string{"createUser", "createPatient", "updateStageTemplate", "createIntegrationConfig", "createEvent", "bulkCreateEvents", "createToken", "updateStageInstance"}

// seedBodies are valid bodies, and malformed ones that other parsers accept.
var seedBodies = []string{
	`{"username":"sara","email":"sara@hospital.sa","password":"Correct-horse-360!","password_confirm":"Correct-horse-360!","hospital":"0193C5A07A0070008000000000000001","is_active":true}`,
	`{"primary_hospital":"0193c5a0-7a00-7000-8000-000000000001","first_name":" Ahmad ","last_name":"علي","mrn":"1","date_of_birth":"1990-02-29","status":"active","Status":"x"}`,
	`{"order":3.0,"survey_delay_hours":1e1,"is_optional":false,"survey_template":null,"name":"a\u0000b"}`,
	`{"name":"HIS","source_system":"his","api_url":"https://his.hospital.sa:8443/a?b=c","config_json":{"a":[1e131071,-0,9007199254740993,1.10]}}`,
	`{"source_system":"his","event_code":"E","encounter_id":"1","payload_json":{"a":[{"b":"\ud83d\ude00"},null,true]}}`,
	`{"events":[{"source_system":"his","event_code":"E","encounter_id":"1"},{},5,null,[]]}`,
	`{"completed_at":"2025-12-14t09:00:00.123456789+03:00","status":"completed","physician":""}`,
	`{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, "\ufeff{}", `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `[]`, `null`, ``, ` `, `{} {}`, `{"a":1e999999999999}`,
	strings.Repeat("[", 70), `{"order":` + strings.Repeat("9", 500) + `}`,
}

func FuzzReadBody(f *testing.F) {
	for i, body := range seedBodies {
		f.Add(byte(i), []byte(body))
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		o := published()[bodies[int(which)%len(bodies)]]
		got, err := o.ReadBody(t.Context(), body)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		var value any
		if err := json.Unmarshal(got.JSON, &value); err != nil || !utf8.Valid(got.JSON) {
			t.Fatalf("%q is bound as %q, which is no JSON: %v", body, got.JSON, err)
		}
		onlyKnown(t, o.body, value)
		if len(got.ItemErrors) > 0 {
			return // the list without its invalid items is another one
		}
		again, err := o.ReadBody(t.Context(), got.JSON)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q is bound as %q, and that as %q (%v)", body, got.JSON, again.JSON, err)
		}
	})
}

// checkRefusal checks that the error reports malformed JSON or invalid fields, and that its body is
// valid UTF-8.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status != http.StatusBadRequest && p.Status != http.StatusNotFound {
		t.Fatalf("refused with %v", err)
	}
	fields, isFields := p.Body.(problem.Fields)
	if _, isDetail := p.Body.(problem.Detail); !isDetail && (!isFields || len(fields) == 0) {
		t.Fatalf("refused with %#v", p.Body)
	}
	text, err := json.Marshal(p.Body)
	if err != nil || bytes.Contains(text, []byte(`:[]`)) || bytes.Contains(text, []byte(`\ufffd`)) {
		t.Fatalf("refused with %s: %v", text, err)
	}
}

// onlyKnown checks that only members of the schema are bound, in canonical form.
func onlyKnown(t *testing.T, n *node, value any) {
	t.Helper()
	switch n.kind {
	case kindObject:
		object, _ := value.(map[string]any)
		for name, member := range object {
			known, found := n.members[name]
			if !found {
				t.Fatalf("member %q is bound", name)
			}
			onlyKnown(t, known, member)
		}
		for _, name := range n.required {
			if _, found := object[name]; !found {
				t.Fatalf("required member %q is not bound", name)
			}
		}
	case kindList:
		items, _ := value.([]any)
		for _, item := range items {
			onlyKnown(t, n.items, item)
		}
	case kindText:
		text, _ := value.(string)
		if strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > n.maxLength || n.notBlank && !n.nullable && text == "" {
			t.Fatalf("the text %q is bound", text)
		}
	}
}

func FuzzReadQuery(f *testing.F) {
	for i, query := range []string{
		"", "page=2&page_size=50", "search=%D8%A3%D8%AD%D9%85%D8%AF&ordering=-created_at,name", "hospital=%zz", "hospital=a;b", "is_active=True&is_active=1", "page=1e9", "page=-1", "x=%ff", "%00=1",
		"groups=0193C5A07A0070008000000000000001", "ordering=name;drop", "search=a%00", "&&=&", "page_size=99999999999999999999",
	} {
		f.Add(byte(i), query)
	}
	f.Fuzz(func(t *testing.T, which byte, raw string) {
		lists := []string{"listUsers", "listPatients", "listEvents", "listAuditEntries", "listJourneyInstances", "listRoles"}
		o := published()[lists[int(which)%len(lists)]]
		bind, page, err := o.ReadQuery(raw)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		known := map[string]bool{}
		for _, p := range o.query {
			known[p.name] = true
		}
		for name, values := range bind {
			if !known[name] || len(values) != 1 || values[0] == "" || strings.ContainsRune(values[0], 0) || !utf8.ValidString(values[0]) {
				t.Fatalf("%q binds %q as %q", raw, name, values)
			}
		}
		if page.Number < 1 || page.Number > maxPage || page.Size < 1 || page.Size > maxPageSize || page.Offset() < 0 || len(page.Order) > 3 {
			t.Fatalf("%q asks for page %d of size %d in order %v", raw, page.Number, page.Size, page.Order)
		}
		// A link to the same page parses to the same page.
		_, query, _ := strings.Cut(*page.Link("http://localhost/", page.Number), "?")
		againBind, again, err := o.ReadQuery(query)
		if err != nil {
			t.Fatalf("%q links to %q, which is refused: %v", raw, query, err)
		}
		page.sent, again.sent = nil, nil
		if !reflect.DeepEqual(bind, againBind) || !reflect.DeepEqual(page, again) {
			t.Fatalf("%q links to %q, which asks for something else", raw, query)
		}
	})
}

func FuzzReadJSON(f *testing.F) {
	for _, text := range []string{`{}`, `null`, `[1e308,1.10,9007199254740993,-0,1e-308]`, `1e131071`, `{"a":"\u0000"}`, `{"\u0000":1}`, `[` + strings.Repeat("1e308,", 40) + `0]`, `{"a":[{"b":[true,false,null]}]}`, `"\ud83d\ude00"`, `1E+400`} {
		f.Add([]byte(text))
	}
	o := published()["createEvent"]
	f.Fuzz(func(t *testing.T, text []byte) {
		raw := jsontext.Value(text).Clone()
		if raw.Format() != nil {
			return // malformed
		}
		body, err := o.ReadBody(t.Context(), []byte(`{"source_system":"his","event_code":"E","encounter_id":"1","payload_json":`+string(text)+`}`))
		if err != nil {
			return
		}
		var kept struct {
			PayloadJSON json.RawMessage `json:"payload_json"`
		}
		if err := json.Unmarshal(body.JSON, &kept); err != nil {
			t.Fatal(err)
		}
		bound := kept.PayloadJSON
		if !bytes.Equal(bound, raw) {
			t.Fatalf("%q is kept as %q", raw, bound)
		}
		decoder := json.NewDecoder(bytes.NewReader(bound))
		decoder.UseNumber()
		for expanded := 0; ; {
			token, err := decoder.Token()
			if err != nil {
				return
			}
			switch v := token.(type) {
			case string:
				if strings.ContainsRune(v, 0) {
					t.Fatalf("%q has U+0000", raw)
				}
			case json.Number:
				// Numbers must fit a float64, and be short in the expanded form that Postgres
				// stores.
				if _, err := v.Float64(); err != nil && len(v) > 110 || len(v) > 200 {
					t.Fatalf("the number %s is kept", v)
				}
				_, power, _ := strings.Cut(strings.ToLower(v.String()), "e")
				exponent, _ := strconv.Atoi(power)
				if expanded += max(exponent, -exponent); expanded > 10_000 {
					t.Fatalf("%.100q is kept, whose %d bytes expand to more than %d", raw, len(raw), expanded)
				}
			}
		}
	})
}

func FuzzParseDateTime(f *testing.F) {
	for _, text := range []string{"2025-12-14T09:00:00Z", "2025-12-14t09:00:00.123456789+03:00", "2025-02-29 00:00:00z", "2024-02-29T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999999-23:59", "2025-12-14T24:00:00Z", "2025-12-14T09:00:00+24:00", "2025-12-14T09:00Z", "2025-12-14 09:00+03:00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if validDate(text) {
			if d, err := time.Parse(time.DateOnly, text); err != nil || d.Format(time.DateOnly) != text {
				t.Fatalf("%q is a date", text)
			}
		}
		at, ok := parseDateTime(text)
		if !ok {
			return
		}
		if at.Location() != time.UTC || at.Nanosecond()%1000 != 0 || at.Year() < 1 || at.Year() > 9999 {
			t.Fatalf("%q is %v", text, at)
		}
		if again, ok := parseDateTime(at.Format(time.RFC3339Nano)); !ok || !again.Equal(at) {
			t.Fatalf("%q is %v, which is %v", text, at, again)
		}
	})
}

func FuzzParseUUID(f *testing.F) {
	for _, text := range []string{"0193c5a0-7a00-7000-8000-000000000001", "0193C5A07A0070008000000000000001", "{0193c5a0-7a00-7000-8000-00000000000}", "urn:uuid:0193c5a0-7a00-7000-8000-0000", "0193c5a0_7a00_7000_8000_000000000001"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := ParseUUID(text)
		if !ok {
			return
		}
		lower := strings.ToLower(text)
		if lower != id.String() && lower != strings.ReplaceAll(id.String(), "-", "") {
			t.Fatalf("%q is %s", text, id)
		}
	})
}

func FuzzValidEmail(f *testing.F) {
	for _, text := range []string{"a@b.sa", "a.b+c@hospital.sa", `"a b"@c.sa`, "a@[127.0.0.1]", "a@[::1]", "a@localhost", "ا@مستشفى.sa", "a@b", "a@-b.sa", "a\n@b.sa", "a@b.sa\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !validEmail(text) {
			return
		}
		at := strings.LastIndexByte(text, '@')
		if at < 1 || at == len(text)-1 || len(text) > 320 || strings.ContainsAny(text, "\x00\r\n") || strings.ContainsAny(text[at:], " <>,;") {
			t.Fatalf("%q is an email address", text)
		}
		if list, err := mail.ParseAddressList(text); err == nil && len(list) != 1 {
			t.Fatalf("%q is several addresses", text)
		}
	})
}

func FuzzValidURL(f *testing.F) {
	for _, text := range []string{"https://his.hospital.sa/api/", "http://localhost:8000", "HTTP://[::1]:1/", "ftp://a.sa", "javascript:alert(1)", "//a.sa", "https://a.sa:99999", "https://a@b.sa", "https://\u202ea.sa", "https://a.sa/\n", "https:a.sa", "https://مستشفى.sa"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !validURL(text) {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || len(text) > 2048 || strings.ContainsAny(text, "\x00\r\n\t ") {
			t.Fatalf("%q is a URL", text)
		}
		switch strings.ToLower(u.Scheme) {
		case "http", "https", "ftp", "ftps":
		default:
			t.Fatalf("%q is a URL of scheme %q", text, u.Scheme)
		}
	})
}
