package contract

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"

	"github.com/px360/px360/server/problem"
)

// A parameter of a query string or a header.
type parameter struct {
	name string
	node *node // nil for page and page_size; for ordering, a list of choices
}

// The parameters of the query string that are no filters.
const (
	pageParameter     = "page"
	pageSizeParameter = "page_size"
	orderingParameter = "ordering"
	cursorParameter   = "cursor"
)

const (
	defaultPageSize = 20
	maxPageSize     = 100
	// No list is longer than this; it keeps the offset within what the database counts with.
	maxPage = 1 << 24
)

// addParameter compiles a parameter of an operation. Those in the path have nothing to compile: the server parses
// an id with ParseUUID, and a token is whatever was sent.
func (c *compiler) addParameter(o *Operation, p *openapi3.Parameter) error {
	switch p.In {
	case openapi3.ParameterInPath:
		if p.Name == "token" {
			if err := checkParameter(p, "required"); err != nil {
				return err
			}
			return checkKeywords(*p.Schema.Value)
		}
		if p.Name != "id" || p.Schema == nil || !p.Schema.Value.Type.Is("string") || p.Schema.Value.Format != "uuid" {
			return fmt.Errorf("the only parameters of a path are id, a string of format uuid, and token, any string")
		}
		if err := checkParameter(p, "required"); err != nil {
			return err
		}
		return checkKeywords(*p.Schema.Value, "format")
	case openapi3.ParameterInQuery:
		n, err := c.queryParameter(p)
		o.query = append(o.query, &parameter{p.Name, n})
		if err == nil && !p.AllowEmptyValue {
			return fmt.Errorf("must have allowEmptyValue: true, as an empty value is no filter")
		}
		return err
	case openapi3.ParameterInHeader:
		// The header is bound as it was sent, so it must be of a kind that has no canonical form.
		n, err := c.parameter(p, kindText, kindEnum)
		o.headers = append(o.headers, &parameter{p.Name, n})
		return err
	}
	return fmt.Errorf("in: %s is not supported", p.In)
}

func (c *compiler) queryParameter(p *openapi3.Parameter) (*node, error) {
	switch p.Name {
	case pageParameter:
		return nil, checkPaging(p, 1, "format")
	case pageSizeParameter:
		return nil, checkPaging(p, defaultPageSize)
	case orderingParameter:
		return c.ordering(p)
	case cursorParameter:
		return c.parameter(p, kindText)
	}
	return c.parameter(p, kindText, kindUUID, kindBoolean, kindEnum, kindDate, kindDateTime)
}

// checkParameter fails on what the server would not enforce. required is among that: a list has no filter that it
// insists on.
func checkParameter(p *openapi3.Parameter, enforced ...string) error {
	marshalled, err := p.MarshalYAML()
	if err != nil {
		return err
	}
	if p.Schema == nil || p.Schema.Value == nil {
		return fmt.Errorf("no schema")
	}
	present, _ := marshalled.(map[string]any)
	if p.In == openapi3.ParameterInQuery {
		enforced = append(enforced, "allowEmptyValue")
	}
	return checkKeys(present, append(enforced, "name", "in", "schema", "description", "deprecated", "example", "examples"))
}

// parameter compiles a parameter whose text is checked by itself.
func (c *compiler) parameter(p *openapi3.Parameter, kinds ...kind) (*node, error) {
	if err := checkParameter(p); err != nil {
		return nil, err
	}
	n, err := c.schema(p.Schema, 0)
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(kinds, n.kind):
		return nil, fmt.Errorf("a parameter of this type is not supported in: %s", p.In)
	case n.nullable:
		return nil, fmt.Errorf("nullable is not enforced here")
	case n.normalize:
		return nil, fmt.Errorf("x-px360-normalize is not enforced here")
	case n.rateLimitKey:
		return nil, fmt.Errorf("x-px360-rate-limit-key is not enforced here")
	}
	return n, nil
}

