package contract

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"

	"github.com/px360/px360/server/problem"
)

// The messages of DRF, for clients that were written against it.
const (
	MessageNull = "This field may not be null."
	// MessageFixed is about a field that is written once. It is ours: DRF has none for that.
	MessageFixed = "This field cannot be changed."
	// MessageNoChoice is about a filter that refers to what does not exist.
	MessageNoChoice = "Select a valid choice. That choice is not one of the available choices."

	messageNoBody    = "A request body is required." // ours: DRF takes no body as an empty object
	MessageRequired  = "This field is required."
	messageEmptyList = "This list may not be empty."
	messageBlank     = "This field may not be blank."
	messageString    = "Not a valid string."
	messageBoolean   = "Must be a valid boolean."
	messageInteger   = "A valid integer is required."
	messageNUL       = "Null characters are not allowed."
	messageEmail     = "Enter a valid email address."
	messageURL       = "Enter a valid URL."
	messageDate      = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
	messageDateTime  = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
	messageNumber    = "A number in it is too large or too long."
)

// MessageNoObject is about a reference, in a body, to what does not exist.
func MessageNoObject(id string) string {
	return fmt.Sprintf(`Invalid pk "%s" - object does not exist.`, id)
}

func messageChoice(text string) string { return fmt.Sprintf(`"%s" is not a valid choice.`, text) }

// messageNoFilter is about a value of the query string that is not among the choices.
func messageNoFilter(text string) string {
	return "Select a valid choice. " + problem.Excerpt(text) + " is not one of the available choices."
}

func messageUUID(text string) string { return fmt.Sprintf("“%s” is not a valid UUID.", text) }

func messageYearsAhead(years int) string {
	return fmt.Sprintf("Ensure this date is not more than %d years in the future.", years)
}

func messageMaxBytes(most int) string {
	return fmt.Sprintf("Ensure this field has no more than %d bytes of JSON.", most)
}

// messageMinItems is what DRF says of a list that is too short.
func messageMinItems(least int) string {
	if least == 1 {
		return messageEmptyList
	}
	return fmt.Sprintf("Ensure this field has at least %d elements.", least)
}

func messageMaxItems(most int) string {
	return fmt.Sprintf("Ensure this field has no more than %d elements.", most)
}

// A scalar is a value as it was read. Of an object or a list, which are only ever quoted here, it is the start.
type scalar struct {
	kind jsontext.Kind
	text string // of a string what it says, of an object or a list Python's repr(), of all else the JSON
	size int    // bytes in the body; not of objects and lists
}

// canonical is the JSON of a value that is neither object nor list.
func (v scalar) canonical() jsontext.Value {
	if v.kind == '"' {
		return quote(v.text)
	}
	return jsontext.Value(v.text)
}

// decode checks one value that is neither object nor list. It returns the canonical form, or every message about it.
func (n *node) decode(in scalar) (jsontext.Value, []string) {
	if in.kind == 'n' {
		if n.nullable {
			return in.canonical(), nil
		}
		return nil, []string{MessageNull}
	}
	isText := in.kind == '"'
	switch n.kind {
	case kindInteger:
		return n.decodeInteger(in)
	case kindBoolean:
		if in.kind != 't' && in.kind != 'f' {
			return nil, []string{messageBoolean}
		}
		return in.canonical(), nil
	case kindEnum:
		if !isText || !slices.Contains(n.choices, in.text) {
			return nil, []string{messageChoice(in.pythonText())}
		}
		return in.canonical(), nil
	case kindUUID:
		return n.decodeUUID(in)
	case kindDate:
		if !isText || !validDate(in.text) {
			return nil, []string{messageDate}
		}
		if n.yearsAhead > 0 && tooFarAhead(in.text, n.yearsAhead, time.Now()) {
			return nil, []string{messageYearsAhead(n.yearsAhead)}
		}
		return in.canonical(), nil
	case kindDateTime:
		t, ok := time.Time{}, isText
		if ok {
			t, ok = parseDateTime(in.text)
		}
		if !ok {
			return nil, []string{messageDateTime}
		}
		return quote(t.Format(time.RFC3339Nano)), nil
	}
	return n.decodeText(in)
}

