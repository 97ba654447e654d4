package contract

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// kind is how a value is decoded.
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

// A node is a compiled schema. It checks a value, with DRF's message for each mistake, and gives the canonical form in
// which the value is bound: text trimmed, UUIDs in lower case with hyphens, times in UTC, unknown members left out. So
// what was checked is what is bound, byte for byte.
type node struct {
	kind     kind
	nullable bool

	notBlank       bool
	maxLength      int // in characters; math.MaxInt if there is none
	pattern        *regexp.Regexp
	patternMessage string
	format         string // email or uri

	normalize  bool // to Unicode's NFKC
	yearsAhead int  // how far in the future a date may be; 0 if that is not limited

	minimum, maximum *big.Int
	choices          []string
	refersTo         string // the noun that a UUID refers to
	rateLimitKey     bool   // rate limits count by this text
	maxBytes         int    // of free JSON; math.MaxInt if there is none

	members  map[string]*node
	required []string // sorted

	items       *node
	minItems    int
	maxItems    int  // math.MaxInt if there is none
	independent bool // a bad item is left out and reported, and does not refuse the others
}

// annotations are keywords that constrain nothing.
var annotations = []string{"type", "description", "title", "example", "deprecated"}

// keywords are those that each kind enforces.
var keywords = map[kind][]string{
	kindText: {"nullable", "format", "minLength", "maxLength", "pattern",
		"x-px360-pattern", "x-px360-pattern-message", "x-px360-rate-limit-key", "x-px360-normalize"},
	kindUUID:     {"nullable", "format", "x-px360-refers-to"},
	kindInteger:  {"nullable", "format", "minimum", "maximum"},
	kindBoolean:  {"nullable"},
	kindDate:     {"nullable", "format", "x-px360-max-years-ahead"},
	kindDateTime: {"nullable", "format"},
	kindEnum:     {"nullable", "enum"},
	kindJSON:     {"nullable", "x-px360-max-bytes", "x-px360-settable-max-bytes"},
	kindObject:   {"properties", "required"},
	kindList:     {"items", "minItems", "maxItems", "x-px360-items-schema"},
}

// checkKeywords fails on a keyword that is neither enforced nor an annotation. Extensions of others are annotations.
func checkKeywords(schema openapi3.Schema, enforced ...string) error {
	marshalled, err := schema.MarshalYAML()
	if err != nil {
		return err
	}
	present, isObject := marshalled.(map[string]any)
	if !isObject {
		return fmt.Errorf("a schema of %v is not supported", marshalled)
	}
	return checkKeys(present, slices.Concat(annotations, enforced))
}

func checkKeys(present map[string]any, allowed []string) error {
	for _, key := range slices.Sorted(maps.Keys(present)) {
		annotation := strings.HasPrefix(key, "x-") && !strings.HasPrefix(key, extensionPrefix)
		if !annotation && !slices.Contains(allowed, key) {
			return fmt.Errorf("%s is not enforced here", key)
		}
	}
	return nil
}

// schema compiles a schema. depth is the number of schemas around it.
func (c *compiler) schema(ref *openapi3.SchemaRef, depth int) (*node, error) {
	switch {
	case ref == nil || ref.Value == nil:
		return nil, fmt.Errorf("no schema")
	case depth > maxDepth:
		return nil, fmt.Errorf("nested deeper than %d: does the schema contain itself?", maxDepth)
	}
	if err := checkKeys(ref.Extensions, nil); err != nil { // beside a $ref
		return nil, err
	}
	s := ref.Value
	if len(s.AllOf) > 0 {
		return c.allOf(s, depth)
	}
	k, err := kindOf(s)
	if err != nil {
		return nil, err
	}
	if err := checkKeywords(*s, keywords[k]...); err != nil {
		return nil, err
	}
	n := &node{kind: k, nullable: s.Nullable, maxLength: math.MaxInt, maxItems: math.MaxInt, maxBytes: math.MaxInt}
	switch k {
	case kindText:
		err = n.setText(s)
	case kindUUID:
		err = c.setReference(n, s)
	case kindInteger:
		err = n.setBounds(s)
	case kindDate:
		if err = extension(s.Extensions, "x-px360-max-years-ahead", &n.yearsAhead); err == nil && n.yearsAhead < 0 {
			err = fmt.Errorf("x-px360-max-years-ahead of %d", n.yearsAhead)
		}
	case kindEnum:
		err = n.setChoices(s)
	case kindJSON:
		err = c.setMaxBytes(n, s)
	case kindObject:
		err = c.setMembers(n, s, depth)
	case kindList:
		err = c.setItems(n, s, depth)
	}
	return n, err
}

