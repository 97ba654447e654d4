package tests

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/openapi"
)

// TestMatrix tries every operation as every principal: on a row of their own hospital, on a row of
// another hospital, on an unknown row, and with references to each. Reads and refused requests come
// first; they use shared rows and must not change the database. Then come the successful changes,
// each on a row of its own.
func TestMatrix(t *testing.T) {
	t.Parallel()
	operations := contractOperations(t)
	w := newMatrixWorld(t)
	m := &matrixRun{w: w, requests: map[string]auditKey{}}

	before := w.contents()
	t.Run("refused", func(t *testing.T) {
		m.each(t, operations, func(c *cell) bool { return c.want >= 400 || c.method == http.MethodGet })
	})
	after := w.contents()
	for row := range after {
		if !before[row] {
			t.Errorf("a request that must change nothing added this row: %s", row)
		}
	}
	for row := range before {
		if !after[row] {
			t.Errorf("a request that must change nothing removed this row: %s", row)
		}
	}

	w.frozen = false
	t.Run("allowed", func(t *testing.T) {
		m.each(t, operations, func(c *cell) bool { return c.want < 400 && c.method != http.MethodGet })
	})
	m.checkAudit(t)
	t.Run("public", func(t *testing.T) { m.public(t, operations) })
	t.Logf("%d cells of %d operations and %d principals", m.cells.Load(), len(operations), len(w.principals))
}

// An operation is an operation of the contract.
type operation struct {
	id, method, path string
	references       map[string]string // nouns that the body refers to, by field
	filters          map[string]string // nouns that the query refers to, by parameter
	hasSearch        bool
}

