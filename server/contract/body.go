package contract

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/px360/px360/server/problem"
)

// A Body is a valid body in canonical form, and what was found in it.
type Body struct {
	JSON          []byte                 // what is to be bound, and nothing else
	References    []Reference            // UUIDs that must exist
	RateLimitKeys []string               // what rate limits count by: sorted, each once
	Positions     []int                  // of a list of independent items: where those in JSON were, from 0
	ItemErrors    map[int]problem.Fields // of the same list: what is wrong with the others, by position; not nil if there is such a list
}

// A Reference is a UUID that refers to an object.
type Reference struct {
	Field string // of the body or the query string
	Noun  string
	ID    uuid.UUID
}

// maxDepth is how deep a body may nest.
const maxDepth = 64

// ReadBody checks a body, in one pass. No body of a POST is an empty object; a PUT or PATCH must have one. The error is
// a 400: about the JSON, or with messages by field.
func (o *Operation) ReadBody(raw []byte) (Body, error) {
	if o.body == nil {
		return Body{}, nil
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		if o.bodyRequired {
			return Body{}, problem.BadRequest(messageNoBody)
		}
		raw = []byte("{}")
	}
	if err := checkDepth(raw); err != nil {
		return Body{}, malformed(err)
	}
	body, messages, err := decode(o.body, raw)
	switch {
	case err != nil:
		return Body{}, malformed(err)
	case messages != nil:
		return Body{}, problem.Invalid(fields(messages))
	}
	slices.Sort(body.RateLimitKeys)
	body.RateLimitKeys = slices.Compact(body.RateLimitKeys)
	return body, nil
}

// malformed is the answer to a body that is not JSON as this server takes it: RFC 8259 in UTF-8, each name once.
func malformed(err error) error {
	return problem.BadRequest("JSON parse error - " + strings.TrimPrefix(err.Error(), "jsontext: "))
}

// fields puts messages that concern no single field under their key.
func fields(messages any) problem.Fields {
	if f, ok := messages.(problem.Fields); ok {
		return f
	}
	return problem.Fields{problem.NonField: messages}
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
				return fmt.Errorf("nested deeper than %d at byte %d", maxDepth, i)
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return nil
}

// A decoder is one pass over a body.
type decoder struct {
	in      *jsontext.Decoder
	out     *jsontext.Encoder
	body    Body
	invalid bool // nothing will be bound: nothing more is encoded
}

// decode checks a whole JSON text. messages is nil for a valid one; see value.
func decode(n *node, raw []byte) (body Body, messages any, err error) {
	var out bytes.Buffer
	out.Grow(len(raw))
	d := &decoder{in: jsontext.NewDecoder(bytes.NewReader(raw)), out: jsontext.NewEncoder(&out)}
	if messages, err = d.value(n); err == nil {
		err = d.end()
	}
	if err != nil || messages != nil {
		return Body{}, messages, err
	}
	d.body.JSON = out.Bytes()
	return d.body, nil, nil
}

// end refuses what follows the value.
func (d *decoder) end() error {
	if _, err := d.in.ReadToken(); err == nil {
		return fmt.Errorf("extra data after the value at byte %d", d.in.InputOffset())
	} else if err != io.EOF {
		return err
	}
	return nil
}

func (d *decoder) write(token jsontext.Token) error {
	if d.invalid {
		return nil
	}
	return d.out.WriteToken(token)
}

func (d *decoder) writeValue(raw jsontext.Value) error {
	if d.invalid {
		return nil
	}
	return d.out.WriteValue(raw)
}

func (d *decoder) refuse(messages any) (any, error) {
	d.invalid = true
	return messages, nil
}

// value decodes one value. What is wrong with it comes back as []string, as problem.Fields of an object, or as a list
// of problem.Fields of a list; an error means that the text is not JSON.
func (d *decoder) value(n *node) (any, error) {
	switch n.kind {
	case kindObject:
		return d.object(n)
	case kindList:
		return d.list(n)
	}
	raw, err := d.in.ReadValue()
	if err != nil {
		return nil, err
	}
	canonical, messages := n.decode(raw)
	if messages != nil {
		return d.refuse(messages)
	}
	return nil, d.writeValue(canonical)
}

