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

// The cases are generated from the contract: every field of every body and every parameter of every
// list is made invalid in each way that its schema allows. The expected messages come from tables in
// bad_input_*_test.go and not from the server, since they are part of the interface.

// TestBadBodies makes one field at a time of a valid body invalid. Each body must be refused with
// exactly the message for that field, and change nothing.
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
			b := badBodies{m: m, o: o, path: o.pathTo(""), good: jsonText(m.body(o)), untouched: before, cases: &cases}
			t.Run(id, func(t *testing.T) {
				t.Parallel()
				b.run(t)
			})
		}
	})
	t.Logf("%d bad bodies", cases.Load())
}

// badBodies are the invalid bodies of one operation.
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
		for _, w := range f.invalids() {
			body := b.copy()
			w.put(body, name)
			b.expectRefused(t, name+"/"+w.kind, body, map[string]any{name: w.messages})
		}
		if strict, apart := f.schema.Extensions["x-px360-items-schema"].(string); apart {
			b.runItems(t, name, b.m.doc.Components.Schemas[strict])
		}
	}
	for kind, c := range wholeBodies {
		b.expectRefused(t, kind, json.RawMessage(c.body), c.want)
	}
	if b.o.method == http.MethodPut || b.o.method == http.MethodPatch {
		b.expectRefused(t, "no body", nil, map[string]any{"detail": "A request body is required."})
		b.expectRefused(t, "only white space", json.RawMessage(" \n"), map[string]any{"detail": "A request body is required."})
	}
}

// runItems makes the fields of an item of a list invalid. The items are accepted or refused separately. To the contract the
// whole list is valid, so that a gateway that validates it does not refuse the other items.
func (b badBodies) runItems(t *testing.T, list string, strict *openapi3.SchemaRef) {
	declared := b.o.RequestBody.Value.Content["application/json"].Schema.Value
	for name, itemField := range fieldsOf(mergedSchema(strict)) {
		for _, w := range itemField.invalids() {
			body := b.copy()
			w.put(body[list].([]any)[0].(map[string]any), name)
			// Not for a decoder of JSON with doubles; and kin-openapi refuses null where there is no type, against OpenAPI 3.0.3.
			representable := w.kind != "a number too large" && w.kind != "null"
			if err := declared.VisitJSON(decode([]byte(jsonText(body)))); representable && err != nil {
				t.Errorf("%s/%s/%s: the contract refuses the whole list: %v", list, name, w.kind, err)
			}
			b.expectRefused(t, list+"/"+name+"/"+w.kind, body, map[string]any{
				"created": 0, "failed": 1, "duplicates": 0, "warnings": []any{},
				"errors": []any{map[string]any{"index": 0, "errors": map[string]any{name: w.messages}}},
			})
		}
	}
}

func (b badBodies) copy() map[string]any { return decode([]byte(b.good)).(map[string]any) }

// expectRefused sends a body and expects this 400, and no change of the database.
func (b badBodies) expectRefused(t *testing.T, what string, body, want any) {
	t.Helper()
	b.cases.Add(1)
	if raw, ok := body.(json.RawMessage); ok {
		body = string(raw)
	}
	a := b.m.send(b.o.method, b.path, b.m.token, body)
	got := decode([]byte(a.body))
	if object, ok := got.(map[string]any); ok {
		if text, ok := object["detail"].(string); ok { // followed by the parser's message
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

// wholeBodies are invalid as a whole.
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

// fingerprint changes when a row of any table changes. The first call prepares the query, and must
// not be concurrent.
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

// A field is a member of a body, as the contract describes it.
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

// TestBadQueries sends every invalid value of every parameter of every list.
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
						a := m.send(o.method, o.pathTo("")+"?"+w.query, m.token, nil)
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

// A wrongQuery is an invalid query string and its answer.
type wrongQuery struct {
	query  string
	status int
	want   map[string]any
}

// wrongQueries are the invalid queries of a parameter.
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

// wrongParameterValues are invalid values of a parameter, percent-encoded, and their messages.
func wrongParameterValues(p *openapi3.Parameter) map[string]string {
	schema := mergedSchema(p.Schema)
	const choice = "Select a valid choice. %s is not one of the available choices."
	invalid := map[string]string{}
	switch {
	case p.Name == "page":
		return nil
	case p.Name == "page_size":
		for _, value := range []string{"0", "-1", "x", "1.5", "%2B1", "%00"} {
			invalid[value] = "A positive integer is required."
		}
		return invalid
	case p.Name == "ordering":
		first := fmt.Sprint(schema.Items.Value.Enum[0])
		invalid[strings.Repeat(first+",", 3)+first] = "Ensure this field has no more than 3 elements."
		for _, term := range []string{"no_such_column", "--" + first, "1;DROP", first + "__id"} {
			invalid[strings.ReplaceAll(term, ";", "%3B")] = fmt.Sprintf(choice, term)
		}
		invalid[first+",no_such_column"] = fmt.Sprintf(choice, "no_such_column")
		return invalid
	case len(schema.Enum) > 0:
		invalid["no_such_choice"] = fmt.Sprintf(choice, "no_such_choice")
	case schema.Type.Is("boolean"):
		invalid["maybe"], invalid["2"], invalid["TRUE"] = "Must be a valid boolean.", "Must be a valid boolean.", "Must be a valid boolean."
	case schema.Format == "uuid":
		invalid["abc"], invalid[wireUnknownID+"0"] = "“abc” is not a valid UUID.", "“"+wireUnknownID+"0” is not a valid UUID."
		if schema.Extensions["x-px360-refers-to"] != nil {
			invalid[wireUnknownID] = "Select a valid choice. That choice is not one of the available choices."
		}
	case schema.Format == "date-time":
		invalid["yesterday"], invalid["2025-12-14T09:00:00"] = "Enter a valid date/time.", "Enter a valid date/time."
	case schema.MaxLength != nil:
		invalid[strings.Repeat("x", int(*schema.MaxLength)+1)] = fmt.Sprintf("Ensure this field has no more than %d characters.", *schema.MaxLength)
	}
	invalid["a%00b"] = "Null characters are not allowed."
	return invalid
}