// contractOperations are the operations of the contract. Each must have a rule, and each rule an
// operation.
func contractOperations(t *testing.T) []operation {
	doc, err := openapi.Load()
	must(t, err)
	var all []operation
	known := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			known[op.OperationID] = true
			if strings.Contains(path, "{token}") { // whoever has the link may: see TestSurveyLink
				continue
			}
			if _, found := matrix[op.OperationID]; !found && public[op.OperationID] == nil {
				t.Errorf("operation %s has no rule in the matrix: who may call it?", op.OperationID)
				continue
			}
			o := operation{id: op.OperationID, method: method, path: path, references: map[string]string{}, filters: map[string]string{}}
			if op.RequestBody != nil {
				referencesOf(op.RequestBody.Value.Content["application/json"].Schema.Value, o.references)
			}
			for _, p := range op.Parameters {
				if noun, ok := p.Value.Schema.Value.Extensions["x-px360-refers-to"].(string); ok && p.Value.In == "query" {
					o.filters[p.Value.Name] = noun
				}
				o.hasSearch = o.hasSearch || p.Value.Name == "search"
			}
			all = append(all, o)
		}
	}
	for id := range matrix {
		if !known[id] {
			t.Errorf("the matrix has a rule for %s, which the contract does not have", id)
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	return all
}

func referencesOf(s *openapi3.Schema, found map[string]string) {
	for _, part := range s.AllOf {
		referencesOf(part.Value, found)
	}
	for field, property := range s.Properties {
		if noun, ok := property.Value.Extensions["x-px360-refers-to"].(string); ok {
			found[field] = noun
		}
	}
}

// A cell is one request of the matrix.
type cell struct {
	operation
	rule
	principal *principal
	column    string
	at        *side // hospital of the row
	unknown   bool  // the id is unknown
	sent      bool  // the row is the event that the principal sent
	badBody   bool
	field     string // reference in the body
	reference uuid.UUID
	// noun and hospital of reference
	referenceNoun string
	referenceAt   *side
	query         string
	rows          int // rows of the list; -1: at least one; ignored unless isList
	isList        bool
	want          int
}

// cells are the requests of one principal for one operation.
func (w *matrixWorld) cells(o operation, p *principal) []*cell {
	own, other := w.a, w.b
	if p.hospital == w.b {
		own, other = w.b, w.a
	}
	g := &cells{w: w, operation: o, rule: matrix[o.id], principal: p}
	isList := strings.HasPrefix(o.id, "list") && !strings.Contains(o.path, "{id}")
	g.add("own", own, g.ok, func(c *cell) {
		if c.isList = isList; isList && g.who.allows(p) {
			c.rows = w.visible(g.noun, p)
		}
	})
	hasID := strings.Contains(o.path, "{id}")
	if hasID {
		g.add("unknown", own, 404, func(c *cell) { c.unknown = true })
	}
	if hasID && g.noun != "role" {
		g.add("other", other, g.ok, nil)
	}
	if hasID && g.noun == "event" && p.apiKey != "" {
		g.add("sent", own, g.ok, func(c *cell) { c.sent = true })
	}
	if g.body != nil {
		g.addBodies(own, other, hasID)
	}
	for parameter, noun := range o.filters {
		g.addFilters(parameter, noun, own, other)
	}
	if o.hasSearch {
		g.add("search other", own, 200, func(c *cell) {
			if c.query, c.isList = "?search="+other.mark, true; g.noun != "role" && p.isPXAdmin() {
				c.rows = -1
			}
		})
	}
	return g.list
}

// cells collects the cells of one operation and principal.
type cells struct {
	w *matrixWorld
	operation
	rule
	principal *principal
	list      []*cell
}

// add adds a cell; want is the status for a principal who may call the operation and sees the row.
func (g *cells) add(column string, at *side, want int, change func(*cell)) {
	c := &cell{operation: g.operation, rule: g.rule, principal: g.principal, column: column, at: at}
	if change != nil {
		change(c)
	}
	p, hasRow := g.principal, strings.Contains(g.path, "{id}") && g.noun != "role"
	switch {
	case p.apiKey != "" && !strings.HasPrefix(g.path, "/api/integrations/events/"):
		c.want = 401 // API keys are not accepted here
	case p.access == "" && p.apiKey == "":
		c.want = 401
	case !g.who.allows(p) && (!g.assignees || p.apiKey != ""):
		c.want = 403
	case hasRow && !c.sent && !g.sees(at):
		c.want = 404
	case !g.who.allows(p) && want < 400:
		c.want = 403
	default:
		c.want = want
	}
	g.list = append(g.list, c)
}

func (g *cells) sees(at *side) bool { return slices.Contains(g.principal.scope, at) }

// addBodies adds cells with invalid bodies and with references.
func (g *cells) addBodies(own, other *side, hasID bool) {
	g.add("own, bad body", own, 400, func(c *cell) { c.badBody = true })
	if hasID {
		g.add("unknown, bad body", own, 404, func(c *cell) { c.badBody, c.unknown = true, true })
		g.add("other, bad body", other, 400, func(c *cell) { c.badBody = true })
	}
	for field, noun := range g.references {
		g.add("unknown "+field, own, 400, func(c *cell) { c.field, c.reference = field, unknownID })
		if noun == "role" {
			continue
		}
		want := 400
		if allowed, found := g.mixed[field]; found && g.principal.isPXAdmin() {
			want = allowed
		}
		g.add("foreign "+field, own, want, func(c *cell) {
			c.field, c.reference, c.referenceNoun, c.referenceAt = field, other.id(noun), noun, other
		})
	}
}

// addFilters adds filters by a row of the own hospital, of another hospital, and by an unknown id.
func (g *cells) addFilters(parameter, noun string, own, other *side) {
	filter := func(column string, id uuid.UUID, sees bool) {
		want := 400
		if sees {
			want = 200
		}
		g.add(column+" filter "+parameter, own, want, func(c *cell) { c.query, c.reference = "?"+parameter+"="+id.String(), id })
	}
	if noun == "role" {
		filter("own", g.w.role("Viewer"), true)
	} else {
		filter("own", own.id(noun), g.sees(own))
		filter("foreign", other.id(noun), g.sees(other))
	}
	filter("unknown", unknownID, false)
}

// A matrixRun sends the requests of cells.
type matrixRun struct {
	w        *matrixWorld
	cells    atomic.Int64
	mu       sync.Mutex
	requests map[string]auditKey // successful changes by request id
}

type auditKey struct {
	operation string
	actor     uuid.UUID
}

func (m *matrixRun) each(t *testing.T, operations []operation, wanted func(*cell) bool) {
	for _, o := range operations {
		if public[o.id] != nil {
			continue
		}
		t.Run(o.id, func(t *testing.T) {
			t.Parallel()
			for _, p := range m.w.principals {
				answers := map[string]answer{}
				for _, c := range m.w.cells(o, p) {
					if wanted(c) {
						answers[c.column] = m.try(t, c)
					}
				}
				compare(t, p, answers)
			}
		})
	}
}

// try sends the request of a cell and checks the answer.
func (m *matrixRun) try(t *testing.T, c *cell) answer {
	m.cells.Add(1)
	p := c.principal
	if c.alone && c.want < 400 {
		p = m.w.clone(p)
	}
	path, id := c.path, c.id(m.w)
	path = strings.Replace(path, "{id}", id, 1) + c.query
	var body any
	sent := path
	switch {
	case c.badBody:
		body = "[]"
	case c.field != "":
		reference := c.reference
		if c.want < 400 && c.noun != "" && c.referenceNoun != "hospital" {
			reference = m.w.row(c.referenceNoun, c.referenceAt)
		}
		body = with(c.body(m.w, c.at), c.field, reference)
	case c.body != nil:
		body = c.body(m.w, c.at)
	}
	sent += fmt.Sprint(" ", body)
	var key []string
	if p.apiKey != "" {
		key = []string{"X-API-Key", p.apiKey}
	}
	a := m.w.send(c.method, path, p.access, body, key...)
	where := fmt.Sprintf("%s: %s, %s", p.name, c.operation.id, c.column)
	if a.status != c.want {
		t.Errorf("%s: %d %s, want %d", where, a.status, a.body, c.want)
	}
	if mark := m.w.leak(p, sent, a.body); mark != "" {
		t.Errorf("%s: the answer discloses a row of %s: %s", where, mark, a.body)
	}
	if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s: 401 without WWW-Authenticate", where)
	}
	if c.isList && c.want == 200 {
		c.checkRows(t, where, a)
	}
	// Settings and scores have no id of their own.
	if strings.HasPrefix(c.operation.id, "retrieve") && c.operation.id != "retrieveHospitalSettings" && c.operation.id != "retrieveSurveyScores" && a.status == 200 && !strings.Contains(a.body, id) {
		t.Errorf("%s: the answer has another id: %s", where, a.body)
	}
	// Sending events is not audited.
	if a.status < 300 && c.method != http.MethodGet && c.operation.id != "createEvent" && c.operation.id != "bulkCreateEvents" {
		m.mu.Lock()
		m.requests[a.header.Get("X-Request-ID")] = auditKey{c.operation.id, p.person.id}
		m.mu.Unlock()
	}
	return a
}

