package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json/jsontext"
)

// kind is how a value of the contract is read.
type kind int

const (
	kindText kind = iota
	kindUUID
	kindInteger
	kindBoolean
	kindDate
	kindDateTime
	kindEnum
	kindJSON // any value, kept as it is
	kindObject
	kindList
)

// A node is a schema of the contract, compiled for reading. Reading checks the value with the
// messages that Django REST Framework has for each mistake, and writes what is to be bound: text
// trimmed, UUIDs and times in one spelling, members that the contract does not know left out. So
// what was checked is what is bound, to the byte.
type node struct {
	kind     kind
	nullable bool

	notBlank       bool
	maxLength      int
	pattern        *regexp.Regexp
	patternMessage string
	format         string // email or uri

	minimum, maximum *big.Int
	choices          []string
	refersTo         string // the noun that a UUID refers to
	counts           bool   // rate limits count by this text

	members  map[string]*node
	required []string // sorted

	items      *node
	minItems   int
	maxItems   int
	itemsApart bool // each item stands alone: a bad one is left out and told in itemErrors
}

// compileSchema compiles a schema with its allOf parts merged.
func compileSchema(ref *openapi3.SchemaRef) (*node, error) {
	s := ref.Value
	n := &node{nullable: s.Nullable, members: map[string]*node{}}
	if err := n.merge(s); err != nil {
		return nil, err
	}
	sort.Strings(n.required)
	return n, nil
}

func (n *node) merge(s *openapi3.Schema) error {
	for _, part := range s.AllOf {
		whole, err := compileSchema(part)
		if err != nil {
			return err
		}
		nullable := n.nullable || whole.nullable
		for name, member := range n.members {
			whole.members[name] = member
		}
		whole.required = append(whole.required, n.required...)
		*n = *whole
		n.nullable = nullable
	}
	if len(s.AllOf) > 0 && s.Type == nil {
		return nil
	}
	switch {
	case len(s.Enum) > 0:
		n.kind = kindEnum
		for _, choice := range s.Enum {
			n.choices = append(n.choices, fmt.Sprint(choice))
		}
	case s.Type == nil:
		n.kind = kindJSON
	case s.Type.Is("string"):
		return n.mergeString(s)
	case s.Type.Is("integer"):
		n.kind = kindInteger
		n.minimum, n.maximum = bound(s.Min), bound(s.Max)
	case s.Type.Is("boolean"):
		n.kind = kindBoolean
	case s.Type.Is("object"):
		n.kind = kindObject
		n.required = append(n.required, s.Required...)
		for name, member := range s.Properties {
			compiled, err := compileSchema(member)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			n.members[name] = compiled
		}
	case s.Type.Is("array"):
		n.kind = kindList
		n.minItems = int(s.MinItems)
		if s.MaxItems != nil {
			n.maxItems = int(*s.MaxItems)
		}
		n.itemsApart, _ = s.Extensions["x-px360-items-apart"].(bool)
		var err error
		n.items, err = compileSchema(s.Items)
		return err
	default:
		return fmt.Errorf("a schema of type %v is not supported", s.Type)
	}
	return nil
}

func (n *node) mergeString(s *openapi3.Schema) error {
	switch s.Format {
	case "uuid":
		n.kind = kindUUID
		n.refersTo, _ = s.Extensions["x-px360-refers-to"].(string)
		return nil
	case "date":
		n.kind = kindDate
		return nil
	case "date-time":
		n.kind = kindDateTime
		return nil
	case "", "email", "uri":
		n.format = s.Format
	default:
		return fmt.Errorf("format %q is not supported", s.Format)
	}
	n.kind = kindText
	n.counts, _ = s.Extensions["x-px360-rate-limit-key"].(bool)
	if s.MinLength > 1 {
		return fmt.Errorf("a minLength of %d is not supported: say it as a pattern, with a message", s.MinLength)
	}
	n.notBlank = s.MinLength > 0
	if s.MaxLength != nil {
		n.maxLength = int(*s.MaxLength)
	}
	if s.Pattern != "" {
		// The contract's pattern is one that every language understands; where Go can say more
		// exactly what is meant, an extension does.
		pattern, found := s.Extensions["x-px360-pattern"].(string)
		if !found {
			pattern = s.Pattern
		}
		var err error
		if n.pattern, err = regexp.Compile(pattern); err != nil {
			return err
		}
		n.patternMessage, _ = s.Extensions["x-px360-pattern-message"].(string)
		if n.patternMessage == "" {
			return fmt.Errorf("pattern %q has no x-px360-pattern-message", s.Pattern)
		}
	}
	return nil
}

