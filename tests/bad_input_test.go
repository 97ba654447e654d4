package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// The cases of these tests are generated from the contract: every field of every body, and every
// parameter of every list, is wrong once in each way that its schema has. What is expected comes from
// tables of their own, bad_input_*_test.go, and not from the server: the messages are the interface.

// TestBadBodies breaks one field at a time of bodies that are good otherwise. Each must be refused
// with exactly the message for that field, and leave no trace.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t))
	before := m.fingerprint()
	var cases atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for _, id := range slices.Sorted(maps.Keys(m.operations)) {
			o := m.operations[id]
			if o.request() == nil {
				continue
			}
			b := badBodies{m: m, o: o, path: m.pathTo(o, ""), good: jsonText(m.body(o)), untouched: before, cases: &cases}
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				b.run(t)
			})
		}
	})
	t.Logf("%d bad bodies", cases.Load())
}

// badBodies are the cases of one operation.
type badBodies struct {
	m          *sample
	o          exampleOperation
	path, good string
	untouched  string
	cases      *atomic.Int64
}

func (b badBodies) run(t *testing.T) {
	schema := mergedSchema(b.o.RequestBody.Value.Content["application/json"].Schema)
	for name, f := range fieldsOf(schema) {
		for _, w := range f.wrongs() {
			body := b.copy()
			w.put(body, name)
			b.refuses(t, name+"/"+w.kind, body, map[string]any{name: w.messages})
		}
		if f.schema.Extensions["x-px360-items-apart"] == true {
			b.runItems(t, name, f)
		}
	}
	for kind, c := range wholeBodies {
		b.refuses(t, kind, json.RawMessage(c.body), c.want)
	}
}

// runItems breaks the fields of an item in a list of which each item stands alone.
func (b badBodies) runItems(t *testing.T, list string, f field) {
	for name, itemField := range fieldsOf(mergedSchema(f.schema.Items)) {
		for _, w := range itemField.wrongs() {
			body := b.copy()
			w.put(body[list].([]any)[0].(map[string]any), name)
			b.refuses(t, list+"/"+name+"/"+w.kind, body, map[string]any{
				"created": 0, "failed": 1, "duplicates": 0,
				"errors": []any{map[string]any{"index": 0, "errors": map[string]any{name: w.messages}}},
			})
		}
	}
}

func (b badBodies) copy() map[string]any { return decode([]byte(b.good)).(map[string]any) }

// refuses sends a body and expects this 400, and that nothing was written.
func (b badBodies) refuses(t *testing.T, what string, body, want any) {
	t.Helper()
	b.cases.Add(1)
	if raw, ok := body.(json.RawMessage); ok {
		body = string(raw)
	}
	a := b.m.send(b.o.method, b.path, b.m.token, body)
	got := decode([]byte(a.body))
	if object, ok := got.(map[string]any); ok {
		if text, ok := object["detail"].(string); ok { // a parser's own words
			object["detail"], _, _ = strings.Cut(text, " - ")
		}
	}
	if a.status != http.StatusBadRequest || jsonText(got) != jsonText(want) {
		t.Errorf("%s: answered %d %s, want 400 %s", what, a.status, a.body, jsonText(want))
	}
	if now := b.m.fingerprint(); now != b.untouched {
		t.Fatalf("%s: the database changed", what)
	}
}