func kindOf(s *openapi3.Schema) (kind, error) {
	switch {
	case s.Type == nil && len(s.Enum) == 0:
		return kindJSON, nil
	case s.Type.Is("string") && len(s.Enum) > 0:
		return kindEnum, nil
	case s.Type.Is("string"):
		switch s.Format {
		case "", "email", "uri":
			return kindText, nil
		case "uuid":
			return kindUUID, nil
		case "date":
			return kindDate, nil
		case "date-time":
			return kindDateTime, nil
		}
		return 0, fmt.Errorf("format %q is not supported", s.Format)
	case len(s.Enum) > 0:
		return 0, fmt.Errorf("an enum without type: string is not supported")
	case s.Type.Is("integer"):
		return kindInteger, nil
	case s.Type.Is("boolean"):
		return kindBoolean, nil
	case s.Type.Is("object"):
		return kindObject, nil
	case s.Type.Is("array"):
		return kindList, nil
	}
	return 0, fmt.Errorf("type %v is not supported", s.Type.Slice())
}

// allOf compiles one of two things: a single $ref with annotations beside it, of any kind; or an object in several
// parts, which must not share members.
func (c *compiler) allOf(s *openapi3.Schema, depth int) (*node, error) {
	if len(s.AllOf) == 1 && s.Type == nil {
		if err := checkKeywords(*s, "allOf", "nullable"); err != nil {
			return nil, fmt.Errorf("beside allOf without a type: %w", err)
		}
		n, err := c.schema(s.AllOf[0], depth+1)
		if err == nil && s.Nullable {
			n.nullable = true
			if n.kind == kindObject || n.kind == kindList {
				err = fmt.Errorf("nullable is not enforced here")
			}
		}
		return n, err
	}
	parts, enforced := s.AllOf, []string{"allOf"}
	if s.Type != nil {
		enforced = append(enforced, keywords[kindObject]...)
		parts = append(slices.Clone(parts), &openapi3.SchemaRef{Value: &openapi3.Schema{Type: s.Type, Properties: s.Properties, Required: s.Required}})
	}
	if err := checkKeywords(*s, enforced...); err != nil {
		return nil, fmt.Errorf("beside allOf: %w", err)
	}
	whole := &node{kind: kindObject, members: map[string]*node{}}
	for _, part := range parts {
		n, err := c.schema(part, depth+1)
		if err != nil {
			return nil, err
		}
		if n.kind != kindObject {
			return nil, fmt.Errorf("allOf of other than objects is not supported")
		}
		for name, member := range n.members {
			if whole.members[name] != nil {
				return nil, fmt.Errorf("%s: in two parts of allOf", name)
			}
			whole.members[name] = member
		}
		whole.required = append(whole.required, n.required...)
	}
	slices.Sort(whole.required)
	whole.required = slices.Compact(whole.required)
	return whole, nil
}

// setMaxBytes sets how large free JSON may be. Where the operator may allow more, up to settable, the limit is theirs.
func (c *compiler) setMaxBytes(n *node, s *openapi3.Schema) error {
	settable := 0
	if err := extension(s.Extensions, "x-px360-max-bytes", &n.maxBytes); err != nil {
		return err
	}
	if err := extension(s.Extensions, "x-px360-settable-max-bytes", &settable); err != nil {
		return err
	}
	switch {
	case n.maxBytes < 1:
		return fmt.Errorf("x-px360-max-bytes of %d", n.maxBytes)
	case settable == 0:
		return nil
	case settable < n.maxBytes:
		return fmt.Errorf("x-px360-settable-max-bytes of %d is below x-px360-max-bytes", settable)
	case c.maxPayload < n.maxBytes || c.maxPayload > settable:
		return fmt.Errorf("a limit of %d bytes is not from %d to %d", c.maxPayload, n.maxBytes, settable)
	}
	n.maxBytes = c.maxPayload
	return nil
}