func (d *decoder) object(n *node) (any, error) {
	if k := d.in.PeekKind(); k != '{' {
		raw, err := d.in.ReadValue()
		if err != nil {
			return nil, err
		}
		if k == 'n' {
			return d.refuse([]string{"No data provided"})
		}
		return d.refuse([]string{"Invalid data. Expected a dictionary, but got " + pythonType(raw) + "."})
	}
	if _, err := d.in.ReadToken(); err != nil {
		return nil, err
	}
	if err := d.write(jsontext.BeginObject); err != nil {
		return nil, err
	}
	errs, missing := problem.Fields{}, slices.Clone(n.required)
	for d.in.PeekKind() != '}' {
		name, err := d.in.ReadToken()
		if err != nil {
			return nil, err
		}
		field := name.String()
		member, known := n.members[field]
		if !known {
			if err := d.in.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		if i, found := slices.BinarySearch(missing, field); found {
			missing = slices.Delete(missing, i, i+1)
		}
		messages, err := d.member(field, member)
		if err != nil {
			return nil, err
		}
		if messages != nil {
			errs[field] = messages
		}
	}
	if _, err := d.in.ReadToken(); err != nil {
		return nil, err
	}
	for _, field := range missing {
		errs.Add(field, messageRequired)
	}
	if len(errs) > 0 {
		return d.refuse(errs)
	}
	return nil, d.write(jsontext.EndObject)
}

// member decodes the value of a member. The name is encoded only with a valid value: after a mistake nothing of the
// body is bound anyway.
func (d *decoder) member(field string, n *node) (any, error) {
	if n.kind == kindObject || n.kind == kindList {
		if d.in.PeekKind() == 'n' {
			d.invalid = true
			return []string{MessageNull}, d.in.SkipValue()
		}
		if err := d.write(jsontext.String(field)); err != nil {
			return nil, err
		}
		return d.value(n)
	}
	raw, err := d.in.ReadValue()
	if err != nil {
		return nil, err
	}
	canonical, messages := n.decode(raw)
	if messages != nil {
		return d.refuse(messages)
	}
	if n.refersTo != "" && canonical.Kind() != 'n' {
		id, _ := ParseUUID(unquote(canonical))
		d.body.References = append(d.body.References, Reference{field, n.refersTo, id})
	}
	if n.rateLimitKey {
		d.body.RateLimitKeys = append(d.body.RateLimitKeys, unquote(canonical))
	}
	if err := d.write(jsontext.String(field)); err != nil {
		return nil, err
	}
	return nil, d.writeValue(canonical)
}

func (d *decoder) list(n *node) (any, error) {
	raw, err := d.in.ReadValue()
	switch {
	case err != nil:
		return nil, err
	case raw.Kind() != '[':
		return d.refuse([]string{"Expected a list of items but got type \"" + pythonType(raw) + "\"."})
	}
	items, err := split(raw, n.maxItems)
	switch {
	case err != nil:
		return nil, err
	case len(items) < n.minItems:
		return d.refuse([]string{"This list may not be empty."})
	case len(items) > n.maxItems:
		return d.refuse([]string{messageMaxItems(n.maxItems)})
	}
	return d.items(n, items)
}

// items decodes each item by itself, so that a bad one leaves nothing in the output.
func (d *decoder) items(n *node, items []jsontext.Value) (any, error) {
	if err := d.write(jsontext.BeginArray); err != nil {
		return nil, err
	}
	errs := map[int]problem.Fields{}
	for i, item := range items {
		body, messages, err := decode(n.items, item)
		switch {
		case err != nil:
			return nil, err
		case messages != nil:
			errs[i] = fields(messages)
			continue
		}
		d.body.RateLimitKeys = append(d.body.RateLimitKeys, body.RateLimitKeys...)
		if n.independent {
			d.body.Positions = append(d.body.Positions, i)
		}
		if err := d.writeValue(body.JSON); err != nil {
			return nil, err
		}
	}
	if n.independent {
		d.body.ItemErrors = errs
	} else if len(errs) > 0 {
		all := make([]problem.Fields, len(items))
		for i := range all {
			if all[i] = errs[i]; all[i] == nil {
				all[i] = problem.Fields{} // as DRF says that an item is valid
			}
		}
		return d.refuse(all)
	}
	return nil, d.write(jsontext.EndArray)
}

// split cuts a list into its items without decoding them. It stops at one item more than most: a body can have a
// million empty ones, which take up more memory than the body itself.
func split(list jsontext.Value, most int) ([]jsontext.Value, error) {
	in := jsontext.NewDecoder(bytes.NewReader(list))
	if _, err := in.ReadToken(); err != nil {
		return nil, err
	}
	var items []jsontext.Value
	for in.PeekKind() != ']' && len(items) <= most {
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