// wholeBodies are wrong as a whole.
var wholeBodies = map[string]struct {
	body string
	want map[string]any
}{
	"a list":        {`[]`, map[string]any{"non_field_errors": []string{"Invalid data. Expected a dictionary, but got list."}}},
	"text":          {`"x"`, map[string]any{"non_field_errors": []string{"Invalid data. Expected a dictionary, but got str."}}},
	"no JSON":       {`{"a":`, map[string]any{"detail": "JSON parse error"}},
	"trailing data": {`{} {}`, map[string]any{"detail": "JSON parse error"}},
	"key twice":     {`{"a":1,"a":2}`, map[string]any{"detail": "JSON parse error"}},
	"invalid UTF-8": {"{\"a\":\"\xff\"}", map[string]any{"detail": "JSON parse error"}},
	"a surrogate":   {`{"a":"\ud800"}`, map[string]any{"detail": "JSON parse error"}},
	"too deep":      {`{"a":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, map[string]any{"detail": "JSON parse error"}},
}

// fingerprint is the same as long as no row of any table is. The first call prepares the others, and
// must not run beside them.
func (m *sample) fingerprint() string {
	m.t.Helper()
	if m.digest == "" {
		var tables []string
		must(m.t, m.db.QueryRow(context.Background(), `SELECT array_agg(format('SELECT %L || md5(string_agg(t::text, '','' ORDER BY t::text)) AS d FROM %s t', relname, oid::regclass))
			FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`).Scan(&tables))
		m.digest = "SELECT md5(string_agg(d, ',' ORDER BY d)) FROM (" + strings.Join(tables, " UNION ALL ") + ") x"
	}
	var fingerprint string
	must(m.t, m.db.QueryRow(context.Background(), m.digest).Scan(&fingerprint))
	return fingerprint
}

// A field of a body, as the contract describes it.
type field struct {
	schema   *openapi3.Schema
	required bool
}

func fieldsOf(schema *openapi3.Schema) map[string]field {
	fields := map[string]field{}
	for name, property := range schema.Properties {
		fields[name] = field{mergedSchema(property), slices.Contains(schema.Required, name)}
	}
	return fields
}

// TestBadQueries gives every parameter of every list each value that it cannot have.
func TestBadQueries(t *testing.T) {
	t.Parallel()
	m := newSample(startServer(t))
	before := m.fingerprint()
	var cases atomic.Int64
	t.Run("lists", func(t *testing.T) {
		for _, id := range slices.Sorted(maps.Keys(m.operations)) {
			o := m.operations[id]
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				for _, p := range o.Parameters {
					if p.Value.In != openapi3.ParameterInQuery {
						continue
					}
					for _, w := range wrongQueries(p.Value) {
						cases.Add(1)
						a := m.send(o.method, o.path+"?"+w.query, m.token, nil)
						if got := jsonText(decode([]byte(a.body))); a.status != w.status || got != jsonText(w.want) {
							t.Errorf("%s: answered %d %s, want %d %s", w.query, a.status, got, w.status, jsonText(w.want))
						}
					}
				}
			})
		}
	})
	if m.fingerprint() != before {
		t.Error("the database changed")
	}
	t.Logf("%d bad queries", cases.Load())
}

// A wrongQuery is a query string and what it is answered with.
type wrongQuery struct {
	query  string
	status int
	want   map[string]any
}

// wrongQueries are all of a parameter.
func wrongQueries(p *openapi3.Parameter) []wrongQuery {
	var all []wrongQuery
	add := func(value string, message string) {
		all = append(all, wrongQuery{p.Name + "=" + value, http.StatusBadRequest, map[string]any{p.Name: []string{message}}})
	}
	for value, message := range wrongParameterValues(p) {
		add(value, message)
	}
	add("1&"+p.Name+"=1", "Give this parameter only once.")
	add("%zz", "Malformed percent-encoding.")
	add("%4", "Malformed percent-encoding.")
	add("%ff", "Not valid UTF-8.")
	if p.Name == "page" {
		for _, value := range []string{"0", "-1", "abc", "1.5", "1e3", "last", "%2B1", "%00", "2000000", "99999999999999999999"} {
			all = append(all, wrongQuery{"page=" + value, http.StatusNotFound, map[string]any{"detail": "Invalid page."}})
		}
	}
	return all
}

// wrongParameterValues are the values, percent-encoded, that a parameter cannot have, and the message
// for each.
func wrongParameterValues(p *openapi3.Parameter) map[string]string {
	schema := mergedSchema(p.Schema)
	const choice = "Select a valid choice. %s is not one of the available choices."
	wrong := map[string]string{}
	switch {
	case p.Name == "page":
		return nil
	case p.Name == "page_size":
		for _, value := range []string{"0", "-1", "x", "1.5", "%2B1", "%00"} {
			wrong[value] = "A positive integer is required."
		}
		return wrong
	case p.Name == "ordering":
		first := fmt.Sprint(schema.Items.Value.Enum[0])
		wrong[strings.Repeat(first+",", 3)+first] = "Ensure this field has no more than 3 elements."
		for _, term := range []string{"no_such_column", "--" + first, "1;DROP", first + "__id"} {
			wrong[strings.ReplaceAll(term, ";", "%3B")] = fmt.Sprintf(choice, term)
		}
		wrong[first+",no_such_column"] = fmt.Sprintf(choice, "no_such_column")
		return wrong
	case len(schema.Enum) > 0:
		wrong["no_such_choice"] = fmt.Sprintf(choice, "no_such_choice")
	case schema.Type.Is("boolean"):
		wrong["maybe"], wrong["2"], wrong["TRUE"] = "Must be a valid boolean.", "Must be a valid boolean.", "Must be a valid boolean."
	case schema.Format == "uuid":
		wrong["abc"], wrong[wireUnknownID+"0"] = "“abc” is not a valid UUID.", "“"+wireUnknownID+"0” is not a valid UUID."
		if schema.Extensions["x-px360-refers-to"] != nil {
			wrong[wireUnknownID] = "Select a valid choice. That choice is not one of the available choices."
		}
	case schema.Format == "date-time":
		wrong["yesterday"], wrong["2025-12-14T09:00:00"] = "Enter a valid date/time.", "Enter a valid date/time."
	case schema.MaxLength != nil:
		wrong[strings.Repeat("x", int(*schema.MaxLength)+1)] = fmt.Sprintf("Ensure this field has no more than %d characters.", *schema.MaxLength)
	}
	wrong["a%00b"] = "Null characters are not allowed."
	return wrong
}