// id is the id in the path.
func (c *cell) id(w *matrixWorld) string {
	switch {
	case c.unknown:
		return unknownID.String()
	case c.sent:
		return c.principal.event.String()
	case !strings.Contains(c.path, "{id}"):
		return ""
	case c.noun == "role":
		return w.role("Viewer").String()
	case c.noun == "hospital" && !c.principal.isPXAdmin():
		return c.at.id("hospital").String() // there is only one row
	}
	return w.row(c.noun, c.at).String()
}

func (c *cell) checkRows(t *testing.T, where string, a answer) {
	count := int(a.json()["count"].(float64))
	if shown := len(a.json()["results"].([]any)); shown != min(count, 20) {
		t.Errorf("%s: the page has %d rows, the count is %d", where, shown, count)
	}
	if c.rows >= 0 && count != c.rows || c.rows < 0 && count == 0 {
		t.Errorf("%s: the list counts %d rows, want %d", where, count, c.rows)
	}
}

// compare checks that answers do not distinguish a row of another hospital from an unknown one.
func compare(t *testing.T, p *principal, answers map[string]answer) {
	pairs := map[string]string{"other": "unknown", "other, bad body": "unknown, bad body"}
	if _, hasID := answers["unknown"]; hasID && p.apiKey != "" { // which does not see its own hospital's either
		pairs["own"] = "unknown"
	}
	for column := range answers {
		if what, found := strings.CutPrefix(column, "foreign "); found {
			pairs[column] = "unknown " + what
		}
	}
	for foreign, unknown := range pairs {
		one, other := answers[foreign], answers[unknown]
		if one.status < 400 || p.isPXAdmin() {
			continue
		}
		if told, want := withoutIDs(one), withoutIDs(other); told != want {
			t.Errorf("%s: %q and %q are answered differently:\n%s\n%s", p.name, foreign, unknown, told, want)
		}
	}
}

// withoutIDs is an answer without the ids that the client sent and without headers that vary.
func withoutIDs(a answer) string {
	header := maps.Clone(a.header)
	header.Del("Date")
	header.Del("X-Request-Id")
	var text strings.Builder
	for _, prefix := range []string{"aaaaaaaa", "bbbbbbbb", "dddddddd"} {
		a.body = strings.ReplaceAll(a.body, prefix, "")
	}
	for {
		before, after, found := strings.Cut(a.body, "-0000-7000-8000-")
		text.WriteString(before)
		if !found {
			break
		}
		a.body = after[12:]
	}
	return fmt.Sprint(a.status, " ", header, " ", text.String())
}

// checkAudit compares the successful changes with the audit log: one entry each, and no others.
func (m *matrixRun) checkAudit(t *testing.T) {
	rows, err := m.w.db.Query(context.Background(), "SELECT request_id, operation, actor_id, count(*) FROM audit_log WHERE request_id <> '' GROUP BY 1, 2, 3")
	must(t, err)
	var request string
	var got auditKey
	var count int
	_, err = pgx.ForEachRow(rows, []any{&request, &got.operation, &got.actor, &count}, func() error {
		want, found := m.requests[request]
		switch {
		case !found:
			t.Errorf("the audit log has an entry of %s, which changed nothing", got.operation)
		case got != want || count != 1:
			t.Errorf("the audit log has %d entries %v, want one %v", count, got, want)
		}
		delete(m.requests, request)
		return nil
	})
	must(t, err)
	for _, missed := range m.requests {
		t.Errorf("the audit log has no entry of %v", missed)
	}
}

// public tries the operations without authentication.
func (m *matrixRun) public(t *testing.T, operations []operation) {
	for _, o := range operations {
		body := public[o.id]
		if body == nil {
			continue
		}
		t.Run(o.id, func(t *testing.T) {
			t.Parallel()
			for _, p := range m.w.principals {
				for want, sent := range map[int]any{200: body(m.w, true), 401: body(m.w, false), 400: "[]"} {
					m.cells.Add(1)
					if a := m.w.send(o.method, o.path, p.access, sent); a.status != want {
						t.Errorf("%s: %s: %d %s, want %d", p.name, o.id, a.status, a.body, want)
					}
				}
			}
		})
	}
}