func (n *node) setText(s *openapi3.Schema) error {
	n.format = s.Format
	if s.MinLength > 1 {
		return fmt.Errorf("a minLength of %d is not supported: write a pattern, which has a message", s.MinLength)
	}
	n.notBlank = s.MinLength == 1
	if s.MaxLength != nil {
		n.maxLength = int(*s.MaxLength)
	}
	if err := extension(s.Extensions, "x-px360-rate-limit-key", &n.rateLimitKey); err != nil {
		return err
	}
	form := ""
	if err := extension(s.Extensions, "x-px360-normalize", &form); err != nil {
		return err
	}
	if n.normalize = form == "NFKC"; form != "" && !n.normalize {
		return fmt.Errorf("x-px360-normalize: must be NFKC, not %q", form)
	}
	if n.rateLimitKey && n.nullable {
		return fmt.Errorf("x-px360-rate-limit-key: must not be nullable")
	}
	// The pattern of the document is one that every language understands. Where Go's syntax can be more exact, an
	// extension has that.
	pattern := s.Pattern
	if err := extension(s.Extensions, "x-px360-pattern", &pattern); err != nil {
		return err
	}
	if err := extension(s.Extensions, "x-px360-pattern-message", &n.patternMessage); err != nil {
		return err
	}
	if (s.Pattern == "") != (n.patternMessage == "") || s.Pattern == "" && pattern != "" {
		return fmt.Errorf("pattern %q and x-px360-pattern-message go together", s.Pattern)
	}
	if pattern == "" {
		return nil
	}
	var err error
	n.pattern, err = regexp.Compile(pattern)
	return err
}

func (c *compiler) setReference(n *node, s *openapi3.Schema) error {
	if err := extension(s.Extensions, "x-px360-refers-to", &n.refersTo); err != nil {
		return err
	}
	if n.refersTo != "" && !slices.Contains(c.nouns, n.refersTo) {
		return fmt.Errorf("x-px360-refers-to: no noun %q", n.refersTo)
	}
	return nil
}

// setBounds sets the range: that of the type that the number is bound to, unless the schema is narrower.
func (n *node) setBounds(s *openapi3.Schema) error {
	lowest, highest := int64(math.MinInt64), int64(math.MaxInt64)
	switch s.Format {
	case "", "int64":
	case "int32":
		lowest, highest = math.MinInt32, math.MaxInt32
	default:
		return fmt.Errorf("format %q is not supported", s.Format)
	}
	for _, bound := range []struct {
		limit *float64
		into  *int64
	}{{s.Min, &lowest}, {s.Max, &highest}} {
		switch limit := bound.limit; {
		case limit == nil:
		case *limit != math.Trunc(*limit) || math.Abs(*limit) > 1<<53:
			return fmt.Errorf("a limit of %v is not supported: it must be whole, and exact in a double", *limit)
		case int64(*limit) < lowest || int64(*limit) > highest:
			return fmt.Errorf("a limit of %v leaves nothing, or more than format %q holds", *limit, s.Format)
		default:
			*bound.into = int64(*limit)
		}
	}
	n.minimum, n.maximum = big.NewInt(lowest), big.NewInt(highest)
	return nil
}

func (n *node) setChoices(s *openapi3.Schema) error {
	for _, choice := range s.Enum {
		text, isString := choice.(string)
		if !isString {
			return fmt.Errorf("enum: %v is no string", choice)
		}
		n.choices = append(n.choices, text)
	}
	return nil
}

func (c *compiler) setMembers(n *node, s *openapi3.Schema, depth int) error {
	n.members = map[string]*node{}
	n.required = slices.Compact(slices.Sorted(slices.Values(s.Required)))
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		member, err := c.schema(s.Properties[name], depth+1)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n.members[name] = member
	}
	return nil
}