func bound(f *float64) *big.Int {
	if f == nil {
		return nil
	}
	return big.NewInt(int64(*f))
}

// maxDepth is how deep a body may nest.
const maxDepth = 64

// A reading is one pass over a body: what comes in, what is to be bound, and what it learns on the
// way.
type reading struct {
	in         *jsontext.Decoder
	out        *jsontext.Encoder
	references []reference
	countedBy  []string            // what rate limits count by
	positions  []int               // of the items that stand apart and are good
	itemErrors map[int]fieldErrors // of those that are not
	refused    bool                // nothing will be bound: nothing more is written
}

func (r *reading) write(token jsontext.Token) error {
	if r.refused {
		return nil
	}
	return r.out.WriteToken(token)
}

func (r *reading) writeValue(raw jsontext.Value) error {
	if r.refused {
		return nil
	}
	return r.out.WriteValue(raw)
}

func (r *reading) refuse(messages any) (any, error) {
	r.refused = true
	return messages, nil
}

// A reference is a UUID in a body that must lead to something.
type reference struct {
	field, noun, text string
}

// A parseError is a body that is no JSON as this server reads it.
type parseError struct{ text string }

func (e *parseError) Error() string { return "JSON parse error - " + e.text }

// readBody checks body against the schema. It returns the bytes to bind, or a parseError, or
// fieldErrors by way of a problem.
func readBody(n *node, body []byte) ([]byte, *reading, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}") // no body is an empty object
	}
	if err := checkDepth(body); err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	out.Grow(len(body))
	r := &reading{
		in:  jsontext.NewDecoder(bytes.NewReader(body)),
		out: jsontext.NewEncoder(&out),
	}
	errs, err := r.value(n)
	if err == nil {
		err = r.end()
	}
	switch {
	case err != nil:
		return nil, nil, &parseError{strings.TrimPrefix(err.Error(), "jsontext: ")}
	case errs != nil:
		return nil, nil, invalid(asFieldErrors(errs))
	}
	return out.Bytes(), r, nil
}

// end refuses what follows the value.
func (r *reading) end() error {
	if _, err := r.in.ReadToken(); err == nil {
		return fmt.Errorf("extra data after the value at byte %d", r.in.InputOffset())
	} else if err != io.EOF {
		return err
	}
	return nil
}

// asFieldErrors puts the messages about a whole body under their key.
func asFieldErrors(errs any) fieldErrors {
	if f, ok := errs.(fieldErrors); ok {
		return f
	}
	return fieldErrors{wholeObject: errs}
}

// checkDepth refuses what nests deeper than maxDepth, before anything recurses into it.
func checkDepth(body []byte) error {
	depth, inText := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return &parseError{fmt.Sprintf("nested deeper than %d at byte %d", maxDepth, i)}
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return nil
}

// value reads one value. What is wrong with it comes back as []string, or as fieldErrors for an
// object; an error means that the body is no JSON.
func (r *reading) value(n *node) (any, error) {
	switch n.kind {
	case kindObject:
		return r.object(n)
	case kindList:
		return r.list(n)
	}
	raw, err := r.in.ReadValue()
	if err != nil {
		return nil, err
	}
	bound, messages := n.read(raw)
	if messages != nil {
		return r.refuse(messages)
	}
	return nil, r.writeValue(bound)
}