func (n *node) decodeText(in scalar) (jsontext.Value, []string) {
	if in.kind != '"' {
		switch n.format {
		case "email":
			return nil, []string{messageEmail}
		case "uri":
			return nil, []string{messageURL}
		}
		return nil, []string{messageString}
	}
	text := strings.TrimSpace(in.text)
	if n.normalize && utf8.RuneCountInString(text) <= n.maxLength { // what is too long is not made longer
		text = norm.NFKC.String(text)
	}
	if messages := n.checkText(text); messages != nil {
		return nil, messages
	}
	return quote(text), nil
}

func (n *node) checkText(text string) (messages []string) {
	if text == "" {
		if n.notBlank {
			return []string{messageBlank}
		}
		return nil
	}
	if utf8.RuneCountInString(text) > n.maxLength {
		messages = append(messages, fmt.Sprintf("Ensure this field has no more than %d characters.", n.maxLength))
	}
	if strings.ContainsRune(text, 0) {
		messages = append(messages, messageNUL)
	}
	switch {
	case n.format == "email" && !validEmail(text):
		messages = append(messages, messageEmail)
	case n.format == "uri" && !validURL(text):
		messages = append(messages, messageURL)
	case n.pattern != nil && len(messages) == 0 && !n.pattern.MatchString(text):
		messages = append(messages, n.patternMessage)
	}
	return messages
}

func (n *node) decodeInteger(in scalar) (jsontext.Value, []string) {
	if in.kind != '0' {
		return nil, []string{messageInteger}
	}
	value, ok := wholeNumber(in.text)
	switch {
	case !ok:
		return nil, []string{messageInteger}
	case value.Cmp(n.minimum) < 0:
		return nil, []string{fmt.Sprintf("Ensure this value is greater than or equal to %s.", n.minimum)}
	case value.Cmp(n.maximum) > 0:
		return nil, []string{fmt.Sprintf("Ensure this value is less than or equal to %s.", n.maximum)}
	}
	return jsontext.Value(value.String()), nil
}

// wholeNumber parses a JSON number that has no fraction: 3, 3.0 and 3e0 are the same. What is longer
// than any number that a client could mean is none, before it costs anything.
func wholeNumber(text string) (*big.Int, bool) {
	const longest = 400
	if len(text) > longest {
		return nil, false
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil { // bounds the exponent
		return nil, false
	}
	exact, ok := new(big.Rat).SetString(text)
	if !ok || !exact.IsInt() {
		return nil, false
	}
	return exact.Num(), true
}

func (n *node) decodeUUID(in scalar) (jsontext.Value, []string) {
	switch in.kind {
	case 't', 'f':
		return nil, []string{"Incorrect type. Expected pk value, received bool."}
	case '0':
		return nil, []string{MessageNoObject(problem.Excerpt(in.text))}
	case '"':
		if in.text == "" { // as a form sends "none"
			if n.nullable {
				return jsontext.Value("null"), nil
			}
			return nil, []string{MessageNull}
		}
		if id, ok := ParseUUID(in.text); ok {
			return quote(id.String()), nil
		}
	}
	return nil, []string{messageUUID(in.pythonText())}
}

// maxExponents bounds what the exponents of a whole JSON value add up to. Postgres keeps 1e308 as 309
// digits, so a body of nothing else would grow fifty times.
const maxExponents = 10_000

// A jsonCheck lets any JSON pass but what Postgres cannot keep exactly, and what is too large: U+0000, numbers that
// unfold into thousands of digits, each or all together, and more than so many bytes.
type jsonCheck struct {
	most      int // bytes
	exponents int // what they add up to
}

// add checks the next token of a value. size is how many bytes the value has until then.
func (c *jsonCheck) add(kind jsontext.Kind, text string, size int) []string {
	switch kind {
	case '"':
		if strings.ContainsRune(text, 0) {
			return []string{messageNUL}
		}
	case '0':
		exponent, ok := modestNumber(text)
		c.exponents += exponent
		if !ok || c.exponents > maxExponents {
			return []string{messageNumber}
		}
	}
	if size > c.most {
		return []string{messageMaxBytes(c.most)}
	}
	return nil
}

// modestNumber tells whether a number stays within what a double spans, and within a hundred digits. It
// returns the exponent without its sign.
func modestNumber(text string) (exponent int, ok bool) {
	mantissa, power, found := strings.Cut(strings.ToLower(text), "e")
	if found {
		e, err := strconv.Atoi(power)
		if err != nil || e > 308 || e < -308 {
			return 0, false
		}
		exponent = max(e, -e)
	}
	return exponent, len(mantissa) <= 100
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
