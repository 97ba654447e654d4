package tests

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/openapi"
)

// TestLists tests every parameter of every list of the contract: filters and searches against the rows of
// the whole list, orderings against the values of the rows. It fails for a new parameter whose meaning is
// not declared below.
func TestLists(t *testing.T) {
	t.Parallel()
	doc, err := openapi.Load()
	must(t, err)
	w := newListsWorld(t)
	for path, item := range doc.Paths.Map() {
		if item.Get == nil || item.Get.Parameters.GetByInAndName("query", "page") == nil {
			continue
		}
		t.Run(item.Get.OperationID, func(t *testing.T) {
			t.Parallel()
			l := &list{listsWorld: w, id: item.Get.OperationID, path: strings.Replace(path, "{id}", w.actions[0].String(), 1)}
			if l.rows = l.get(t, nil); len(l.rows) == 0 {
				t.Fatal("there are no rows to try it with: add some in lists_world_test.go")
			}
			w.addHiddenFields(t, l.id, l.rows)
			parameters := append(slices.Clone(item.Parameters), item.Get.Parameters...)
			if p := parameters.GetByInAndName("query", "ordering"); p != nil {
				l.readOrderings(t, p)
			}
			for _, p := range parameters {
				if p.Value.Name == "page" || p.Value.In == "path" { // tested with page_size, and not to be tested
					continue
				}
				t.Run(p.Value.Name, func(t *testing.T) { l.try(t, p.Value) })
			}
		})
	}
}

// A list is a list of the contract, with all its rows.
type list struct {
	*listsWorld
	id, path string
	rows     []fields
	columns  []string // to order by
}

func (l *list) try(t *testing.T, p *openapi3.Parameter) {
	switch p.Name {
	case "page_size":
		l.tryPages(t)
	case "cursor":
		l.tryCursors(t)
	case "ordering":
		l.tryOrderings(t)
	case "search":
		l.trySearch(t, p)
	default:
		l.tryFilter(t, p)
	}
}

// get reads all pages of a list.
func (l *list) get(t testing.TB, query url.Values) []fields {
	t.Helper()
	return l.pages(t, query, 100)
}

func (l *list) pages(t testing.TB, query url.Values, size int) []fields {
	t.Helper()
	sent := url.Values{"page_size": {strconv.Itoa(size)}}
	for name, values := range query {
		sent[name] = values
	}
	var all []fields
	for page := 1; ; page++ {
		sent.Set("page", strconv.Itoa(page))
		answer := l.send("GET", l.path+"?"+sent.Encode(), l.px.access, nil)
		if answer.status != 200 {
			t.Fatalf("%s?%s: %d %s", l.path, sent.Encode(), answer.status, answer.body)
		}
		body := answer.json()
		for _, row := range body["results"].([]any) {
			all = append(all, row.(fields))
		}
		if body["next"] == nil {
			if body["count"] != float64(len(all)) {
				t.Errorf("%s?%s: counts %v rows and lists %d", l.path, sent.Encode(), body["count"], len(all))
			}
			return all
		}
		if len(all) != page*size {
			t.Fatalf("%s?%s: %d rows by the end of the page, want %d", l.path, sent.Encode(), len(all), page*size)
		}
	}
}

// expectRows expects a query to return exactly these rows, in this order.
func (l *list) expectRows(t testing.TB, query url.Values, want []fields) {
	t.Helper()
	got := l.get(t, query)
	if fmt.Sprint(ids(got)) != fmt.Sprint(ids(want)) {
		t.Errorf("%v lists %d rows, want %d:\n%v\n%v", query, len(got), len(want), ids(got), ids(want))
	}
}

func ids(rows []fields) []any {
	list := make([]any, len(rows))
	for i, row := range rows {
		list[i] = row["id"]
	}
	return list
}