func (r *reading) object(n *node) (any, error) {
	if k := r.in.PeekKind(); k != '{' {
		raw, err := r.in.ReadValue()
		if err != nil {
			return nil, err
		}
		if k == 'n' {
			return r.refuse([]string{"No data provided"})
		}
		return r.refuse([]string{"Invalid data. Expected a dictionary, but got " + pythonType(raw) + "."})
	}
	if _, err := r.in.ReadToken(); err != nil {
		return nil, err
	}
	if err := r.write(jsontext.BeginObject); err != nil {
		return nil, err
	}
	errs, seen := fieldErrors{}, 0
	missing := slices.Clone(n.required)
	for r.in.PeekKind() != '}' {
		name, err := r.in.ReadToken()
		if err != nil {
			return nil, err
		}
		member, known := n.members[name.String()]
		if !known {
			if err := r.in.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		seen++
		field := name.String()
		if i, found := slices.BinarySearch(missing, field); found {
			missing = slices.Delete(missing, i, i+1)
		}
		wrong, err := r.member(field, member)
		if err != nil {
			return nil, err
		}
		if wrong != nil {
			errs[field] = wrong
		}
	}
	if _, err := r.in.ReadToken(); err != nil {
		return nil, err
	}
	for _, field := range missing {
		errs.add(field, messageRequired)
	}
	if len(errs) > 0 {
		return r.refuse(errs)
	}
	return nil, r.write(jsontext.EndObject)
}

// member reads the value of a member. The name is written only with a value behind it, because
// after a mistake nothing of the body is bound anyway.
func (r *reading) member(field string, n *node) (any, error) {
	if n.kind == kindObject || n.kind == kindList {
		if r.in.PeekKind() == 'n' {
			r.refused = true
			return []string{messageNull}, r.in.SkipValue()
		}
		if err := r.write(jsontext.String(field)); err != nil {
			return nil, err
		}
		return r.value(n)
	}
	raw, err := r.in.ReadValue()
	if err != nil {
		return nil, err
	}
	bound, messages := n.read(raw)
	if messages != nil {
		return r.refuse(messages)
	}
	if n.refersTo != "" && string(bound) != "null" {
		r.references = append(r.references, reference{field, n.refersTo, unquote(bound)})
	}
	if n.counts {
		r.countedBy = append(r.countedBy, unquote(bound))
	}
	if err := r.write(jsontext.String(field)); err != nil {
		return nil, err
	}
	return nil, r.writeValue(bound)
}

func (r *reading) list(n *node) (any, error) {
	if k := r.in.PeekKind(); k != '[' {
		raw, err := r.in.ReadValue()
		if err != nil {
			return nil, err
		}
		return r.refuse([]string{"Expected a list of items but got type \"" + pythonType(raw) + "\"."})
	}
	raw, err := r.in.ReadValue()
	if err != nil {
		return nil, err
	}
	items, err := split(raw, n.maxItems)
	switch {
	case err != nil:
		return nil, err
	case len(items) < n.minItems:
		return r.refuse([]string{"This list may not be empty."})
	case n.maxItems > 0 && len(items) > n.maxItems:
		return r.refuse([]string{fmt.Sprintf("Ensure this field has no more than %d elements.", n.maxItems)})
	}
	if err := r.write(jsontext.BeginArray); err != nil {
		return nil, err
	}
	r.itemErrors = map[int]fieldErrors{}
	for i, item := range items {
		bound, inner, err := readBody(n.items, item)
		var wrong *problem
		switch {
		case err == nil:
			r.positions = append(r.positions, i)
			r.countedBy = append(r.countedBy, inner.countedBy...)
			if err := r.writeValue(bound); err != nil {
				return nil, err
			}
		case errors.As(err, &wrong):
			r.itemErrors[i] = wrong.body.(fieldErrors)
		default:
			return nil, err
		}
	}
	if !n.itemsApart && len(r.itemErrors) > 0 {
		all := make([]any, len(items))
		for i := range all {
			if all[i] = r.itemErrors[i]; r.itemErrors[i] == nil {
				all[i] = fieldErrors{}
			}
		}
		return r.refuse(all)
	}
	return nil, r.write(jsontext.EndArray)
}

// split cuts a list into its items without reading into them. It stops at one item more than most, if that
// is not 0: a body can have a million empty ones, which take up more than the body itself.
func split(list jsontext.Value, most int) ([]jsontext.Value, error) {
	in := jsontext.NewDecoder(bytes.NewReader(list))
	if _, err := in.ReadToken(); err != nil {
		return nil, err
	}
	var items []jsontext.Value
	for in.PeekKind() != ']' && (most == 0 || len(items) <= most) {
		item, err := in.ReadValue()
		if err != nil {
			return nil, err
		}
		items = append(items, item.Clone())
	}
	return items, nil
}

func unquote(raw jsontext.Value) string {
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil || !utf8.Valid(text) {
		return ""
	}
	return string(text)
}

func quote(text string) jsontext.Value {
	raw, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		panic(err) // text that came out of a strict decoder is valid UTF-8
	}
	return raw
}
