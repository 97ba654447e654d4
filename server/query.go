package server

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/queries"
)

// A parameter of a list's query string.
type parameter struct {
	name     string
	node     *node
	ordering []string // the columns to order by, of the parameter ordering
}

func compileParameter(p *openapi3.Parameter) (*parameter, error) {
	if p.Name == "ordering" {
		compiled := &parameter{name: p.Name}
		for _, term := range p.Schema.Value.Items.Value.Enum {
			compiled.ordering = append(compiled.ordering, term.(string))
		}
		return compiled, nil
	}
	n, err := compileSchema(p.Schema)
	return &parameter{name: p.Name, node: n}, err
}

// A listing is what a request says of the page that it wants.
type listing struct {
	page, size int
	order      queries.Order
	query      url.Values // all that the client sent, for the links to other pages
	references []reference
}

const (
	defaultPageSize = 20
	maxPageSize     = 100
	maxOrdering     = 3
	// No list is longer than this; it keeps the offset within what the database counts with.
	maxPage = 1 << 24
)

// readQuery reads the query string of a list strictly: what is malformed, or given twice, is refused
// by name, because a filter that is dropped silently would widen the answer. Parameters that the
// contract does not know are ignored. It returns the query to bind, in one spelling.
func readQuery(parameters []*parameter, raw string) (url.Values, *listing, error) {
	sent, err := splitQuery(raw)
	if err != nil {
		return nil, nil, err
	}
	l := &listing{page: 1, size: defaultPageSize, query: sent}
	bind, errs, pageErr := url.Values{}, fieldErrors{}, error(nil)
	for _, p := range parameters {
		values := sent[p.name]
		switch {
		case len(values) > 1:
			errs.add(p.name, "Give this parameter only once.")
			continue
		case len(values) == 0 || values[0] == "": // an empty value is no filter
			continue
		}
		text := values[0]
		switch p.name {
		case "page":
			if l.page, err = strconv.Atoi(text); err != nil || l.page < 1 || l.page > maxPage || text[0] == '+' {
				pageErr = errInvalidPage
			}
		case "page_size":
			if l.size, err = pageSize(text); err != nil {
				errs.add(p.name, "A positive integer is required.")
			}
		case "ordering":
			if wrong := l.readOrdering(p, text); wrong != "" {
				errs.add(p.name, wrong)
			}
		default:
			bound, messages := p.read(text)
			if messages != nil {
				errs.add(p.name, messages...)
				continue
			}
			bind.Set(p.name, bound)
			if p.node.refersTo != "" {
				l.references = append(l.references, reference{p.name, p.node.refersTo, bound})
			}
		}
	}
	if len(errs) > 0 {
		return nil, nil, invalid(errs)
	}
	return bind, l, pageErr
}

func pageSize(text string) (int, error) {
	// Longer numbers than Atoi takes are still only large.
	if digits := strings.TrimLeft(text, "0123456789"); digits == "" && len(text) > 9 {
		return maxPageSize, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || text[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	return min(size, maxPageSize), nil
}

// splitQuery takes a query string apart without losing any of it.
func splitQuery(raw string) (url.Values, error) {
	values := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || !utf8.ValidString(name) {
			return nil, failed(http.StatusBadRequest, "Malformed query string.")
		}
		value, err = url.QueryUnescape(value)
		switch {
		case err != nil:
			return nil, invalidField(name, "Malformed percent-encoding.")
		case !utf8.ValidString(value):
			return nil, invalidField(name, "Not valid UTF-8.")
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// read checks the text of a filter and spells it as the generated code binds it.
func (p *parameter) read(text string) (string, []string) {
	if strings.ContainsRune(text, 0) {
		return "", []string{messageNUL}
	}
	switch p.node.kind {
	case kindUUID:
		id, ok := parseUUID(text)
		if !ok {
			return "", []string{messageUUID(text)}
		}
		return id.String(), nil
	case kindBoolean:
		switch text {
		case "true", "True", "1":
			return "true", nil
		case "false", "False", "0":
			return "false", nil
		}
		return "", []string{messageBoolean}
	case kindEnum:
		if !slices.Contains(p.node.choices, text) {
			return "", []string{"Select a valid choice. " + text + " is not one of the available choices."}
		}
		return text, nil
	case kindDateTime:
		t, ok := parseDateTime(text)
		if !ok {
			return "", []string{"Enter a valid date/time."}
		}
		return t.Format("2006-01-02T15:04:05.999999Z07:00"), nil
	}
	return text, p.node.checkText(text)
}

// readHeader checks the headers that an operation reads.
func readHeader(parameters []*parameter, header http.Header) error {
	errs := fieldErrors{}
	for _, p := range parameters {
		values := header.Values(p.name)
		switch {
		case len(values) == 0:
		case len(values) > 1:
			errs.add(p.name, "Give this header only once.")
		case !utf8.ValidString(values[0]):
			errs.add(p.name, "Not valid UTF-8.")
		default:
			if _, messages := p.read(values[0]); messages != nil {
				errs.add(p.name, messages...)
			}
		}
	}
	if len(errs) > 0 {
		return invalid(errs)
	}
	return nil
}

func (l *listing) readOrdering(p *parameter, text string) string {
	for term := range strings.SplitSeq(text, ",") {
		term = strings.TrimSpace(term)
		if !slices.Contains(p.ordering, term) {
			return "Select a valid choice. " + term + " is not one of the available choices."
		}
		name, descending := strings.CutPrefix(term, "-")
		l.order = append(l.order, queries.Column{Name: name, Descending: descending})
	}
	if len(l.order) > maxOrdering {
		return "Ensure this field has no more than 3 elements."
	}
	return ""
}

// link is the URL of another page of the same list; the first goes without its number.
func (l *listing) link(base string, page int) *string {
	query := url.Values{}
	for name, values := range l.query {
		query[name] = values
	}
	query.Del("page")
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	text := base
	if len(query) > 0 {
		text += "?" + query.Encode()
	}
	return &text
}