func (l *list) rowsWhere(matches func(fields) bool) []fields {
	var rows []fields
	for _, row := range l.rows {
		if matches(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

// filteredFields maps filters to fields of another name.
var filteredFields = map[string]string{"journey_template__journey_type": "journey_type", "since": "at", "until": "at", "sent_after": "sent_at", "sent_before": "sent_at", "due_before": "due_at",
	"received_after": "received_at", "received_before": "received_at"}

// filterMatches are the filters that do not test for equality.
var filterMatches = map[string]func(field any, asked string) bool{
	"groups": func(field any, asked string) bool { return slices.Contains(field.([]any), any(asked)) },
	"since":  func(field any, asked string) bool { return !instant(field).Before(instant(asked)) },
	"until":  func(field any, asked string) bool { return instant(field).Before(instant(asked)) },

	"received_after":  func(field any, asked string) bool { return !instant(field).Before(instant(asked)) },
	"received_before": func(field any, asked string) bool { return instant(field).Before(instant(asked)) },
	"due_before":      func(field any, asked string) bool { return field != nil && instant(field).Before(instant(asked)) },

	"sent_after":  func(field any, asked string) bool { return field != nil && !instant(field).Before(instant(asked)) },
	"sent_before": func(field any, asked string) bool { return field != nil && instant(field).Before(instant(asked)) },
}

func instant(text any) time.Time {
	when, _ := time.Parse(time.RFC3339Nano, fmt.Sprint(text))
	return when
}

func (l *list) tryFilter(t *testing.T, p *openapi3.Parameter) {
	name, matches := p.Name, filterMatches[p.Name]
	if other, found := filteredFields[name]; found {
		name = other
	}
	if l.id == "listWebhookMessages" && p.Name == "since" {
		name = "created_at"
	}
	if _, found := l.rows[0][name]; !found {
		t.Fatalf("%s can be filtered by %s, add it to filteredFields", l.id, p.Name)
	}
	if matches == nil {
		matches = func(field any, asked string) bool { return field != nil && fmt.Sprint(field) == asked }
	}
	l.expectRows(t, url.Values{p.Name: {""}}, l.rows)
	asked, selective := l.filterValues(p, name), 0
	for _, text := range asked {
		want := l.rowsWhere(func(row fields) bool { return matches(row[name], text) })
		l.expectRows(t, url.Values{p.Name: {text}}, want)
		if len(want) > 0 && len(want) < len(l.rows) {
			selective++
		}
	}
	if selective < 2 {
		t.Errorf("of the values %v only %d match some rows and not others", asked, selective)
	}
	l.tryNoMatch(t, p)
}

// filterValues are values to test a filter with: all of an enum, or some of the rows' values.
func (l *list) filterValues(p *openapi3.Parameter, name string) []string {
	var values []string
	add := func(value any) {
		if text := fmt.Sprint(value); value != nil && text != "" && !slices.Contains(values, text) {
			values = append(values, text)
		}
	}
	schema := p.Schema.Value
	switch {
	case schema.Type.Is("boolean"):
		return []string{"true", "false"}
	case len(schema.Enum) > 0:
		for _, value := range schema.Enum {
			add(value)
		}
		return values
	case schema.Format == "date-time":
		stated := l.rowsWhere(func(row fields) bool { return row[name] != nil })
		slices.SortFunc(stated, func(a, b fields) int { return instant(a[name]).Compare(instant(b[name])) })
		return []string{stated[len(stated)/3][name].(string), stated[len(stated)/2][name].(string)}
	}
	for _, row := range l.rows {
		if list, many := row[name].([]any); many {
			for _, value := range list {
				add(value)
			}
			continue
		}
		add(row[name])
	}
	return values[:min(len(values), 6)]
}

// tryNoMatch filters by a value that no row has.
func (l *list) tryNoMatch(t *testing.T, p *openapi3.Parameter) {
	schema := p.Schema.Value
	_, refers := schema.Extensions["x-px360-refers-to"]
	switch {
	case schema.Type.Is("boolean"), len(schema.Enum) > 0:
	case refers:
		answer := l.expect(t, 400, "GET", l.path+"?"+p.Name+"="+unknownID.String(), l.px.access, nil)
		if want := fieldError(p.Name, "Select a valid choice. That choice is not one of the available choices."); strings.TrimSpace(answer.body) != want {
			t.Errorf("an unknown id: %s, want %s", answer.body, want)
		}
	case schema.Format == "uuid", p.Name == "assigned_to":
		l.expectRows(t, url.Values{p.Name: {unknownID.String()}}, nil)
	case p.Name == "until", strings.HasSuffix(p.Name, "_before"):
		l.expectRows(t, url.Values{p.Name: {"1999-01-01T00:00:00Z"}}, nil)
	case schema.Format == "date-time":
		l.expectRows(t, url.Values{p.Name: {"2999-01-01T00:00:00Z"}}, nil)
	default:
		l.expectRows(t, url.Values{p.Name: {"nothing"}}, nil)
	}
}

func (l *list) tryPages(t *testing.T) {
	if got := l.pages(t, nil, 2); fmt.Sprint(ids(got)) != fmt.Sprint(ids(l.rows)) {
		t.Errorf("pages of two rows have\n%v, want\n%v", ids(got), ids(l.rows))
	}
	if len(l.columns) == 0 {
		return
	}
	ties := slices.MinFunc(l.columns, func(a, b string) int { return cmp.Compare(l.distinct(a), l.distinct(b)) })
	if l.distinct(ties) > len(l.rows)/2 {
		t.Errorf("the rows do not test this: none of %v has enough ties", l.columns)
	}
	for _, ordering := range []string{ties, "-" + ties} {
		query := url.Values{"ordering": {ordering}}
		if got, want := l.pages(t, query, 2), l.get(t, query); fmt.Sprint(ids(got)) != fmt.Sprint(ids(want)) {
			t.Errorf("pages of two rows ordered by %s have\n%v, want\n%v", ordering, ids(got), ids(want))
		}
	}
}

// A mistyped filter is ignored, as Django REST Framework does, and named.
func TestIgnoredParametersAreNamed(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	many := strings.Repeat("&z=1", 3)
	for i := range 20 {
		many += fmt.Sprintf("&a%02d=1", i)
	}
	for query, want := range map[string]string{
		"":                                "",
		"?status=active&page=1":           "",
		"?stauts=active&serach=x&city=":   "serach, stauts",
		"?a%0d%0ab=1&c=1&%22=2&d%C3%A9=3": "c",
		"?" + many[1:]:                    "a00, a01, a02, a03, a04, a05, a06, a07, a08, a09",
	} {
		a := c.expect(t, 200, "GET", "/api/organizations/patients/"+query, c.admin.access, nil)
		if got := a.header.Get("X-Ignored-Parameters"); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