// checkPaging checks that page or page_size is described as ReadQuery takes it. A page_size has no format, as one of
// any number of digits is only large.
func checkPaging(p *openapi3.Parameter, byDefault float64, allowed ...string) error {
	if err := checkParameter(p); err != nil {
		return err
	}
	s := p.Schema.Value
	if err := checkKeywords(*s, append(allowed, "minimum", "default")...); err != nil {
		return err
	}
	if !s.Type.Is("integer") || s.Min == nil || *s.Min != 1 || fmt.Sprint(s.Default) != fmt.Sprint(byDefault) {
		return fmt.Errorf("must be an integer with minimum: 1 and default: %v", byDefault)
	}
	return nil
}

// ordering compiles the parameter that names columns, separated by commas.
func (c *compiler) ordering(p *openapi3.Parameter) (*node, error) {
	if err := checkParameter(p, "style", "explode"); err != nil {
		return nil, err
	}
	n, err := c.schema(p.Schema, 0)
	switch {
	case err != nil:
		return nil, err
	case p.Style != openapi3.SerializationForm || p.Explode == nil || *p.Explode:
		return nil, fmt.Errorf("must have style: form and explode: false")
	case n.kind != kindList || n.items.kind != kindEnum || n.items.nullable || n.minItems > 0 || n.independent:
		return nil, fmt.Errorf("must be an array of an enum, with no more than maxItems")
	}
	return n, nil
}

// A Term of an ordering: a field of the rows, ascending unless Descending.
type Term struct {
	Field      string
	Descending bool
}

// A Page is what a request says of the page that it wants of a list.
type Page struct {
	Number, Size int     // from 1
	Cursor       *string // instead of the number; empty is the start
	Order        []Term
	References   []Reference // of the filters: what must exist
	Ignored      []string    // names of what was sent and is no parameter, sorted; ten at most, and only such as can be told
	sent         url.Values  // all that the client sent, for the links to other pages
}

// Offset is how many rows come before the page.
func (p Page) Offset() int32 {
	return int32((p.Number - 1) * p.Size) // below 2^31, by maxPage and maxPageSize
}

// Link is the URL of another page of the same list. The first goes without its number.
func (p Page) Link(base string, number int) *string {
	value := ""
	if number > 1 {
		value = strconv.Itoa(number)
	}
	return p.link(base, pageParameter, value)
}

// CursorLink is Link where a cursor is followed.
func (p Page) CursorLink(base, cursor string) *string { return p.link(base, cursorParameter, cursor) }

func (p Page) link(base, parameter, value string) *string {
	query := maps.Clone(p.sent)
	query.Del(pageParameter)
	if value != "" {
		query.Set(parameter, value)
	}
	text := base
	if len(query) > 0 {
		text += "?" + query.Encode()
	}
	return &text
}

// ReadQuery parses the query string of a list strictly: what is malformed, or given twice, is refused by name, because
// to drop a filter silently would widen the answer. Parameters that the contract does not know are ignored. It returns
// the filters to bind, in canonical form. The error is a 400 with messages by field, or a 404 for an invalid page.
func (o *Operation) ReadQuery(raw string) (bind url.Values, page Page, err error) {
	sent, err := splitQuery(raw)
	if err != nil {
		return nil, Page{}, err
	}
	page = Page{Number: 1, Size: defaultPageSize, sent: sent}
	bind, validPage := url.Values{}, true
	errs := problem.Fields{}
	for _, p := range o.query {
		values := sent[p.name]
		switch {
		case len(values) > 1:
			errs.Add(p.name, "Give this parameter only once.")
			continue
		case len(values) > 0 && p.name == cursorParameter:
			if page.Cursor = &values[0]; values[0] != "" {
				if _, messages := p.node.parse(values[0]); messages != nil {
					errs.Add(p.name, messages...)
				}
			}
			continue
		case len(values) == 0 || values[0] == "": // an empty value is no filter
			continue
		}
		var messages []string
		switch text := values[0]; p.name {
		case pageParameter:
			page.Number, validPage = pageNumber(text)
		case pageSizeParameter:
			page.Size, messages = pageSize(text)
		case orderingParameter:
			page.Order, messages = p.node.parseOrder(text)
		default:
			var canonical string
			if canonical, messages = p.node.parse(text); messages == nil {
				bind.Set(p.name, canonical)
				if p.node.refersTo != "" {
					page.References = append(page.References, Reference{p.name, p.node.refersTo, uuid.MustParse(canonical)})
				}
			}
		}
		if messages != nil {
			errs.Add(p.name, messages...)
		}
	}
	switch {
	case len(errs) > 0:
		return nil, Page{}, problem.Invalid(errs)
	case page.Cursor != nil:
		page.Number = 1
	case !validPage:
		return nil, Page{}, problem.InvalidPage
	}
	page.Ignored = o.ignored(sent)
	return bind, page, nil
}

