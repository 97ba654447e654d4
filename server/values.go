package server

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// The messages of Django REST Framework, for clients that were written against it.
const (
	messageRequired = "This field is required."
	messageNull     = "This field may not be null."
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

func messageChoice(text string) string { return fmt.Sprintf(`"%s" is not a valid choice.`, text) }

func messageUUID(text string) string { return fmt.Sprintf("“%s” is not a valid UUID.", text) }

func messageNoObject(text string) string {
	return fmt.Sprintf(`Invalid pk "%s" - object does not exist.`, text)
}

// read checks one value that is neither object nor list. It returns what is to be bound, or what is
// wrong, all of it at once.
func (n *node) read(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() == 'n' && n.kind != kindJSON {
		if n.nullable {
			return raw, nil
		}
		return nil, []string{messageNull}
	}
	switch n.kind {
	case kindJSON:
		return n.readJSON(raw)
	case kindInteger:
		return n.readInteger(raw)
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
		return n.readUUID(raw)
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
	return n.readText(raw)
}

func (n *node) readText(raw jsontext.Value) (jsontext.Value, []string) {
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
	if n.maxLength > 0 && utf8.RuneCountInString(text) > n.maxLength {
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

func (n *node) readInteger(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() != '0' {
		return nil, []string{messageInteger}
	}
	value, ok := wholeNumber(string(raw))
	switch {
	case !ok:
		return nil, []string{messageInteger}
	case n.minimum != nil && value.Cmp(n.minimum) < 0:
		return nil, []string{fmt.Sprintf("Ensure this value is greater than or equal to %s.", n.minimum)}
	case n.maximum != nil && value.Cmp(n.maximum) > 0:
		return nil, []string{fmt.Sprintf("Ensure this value is less than or equal to %s.", n.maximum)}
	}
	return jsontext.Value(value.String()), nil
}

// wholeNumber reads a JSON number that has no fraction: 3, 3.0 and 3e0 are the same. What is longer
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

func (n *node) readUUID(raw jsontext.Value) (jsontext.Value, []string) {
	switch raw.Kind() {
	case 't', 'f':
		return nil, []string{"Incorrect type. Expected pk value, received bool."}
	case '0':
		return nil, []string{messageNoObject(string(raw))}
	case '"':
		text := unquote(raw)
		if text == "" { // as a form sends "none"
			if n.nullable {
				return jsontext.Value("null"), nil
			}
			return nil, []string{messageNull}
		}
		if id, ok := parseUUID(text); ok {
			return quote(id.String()), nil
		}
		return nil, []string{messageUUID(text)}
	}
	return nil, []string{messageUUID(pythonText(raw))}
}

// maxExponents bounds what the exponents of a whole JSON value add up to. Postgres keeps 1e308 as 309
// digits, so a body of nothing else would grow fifty times.
const maxExponents = 10_000

// readJSON lets any value pass but what Postgres cannot keep exactly: U+0000, and numbers that unfold
// into thousands of digits, each or all together.
func (n *node) readJSON(raw jsontext.Value) (jsontext.Value, []string) {
	if raw.Kind() == 'n' && !n.nullable {
		return nil, []string{messageNull}
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

// parseUUID reads a UUID in any case, with or without its hyphens, and in no other spelling.
func parseUUID(text string) (uuid.UUID, bool) {
	switch len(text) {
	case 36:
		id, err := uuid.Parse(text)
		return id, err == nil
	case 32:
		var id uuid.UUID
		_, err := hex.Decode(id[:], []byte(text))
		return id, err == nil
	}
	return uuid.Nil, false
}

var datePattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

func validDate(text string) bool {
	t, err := time.Parse(time.DateOnly, text)
	return err == nil && datePattern.MatchString(text) && t.Year() >= 1
}

var dateTimePattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$`)

// parseDateTime reads RFC 3339, to the microsecond that the database keeps, in UTC.
func parseDateTime(text string) (time.Time, bool) {
	if !dateTimePattern.MatchString(text) {
		return time.Time{}, false
	}
	text = strings.ToUpper(text[:10] + "T" + text[11:])
	t, err := time.Parse(time.RFC3339Nano, text)
	t = t.UTC().Truncate(time.Microsecond)
	return t, err == nil && t.Year() >= 1 && t.Year() <= 9999
}

// What Django takes for an email address: a dot-atom or a quoted string, then a domain name,
// localhost or an address in brackets.
var (
	emailUser   = regexp.MustCompile(`(?i)^([-!#$%&'*+/=?^_` + "`" + `{}|~0-9A-Z]+(\.[-!#$%&'*+/=?^_` + "`" + `{}|~0-9A-Z]+)*|"([\x01-\x08\x0b\x0c\x0e-\x1f!#-\[\]-\x7f]|\\[\x01-\x09\x0b\x0c\x0e-\x7f])*")$`)
	emailDomain = regexp.MustCompile(`(?i)^([A-Z0-9\x{00a1}-\x{ffff}]([A-Z0-9\x{00a1}-\x{ffff}-]{0,61}[A-Z0-9\x{00a1}-\x{ffff}])?\.)+[A-Z0-9\x{00a1}-\x{ffff}-]{1,62}[A-Z0-9\x{00a1}-\x{ffff}]$`)
)

func validEmail(text string) bool {
	at := strings.LastIndexByte(text, '@')
	if at < 0 || len(text) > 320 {
		return false
	}
	user, domain := text[:at], text[at+1:]
	if !emailUser.MatchString(user) {
		return false
	}
	if address, ok := strings.CutPrefix(domain, "["); ok {
		_, err := netip.ParseAddr(strings.TrimSuffix(address, "]"))
		return err == nil && strings.HasSuffix(address, "]")
	}
	return strings.EqualFold(domain, "localhost") || emailDomain.MatchString(domain)
}

var (
	urlHost     = regexp.MustCompile(`(?i)^([a-z0-9\x{00a1}-\x{ffff}]([a-z0-9\x{00a1}-\x{ffff}-]{0,61}[a-z0-9\x{00a1}-\x{ffff}])?\.)+([a-z\x{00a1}-\x{ffff}-]{2,63}|xn--[a-z0-9]{1,59})\.?$`)
	urlSchemes  = []string{"http", "https", "ftp", "ftps"}
	urlNoSpaces = regexp.MustCompile(`^\S+$`)
)

func validURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || len(text) > 2048 || !urlNoSpaces.MatchString(text) || !slices.Contains(urlSchemes, strings.ToLower(u.Scheme)) || u.Opaque != "" {
		return false
	}
	if port := u.Port(); port != "" {
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return false
		}
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || len(host) <= 253 && urlHost.MatchString(host)
}

// pythonType names a value's type as the messages of the framework do.
func pythonType(raw jsontext.Value) string {
	switch raw.Kind() {
	case '{':
		return "dict"
	case '[':
		return "list"
	case '"':
		return "str"
	case 't', 'f':
		return "bool"
	case 'n':
		return "NoneType"
	}
	if bytes.ContainsAny(raw, ".eE") {
		return "float"
	}
	return "int"
}

// pythonText is a value as the messages of the framework quote it: text bare, all else as Python
// writes it.
func pythonText(raw jsontext.Value) string {
	if raw.Kind() == '"' {
		return unquote(raw)
	}
	return pythonRepr(raw)
}

func pythonRepr(raw jsontext.Value) string {
	in := jsontext.NewDecoder(bytes.NewReader(raw))
	switch raw.Kind() {
	case 't':
		return "True"
	case 'f':
		return "False"
	case 'n':
		return "None"
	case '"':
		return "'" + unquote(raw) + "'"
	case '[':
		var items []string
		for in.ReadToken(); in.PeekKind() != ']'; {
			item, err := in.ReadValue()
			if err != nil {
				return ""
			}
			items = append(items, pythonRepr(item.Clone()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case '{':
		var members []string
		for in.ReadToken(); in.PeekKind() != '}'; {
			name, err := in.ReadValue()
			if err != nil {
				return ""
			}
			key := pythonRepr(name.Clone())
			value, err := in.ReadValue()
			if err != nil {
				return ""
			}
			members = append(members, key+": "+pythonRepr(value.Clone()))
		}
		return "{" + strings.Join(members, ", ") + "}"
	}
	return string(raw)
}
