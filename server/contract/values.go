package contract

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The messages of DRF, for clients that were written against it.
const (
	MessageNull = "This field may not be null."
	// MessageFixed is about a field that is written once. It is ours: DRF has none for that.
	MessageFixed = "This field cannot be changed."
	// MessageNoChoice is about a filter that refers to what does not exist.
	MessageNoChoice = "Select a valid choice. That choice is not one of the available choices."

	messageNoBody   = "A request body is required." // ours: DRF takes no body as an empty object
	messageRequired = "This field is required."
	messageBlank    = "This field may not be blank."
	messageString   = "Not a valid string."
	messageBoolean  = "Must be a valid boolean."
	messageInteger  = "A valid integer is required."
	messageNUL      = "Null characters are not allowed."
	messageEmail    = "Enter a valid email address."
	messageURL      = "Enter a valid URL."
	messageDate     = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
	messageDateTime = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
	messageNumber   = "A number in it is too large or too long."
)

// MessageNoObject is about a reference, in a body, to what does not exist.
func MessageNoObject(id string) string {
	return fmt.Sprintf(`Invalid pk "%s" - object does not exist.`, id)
}

func messageChoice(text string) string { return fmt.Sprintf(`"%s" is not a valid choice.`, text) }

// messageNoFilter is about a value of the query string that is not among the choices.
func messageNoFilter(text string) string {
	return "Select a valid choice. " + text + " is not one of the available choices."
}

func messageUUID(text string) string { return fmt.Sprintf("“%s” is not a valid UUID.", text) }

func messageMaxItems(most int) string {
	return fmt.Sprintf("Ensure this field has no more than %d elements.", most)
}

// decode checks one value that is neither object nor list. It returns the canonical form, or every message about it.
func (n *node) decode(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() == 'n' && n.kind != kindJSON {
		if n.nullable {
			return raw, nil
		}
		return nil, []string{MessageNull}
	}
	switch n.kind {
	case kindJSON:
		return n.decodeJSON(raw)
	case kindInteger:
		return n.decodeInteger(raw)
	case kindBoolean:
		if k := raw.Kind(); k != 't' && k != 'f' {
			return nil, []string{messageBoolean}
		}
		return raw, nil
	case kindEnum:
		if raw.Kind() != '"' || !slices.Contains(n.choices, unquote(raw)) {
			return nil, []string{messageChoice(pythonText(raw))}
		}
		return raw, nil
	case kindUUID:
		return n.decodeUUID(raw)
	case kindDate:
		if raw.Kind() != '"' || !validDate(unquote(raw)) {
			return nil, []string{messageDate}
		}
		return raw, nil
	case kindDateTime:
		t, ok := time.Time{}, raw.Kind() == '"'
		if ok {
			t, ok = parseDateTime(unquote(raw))
		}
		if !ok {
			return nil, []string{messageDateTime}
		}
		return quote(t.Format(time.RFC3339Nano)), nil
	}
	return n.decodeText(raw)
}

func (n *node) decodeText(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() != '"' {
		switch n.format {
		case "email":
			return nil, []string{messageEmail}
		case "uri":
			return nil, []string{messageURL}
		}
		return nil, []string{messageString}
	}
	text := strings.TrimSpace(unquote(raw))
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

func (n *node) decodeInteger(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() != '0' {
		return nil, []string{messageInteger}
	}
	value, ok := wholeNumber(string(raw))
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

func (n *node) decodeUUID(raw jsontext.Value) (jsontext.Value, []string) {
	switch raw.Kind() {
	case 't', 'f':
		return nil, []string{"Incorrect type. Expected pk value, received bool."}
	case '0':
		return nil, []string{MessageNoObject(string(raw))}
	case '"':
		text := unquote(raw)
		if text == "" { // as a form sends "none"
			if n.nullable {
				return jsontext.Value("null"), nil
			}
			return nil, []string{MessageNull}
		}
		if id, ok := ParseUUID(text); ok {
			return quote(id.String()), nil
		}
		return nil, []string{messageUUID(text)}
	}
	return nil, []string{messageUUID(pythonText(raw))}
}

// maxExponents bounds what the exponents of a whole JSON value add up to. Postgres keeps 1e308 as 309
// digits, so a body of nothing else would grow fifty times.
const maxExponents = 10_000

// decodeJSON lets any value pass but what Postgres cannot keep exactly: U+0000, and numbers that unfold
// into thousands of digits, each or all together.
func (n *node) decodeJSON(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() == 'n' && !n.nullable {
		return nil, []string{MessageNull}
	}
	in, exponents := jsontext.NewDecoder(bytes.NewReader(raw)), 0
	for {
		token, err := in.ReadToken()
		if err != nil { // the end: raw was read once already
			return raw, nil
		}
		switch token.Kind() {
		case '"':
			if strings.ContainsRune(token.String(), 0) {
				return nil, []string{messageNUL}
			}
		case '0':
			exponent, ok := modestNumber(token.String())
			exponents += exponent
			if !ok || exponents > maxExponents {
				return nil, []string{messageNumber}
			}
		}
	}
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
