package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/px360/px360/server/problem"
)

// A decoder is one pass over a body: each token is read once, checked, and written to what will be bound.
type decoder struct {
	ctx     context.Context
	in      *jsontext.Decoder
	out     []byte
	body    Body
	invalid bool // nothing will be bound: nothing more is written
	tokens  int  // names and values so far
}

// decode checks a whole JSON text. messages is nil for a valid one; see value.
func decode(ctx context.Context, n *node, raw []byte) (body Body, messages any, err error) {
	// From a bytes.Buffer, jsontext reads without a copy.
	d := &decoder{ctx: ctx, in: jsontext.NewDecoder(bytes.NewBuffer(raw)), out: make([]byte, 0, len(raw)+1)}
	if messages, err = d.value(n); err == nil {
		err = d.end()
	}
	if err != nil || messages != nil {
		return Body{}, messages, err
	}
	d.body.JSON = append(d.out, '\n') // as bodies always were hashed for Idempotency-Key
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

// token reads a token, within the bounds of depth and number. It is valid until the next one is read.
func (d *decoder) token() (jsontext.Token, error) {
	token, err := d.in.ReadToken()
	if err != nil {
		return token, err
	}
	switch token.Kind() {
	case '}', ']':
		return token, nil
	case '{', '[':
		if d.in.StackDepth() > maxDepth {
			return token, fmt.Errorf("nested deeper than %d at byte %d", maxDepth, d.in.InputOffset()-1)
		}
	}
	return token, d.counted()
}

// counted counts a name or a value that was read. From time to time it looks at the context.
func (d *decoder) counted() error {
	if d.tokens++; d.tokens > maxTokens {
		return errTooManyTokens
	}
	if d.tokens%1024 == 0 {
		return d.ctx.Err()
	}
	return nil
}

// skip reads a value and forgets it.
func (d *decoder) skip() error {
	depth := d.in.StackDepth()
	for {
		if _, err := d.token(); err != nil || d.in.StackDepth() <= depth {
			return err
		}
	}
}

// skipRest reads what is left of an object or a list, with its end.
func (d *decoder) skipRest() error {
	for depth := d.in.StackDepth(); d.in.StackDepth() >= depth; {
		if _, err := d.token(); err != nil {
			return err
		}
	}
	return nil
}

// The parts of what is bound. All of them write nothing once the body is invalid.

func (d *decoder) open(bracket byte) {
	if !d.invalid {
		d.separate()
		d.out = append(d.out, bracket)
	}
}

func (d *decoder) close(bracket byte) {
	if !d.invalid {
		d.out = append(d.out, bracket)
	}
}

func (d *decoder) name(name string) {
	if !d.invalid {
		d.separate()
		d.out = append(append(d.out, quote(name)...), ':')
	}
}

func (d *decoder) write(canonical jsontext.Value) {
	if !d.invalid {
		d.separate()
		d.out = append(d.out, canonical...)
	}
}

// separate writes the comma before a member or an element that is not the first.
func (d *decoder) separate() {
	if n := len(d.out); n > 0 && d.out[n-1] != '{' && d.out[n-1] != '[' && d.out[n-1] != ':' {
		d.out = append(d.out, ',')
	}
}

func (d *decoder) refuse(messages any) (any, error) {
	d.invalid = true
	return messages, nil
}

// value decodes one value. What is wrong with it comes back as []string, as problem.Fields of an object, or as a list
// of problem.Fields of a list. An error means that the text is not JSON, or that the pass ended before its end; then
// what was found until there comes back as well.
func (d *decoder) value(n *node) (any, error) {
	switch n.kind {
	case kindObject:
		return d.object(n)
	case kindList:
		return d.list(n)
	}
	canonical, messages, err := d.plain(n)
	if messages != nil || err != nil {
		d.invalid = true
		return anyMessages(messages), err
	}
	d.write(canonical)
	return nil, nil
}

// anyMessages keeps no messages nil.
func anyMessages(messages []string) any {
	if messages == nil {
		return nil
	}
	return messages
}

// plain decodes a value that is neither an object with members of its own nor a list. canonical is nil where it was
// written already.
func (d *decoder) plain(n *node) (canonical jsontext.Value, messages []string, err error) {
	if n.kind == kindJSON {
		messages, err = d.json(n)
		return nil, messages, err
	}
	in, err := d.scalar()
	if err != nil {
		return nil, nil, err
	}
	canonical, messages = n.decode(in)
	return canonical, messages, nil
}

func (d *decoder) object(n *node) (any, error) {
	if d.in.PeekKind() != '{' {
		in, err := d.scalar()
		if err != nil {
			return nil, err
		}
		if in.kind == 'n' {
			return d.refuse([]string{"No data provided"})
		}
		return d.refuse([]string{"Invalid data. Expected a dictionary, but got " + in.pythonType() + "."})
	}
	if _, err := d.token(); err != nil {
		return nil, err
	}
	d.open('{')
	errs, missing := problem.Fields{}, slices.Clone(n.required)
	for d.in.PeekKind() != '}' {
		token, err := d.token()
		if err != nil {
			return partial(errs), err
		}
		field := token.String()
		member, known := n.members[field]
		if !known {
			if err := d.skip(); err != nil {
				return partial(errs), err
			}
			continue
		}
		if i, found := slices.BinarySearch(missing, field); found {
			missing = slices.Delete(missing, i, i+1)
		}
		messages, err := d.member(field, member)
		if messages != nil {
			errs[field] = messages
		}
		if err != nil {
			return partial(errs), err
		}
	}
	if _, err := d.token(); err != nil {
		return partial(errs), err
	}
	for _, field := range missing {
		errs.Add(field, MessageRequired)
	}
	if len(errs) > 0 {
		return d.refuse(errs)
	}
	d.close('}')
	return nil, nil
}

// partial are the messages of an object that was not read to its end.
func partial(errs problem.Fields) any {
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// member decodes the value of a member, and writes it with its name.
func (d *decoder) member(field string, n *node) (any, error) {
	d.name(field)
	if n.kind == kindObject || n.kind == kindList {
		if d.in.PeekKind() == 'n' {
			d.invalid = true
			return []string{MessageNull}, d.skip()
		}
		if n.kind == kindList && n.items.kind != kindObject {
			return d.plainList(field, n)
		}
		return d.value(n)
	}
	return d.plainMember(field, n)
}

// plainMember decodes what is neither an object nor a list, as the value of a member or in its list.
func (d *decoder) plainMember(field string, n *node) (any, error) {
	canonical, messages, err := d.plain(n)
	if messages != nil || err != nil {
		d.invalid = true
		return anyMessages(messages), err
	}
	if n.refersTo != "" && canonical.Kind() != 'n' {
		id, _ := ParseUUID(unquote(canonical))
		d.body.References = append(d.body.References, Reference{field, n.refersTo, id})
	}
	if n.rateLimitKey {
		d.body.RateLimitKeys = append(d.body.RateLimitKeys, unquote(canonical))
	}
	if canonical != nil {
		d.write(canonical)
	}
	return nil, nil
}

// begin reads the bracket that a list begins with.
func (d *decoder) begin() (messages any, err error) {
	if d.in.PeekKind() != '[' {
		in, err := d.scalar()
		if err != nil {
			return nil, err
		}
		return d.refuse([]string{"Expected a list of items but got type \"" + in.pythonType() + "\"."})
	}
	_, err = d.token()
	d.open('[')
	return nil, err
}

// plainList decodes a list without objects, or a list of such lists. It says what is wrong with the first bad item, as DRF does of a list of
// references, unless the list is too long.
func (d *decoder) plainList(field string, n *node) (any, error) {
	if messages, err := d.begin(); messages != nil || err != nil {
		return messages, err
	}
	length, wrong := 0, any(nil)
	for ; d.in.PeekKind() != ']'; length++ {
		var err error
		switch {
		case length == n.maxItems:
			d.invalid = true
			return []string{messageMaxItems(n.maxItems)}, d.skipRest()
		case wrong != nil:
			err = d.skip()
		case n.items.kind != kindList:
			wrong, err = d.plainMember(field, n.items)
		case d.in.PeekKind() == 'n':
			d.invalid, wrong, err = true, []string{MessageNull}, d.skip()
		default:
			wrong, err = d.plainList(field, n.items)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := d.token(); err != nil || wrong != nil {
		return wrong, err
	}
	if length < n.minItems {
		return d.refuse([]string{messageMinItems(n.minItems)})
	}
	d.close(']')
	return nil, nil
}

func (d *decoder) list(n *node) (any, error) {
	if messages, err := d.begin(); messages != nil || err != nil {
		return messages, err
	}
	length, errs := 0, map[int]problem.Fields{}
	for ; d.in.PeekKind() != ']'; length++ {
		if length == n.maxItems {
			d.invalid = true
			return []string{messageMaxItems(n.maxItems)}, d.skipRest()
		}
		messages, err := d.item(n)
		if err != nil {
			return nil, err
		}
		if messages != nil {
			errs[length] = fields(messages)
		} else if n.independent {
			d.body.Positions = append(d.body.Positions, length)
		}
	}
	if _, err := d.token(); err != nil {
		return nil, err
	}
	switch {
	case length < n.minItems:
		return d.refuse([]string{messageMinItems(n.minItems)})
	case n.independent:
		d.body.ItemErrors = errs
	case len(errs) > 0:
		all := make([]problem.Fields, length)
		for i := range all {
			if all[i] = errs[i]; all[i] == nil {
				all[i] = problem.Fields{} // as DRF says that an item is valid
			}
		}
		return d.refuse(all)
	}
	d.close(']')
	return nil, nil
}

// item decodes an item by itself: a bad one leaves nothing in what is bound.
func (d *decoder) item(n *node) (any, error) {
	written, keys, invalid := len(d.out), len(d.body.RateLimitKeys), d.invalid
	messages, err := d.value(n.items)
	if messages != nil {
		d.out, d.body.RateLimitKeys, d.invalid = d.out[:written], d.body.RateLimitKeys[:keys], invalid
	}
	return messages, err
}

// scalar reads a value where one without members or elements is expected.
func (d *decoder) scalar() (scalar, error) {
	kind := d.in.PeekKind()
	if kind == '{' || kind == '[' {
		shown, err := d.repr()
		return scalar{kind: kind, text: shown}, err
	}
	raw, err := d.in.ReadValue()
	if err != nil {
		return scalar{}, err
	}
	in := scalar{kind: kind, text: string(raw), size: len(raw)}
	if kind == '"' {
		in.text = unquote(raw)
	}
	return in, d.counted()
}

// json decodes free JSON: any value but what Postgres cannot keep exactly, and what is too large.
func (d *decoder) json(n *node) (messages []string, err error) {
	check := jsonCheck{most: n.maxBytes}
	depth, start := d.in.StackDepth(), int64(0)
	if k := d.in.PeekKind(); k != '{' && k != '[' {
		in, err := d.scalar()
		if err != nil {
			return nil, err
		}
		if in.kind == 'n' && !n.nullable {
			return []string{MessageNull}, nil
		}
		messages = check.add(in.kind, in.text, in.size)
		d.write(in.canonical())
		return messages, nil
	}
	for {
		within, length := d.in.StackIndex(d.in.StackDepth())
		token, err := d.token()
		if err != nil {
			return messages, err
		}
		if start == 0 {
			start = d.in.InputOffset() - 1
		}
		if messages == nil {
			in := scalar{kind: token.Kind(), text: token.String()}
			if messages = check.add(in.kind, in.text, int(d.in.InputOffset()-start)); messages != nil {
				d.invalid = true
			}
			d.copy(in, within == '{' && length%2 == 0)
		}
		if d.in.StackDepth() == depth {
			return messages, nil
		}
	}
}

// copy writes a part of free JSON.
func (d *decoder) copy(in scalar, isName bool) {
	switch {
	case isName && in.kind == '"':
		d.name(in.text)
	case in.kind == '{', in.kind == '[':
		d.open(byte(in.kind))
	case in.kind == '}', in.kind == ']':
		d.close(byte(in.kind))
	default:
		d.write(in.canonical())
	}
}