// parameterName is what a name must look like to be told in a header.
var parameterName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,50}$`)

// mostIgnored is how many names are told.
const mostIgnored = 10

func (o *Operation) ignored(sent url.Values) (names []string) {
	for name := range sent {
		known := slices.ContainsFunc(o.query, func(p *parameter) bool { return p.name == name })
		if !known && parameterName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), mostIgnored)]
}

func pageNumber(text string) (int, bool) {
	number, err := strconv.Atoi(text)
	return number, err == nil && number >= 1 && number <= maxPage && text[0] != '+'
}

func pageSize(text string) (int, []string) {
	// Longer numbers than Atoi takes are still only large.
	if digits := strings.TrimLeft(text, "0123456789"); digits == "" && len(text) > 9 {
		return maxPageSize, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || text[0] == '+' {
		return 0, []string{"A positive integer is required."}
	}
	return min(size, maxPageSize), nil
}

// splitQuery parses a query string without losing any of it, as url.ParseQuery does with what is malformed.
func splitQuery(raw string) (url.Values, error) {
	values := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || !utf8.ValidString(name) {
			return nil, problem.BadRequest("Malformed query string.")
		}
		value, err = url.QueryUnescape(value)
		switch {
		case err != nil:
			return nil, problem.InvalidField(name, "Malformed percent-encoding.")
		case !utf8.ValidString(value):
			return nil, problem.InvalidField(name, "Not valid UTF-8.")
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// parse checks the text of a parameter. It returns the canonical form, which the generated code can bind.
func (n *node) parse(text string) (string, []string) {
	if strings.ContainsRune(text, 0) {
		return "", []string{messageNUL}
	}
	switch n.kind {
	case kindUUID:
		id, ok := ParseUUID(text)
		if !ok {
			return "", []string{messageUUID(problem.Excerpt(text))}
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
		if !slices.Contains(n.choices, text) {
			return "", []string{messageNoFilter(text)}
		}
		return text, nil
	case kindDate:
		if !validDate(text) {
			return "", []string{"Enter a valid date."}
		}
		return text, nil
	case kindDateTime:
		t, ok := parseDateTime(text)
		if !ok {
			return "", []string{"Enter a valid date/time."}
		}
		return t.Format("2006-01-02T15:04:05.999999Z07:00"), nil
	}
	return text, n.checkText(text)
}

func (n *node) parseOrder(text string) (order []Term, messages []string) {
	for term := range strings.SplitSeq(text, ",") {
		term = strings.TrimSpace(term)
		if !slices.Contains(n.items.choices, term) {
			return nil, []string{messageNoFilter(term)}
		}
		name, descending := strings.CutPrefix(term, "-")
		order = append(order, Term{Field: name, Descending: descending})
	}
	if len(order) > n.maxItems {
		return nil, []string{messageMaxItems(n.maxItems)}
	}
	return order, nil
}

// ReadHeader checks the headers that the operation reads. The error is a 400 with messages by header.
func (o *Operation) ReadHeader(header http.Header) error {
	errs := problem.Fields{}
	for _, p := range o.headers {
		values := header.Values(p.name)
		switch {
		case len(values) == 0:
		case len(values) > 1:
			errs.Add(p.name, "Give this header only once.")
		case !utf8.ValidString(values[0]):
			errs.Add(p.name, "Not valid UTF-8.")
		default:
			if _, messages := p.node.parse(values[0]); messages != nil {
				errs.Add(p.name, messages...)
			}
		}
	}
	if len(errs) > 0 {
		return problem.Invalid(errs)
	}
	return nil
}