// isPlainList tells whether a node, if it is a list, has nothing but plain values.
func isPlainList(n *node) bool {
	if n.kind != kindList {
		return true
	}
	switch n.items.kind {
	case kindList, kindObject, kindJSON:
		return false
	}
	return !n.items.nullable && n.items.refersTo == "" && !n.independent
}

func (c *compiler) setItems(n *node, s *openapi3.Schema, depth int) (err error) {
	n.minItems = int(s.MinItems)
	if s.MaxItems != nil {
		n.maxItems = int(*s.MaxItems)
	}
	if n.items, err = c.schema(s.Items, depth+1); err != nil {
		return fmt.Errorf("items: %w", err)
	}
	var strict string
	if err := extension(s.Extensions, "x-px360-items-schema", &strict); err != nil || strict == "" {
		return err
	}
	if err := c.setStrictItems(n, strict, depth); err != nil {
		return fmt.Errorf("x-px360-items-schema: %w", err)
	}
	return nil
}

// setStrictItems has each item checked by itself against the schema of that name. The one that the list declares for
// its items is for others, such as a gateway that validates requests: a bad item must not make it refuse the list. So
// it has to name the same members and to constrain none of them.
func (c *compiler) setStrictItems(n *node, name string, depth int) error {
	ref := c.schemas[name]
	if ref == nil {
		return fmt.Errorf("no schema %q", name)
	}
	strict, err := c.schema(ref, depth+1)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	loose := n.items
	if strict.kind != kindObject || loose.kind != kindObject {
		return fmt.Errorf("both %s and the items must be objects", name)
	}
	if len(loose.required) > 0 {
		return fmt.Errorf("the items must not require %s", loose.required[0])
	}
	for _, member := range slices.Sorted(maps.Keys(strict.members)) {
		if loose.members[member] == nil {
			return fmt.Errorf("the items have no member %s", member)
		}
	}
	for _, member := range slices.Sorted(maps.Keys(loose.members)) {
		switch {
		case strict.members[member] == nil:
			return fmt.Errorf("%s has no member %s", name, member)
		case loose.members[member].kind != kindJSON: // a schema without a type allows null, too (OpenAPI 3.0.3)
			return fmt.Errorf("the items must allow any value of %s", member)
		}
	}
	n.items, n.independent = strict, true
	return nil
}

// body compiles the schema of a body, and checks what depends on where in a body a schema is.
func (c *compiler) body(ref *openapi3.SchemaRef) (*node, error) {
	n, err := c.schema(ref, 0)
	if err != nil {
		return nil, err
	}
	if n.kind != kindObject {
		return nil, fmt.Errorf("must be an object")
	}
	independent := 0
	for _, m := range n.members {
		if m.independent {
			independent++
		}
	}
	if independent > 1 {
		return nil, fmt.Errorf("x-px360-items-schema: only one list can have it, as positions do not say of which list they are")
	}
	return n, checkPlaces(n, 0)
}

// checkPlaces checks the members of an object. depth is 0 for the body itself.
func checkPlaces(n *node, depth int) error {
	for _, name := range n.required {
		if n.members[name] == nil {
			return fmt.Errorf("%s: required, but not among the properties", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.members)) {
		m := n.members[name]
		var err error
		switch {
		case depth > 0 && (m.refersTo != "" || m.kind == kindList && m.items.refersTo != ""):
			err = fmt.Errorf("x-px360-refers-to: only members of the body itself can have it, as a Reference has no path")
		case m.independent && depth > 0:
			err = fmt.Errorf("x-px360-items-schema: only members of the body itself can have it")
		case m.kind == kindList && (!isPlainList(m.items) || m.items.kind == kindJSON || m.items.nullable):
			err = fmt.Errorf("a list of free JSON, of null, or of lists of more than plain values is not supported")
		case m.kind == kindList && m.items.kind == kindObject:
			err = checkPlaces(m.items, depth+1)
		case m.kind == kindObject:
			err = checkPlaces(m, depth+1)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
