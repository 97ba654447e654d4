package tests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An invalid is one way in which a field can be invalid.
type invalid struct {
	kind     string
	value    any // missing: the member is left out
	messages []string
}

type missing struct{}

func (w invalid) put(body map[string]any, name string) {
	if _, none := w.value.(missing); none {
		delete(body, name)
		return
	}
	body[name] = w.value
}

// The messages of Django REST Framework.
const (
	msgRequired = "This field is required."
	msgNull     = "This field may not be null."
	msgBlank    = "This field may not be blank."
	msgNUL      = "Null characters are not allowed."
	msgText     = "Not a valid string."
	msgBoolean  = "Must be a valid boolean."
	msgInteger  = "A valid integer is required."
	msgEmail    = "Enter a valid email address."
	msgURL      = "Enter a valid URL."
	msgDate     = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
	msgTime     = "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
	msgUsername = "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters."
	msgSystem   = "Enter a valid source system. This value may contain only letters, numbers, - and _."
	msgKey      = "Ensure this field has at least 15 characters."
)

// patternMessages are the messages for a mismatch, by pattern.
var patternMessages = map[string]string{
	`^[^\x00-\x2A\x2C\x2F\x3A-\x3F\x5B-\x5E\x60\x7B-\xA0]+$`:    msgUsername,
	`^[A-Za-z0-9_-]{1,50}$`:                                     msgSystem,
	`^([\s\S]{15,})?$`:                                          msgKey,
	`^([0-9](\.[0-9]{1,2})?|10(\.0{1,2})?)$`:                    "Enter a number from 0 to 10, such as 3.00.",
	`^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`:                   "Enter a time of day from 00:00 to 24:00.",
	`^(me|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$`: "Enter me, or the id of a user.",
}

// Values of the wrong type.
var (
	aNumber  any = 5
	aBoolean any = true
	aList    any = []any{}
	anObject any = map[string]any{}
)

// invalids are all ways in which the field can be invalid.
func (f field) invalids() []invalid {
	var all []invalid
	add := func(kind string, value any, messages ...string) { all = append(all, invalid{kind, value, messages}) }
	if f.required {
		add("missing", missing{}, msgRequired)
	}
	if !f.schema.Nullable {
		add("null", nil, msgNull)
	}
	switch s := f.schema; {
	case len(s.Enum) > 0:
		f.wrongChoices(add)
	case s.Type == nil:
		add("NUL", map[string]any{"a": []any{"b\x00"}}, msgNUL)
		add("NUL in a name", map[string]any{"a\x00": 1}, msgNUL)
		add("a number too large", json.RawMessage(`{"a":1e400}`), "A number in it is too large or too long.")
		if most := s.Extensions["x-px360-max-bytes"]; most != nil {
			add("too long", strings.Repeat("a", int(most.(float64))-1), fmt.Sprintf("Ensure this field has no more than %.0f bytes of JSON.", most))
		}
	case s.Type.Is("boolean"):
		wrongTypes(add, msgBoolean, "true", aNumber, aList, anObject)
	case s.Type.Is("integer"):
		wrongTypes(add, msgInteger, "7", aBoolean, aList, anObject)
		add("a fraction", json.RawMessage("1.5"), msgInteger)
		if s.Min != nil {
			add("too small", json.RawMessage(strconv.Itoa(int(*s.Min)-1)), fmt.Sprintf("Ensure this value is greater than or equal to %d.", int(*s.Min)))
		}
		for _, value := range []string{"99999999999999999999999", "1e30"} {
			add("too large", json.RawMessage(value), fmt.Sprintf("Ensure this value is less than or equal to %d.", int(*s.Max)))
		}
		add("one too large", json.RawMessage(strconv.Itoa(int(*s.Max)+1)), fmt.Sprintf("Ensure this value is less than or equal to %d.", int(*s.Max)))
	case s.Type.Is("array"):
		f.wrongLists(add)
	case s.Type.Is("object"):
		for shown, value := range map[string]any{"str": "text", "int": aNumber, "bool": aBoolean, "list": aList} {
			add("a "+shown, value, fmt.Sprintf("Invalid data. Expected a dictionary, but got %s.", shown))
		}
	case s.Format == "uuid":
		f.wrongReferences(add)
	case s.Format == "date":
		wrongTypes(add, msgDate, "yesterday", "", "1990-1-5", "1990-02-30", "15/01/1990", "1990-01-15T00:00:00Z", "0000-01-01", "1990-01-15\x00", aNumber, aBoolean, aList, anObject)
		if years := s.Extensions["x-px360-max-years-ahead"]; years != nil {
			add("too far ahead", "2999-12-31", fmt.Sprintf("Ensure this date is not more than %.0f years in the future.", years))
		}
	case s.Format == "date-time":
		wrongTypes(add, msgTime, "yesterday", "", "2025-12-14", "2025-12-14T09:00:00", "2025-02-30T09:00:00Z", "2025-12-14T25:00:00Z", aNumber, aBoolean, aList, anObject)
	default:
		f.wrongTexts(add)
	}
	return all
}

type adding func(kind string, value any, messages ...string)

// wrongTypes adds values that get the same message.
func wrongTypes(add adding, message string, values ...any) {
	for _, value := range values {
		add(fmt.Sprintf("%T %v", value, value), value, message)
	}
}

func (f field) wrongChoices(add adding) {
	for value, shown := range map[any]string{"no such choice": "no such choice", "a\x00b": "a\x00b", aNumber: "5", aBoolean: "True"} {
		add(fmt.Sprintf("choice %v", value), value, fmt.Sprintf(`"%s" is not a valid choice.`, shown))
	}
	add("a list", aList, `"[]" is not a valid choice.`)
	add("an object", anObject, `"{}" is not a valid choice.`)
	if !slices.Contains(f.schema.Enum, any("")) {
		add("blank", "", `"" is not a valid choice.`)
	}
	add("other case", strings.ToUpper(fmt.Sprint(f.schema.Enum[0])), fmt.Sprintf(`"%s" is not a valid choice.`, strings.ToUpper(fmt.Sprint(f.schema.Enum[0]))))
}

func (f field) wrongReferences(add adding) {
	for _, text := range []string{"abc", "a\x00b", wireUnknownID + "0", "{" + wireUnknownID + "}", "urn:uuid:" + wireUnknownID} {
		add("malformed "+text, text, "“"+text+"” is not a valid UUID.")
	}
	add("a list", aList, "“[]” is not a valid UUID.")
	add("an object", anObject, "“{}” is not a valid UUID.")
	add("a number", aNumber, `Invalid pk "5" - object does not exist.`)
	add("a boolean", aBoolean, "Incorrect type. Expected pk value, received bool.")
	if !f.schema.Nullable {
		add("blank", "", msgNull)
	}
	add("unknown", wireUnknownID, `Invalid pk "`+wireUnknownID+`" - object does not exist.`)
}

func (f field) wrongLists(add adding) {
	for value, shown := range map[any]string{"text": "str", aNumber: "int", aBoolean: "bool"} {
		add("a "+shown, value, fmt.Sprintf(`Expected a list of items but got type "%s".`, shown))
	}
	add("an object", anObject, `Expected a list of items but got type "dict".`)
	if f.schema.MinItems > 0 {
		add("empty", aList, "This list may not be empty.")
	}
	if most := f.schema.MaxItems; most != nil {
		add("too long", make([]any, *most+1), fmt.Sprintf("Ensure this field has no more than %d elements.", *most))
	}
}

func (f field) wrongTexts(add adding) {
	s := f.schema
	notText := map[string]string{"": msgText, "email": msgEmail, "uri": msgURL}[s.Format]
	wrongTypes(add, notText, aNumber, aBoolean, aList, anObject)
	if s.MinLength > 0 {
		wrongTypes(add, msgBlank, "", " \t ")
	}
	nul := []string{msgNUL}
	switch {
	case s.Format == "email":
		wrongTypes(add, msgEmail, "no address", "a@", "@hospital.sa", "a b@hospital.sa", "a@hospital..sa")
		nul = append(nul, msgEmail)
	case s.Format == "uri":
		wrongTypes(add, msgURL, "no url", "https://", "javascript:alert(1)", "https://his.hospital.sa:99999/", "//his.hospital.sa/")
		nul = append(nul, msgURL)
	case s.Pattern != "":
		message := patternMessages[s.Pattern]
		wrongTypes(add, message, "two words", "semi;colon", "a\nb")
	}
	add("NUL", "a\x00b", nul...)
	if s.MaxLength != nil {
		add("too long", f.longText(int(*s.MaxLength)+1), fmt.Sprintf("Ensure this field has no more than %d characters.", *s.MaxLength))
	}
}

// longText is text of so many characters that is valid otherwise. Where the format allows, its
// characters have several bytes, since the limit counts characters.
func (f field) longText(length int) string {
	switch s := f.schema; {
	case s.Format == "email":
		return strings.Repeat("a", length-len("@hospital.sa")) + "@hospital.sa"
	case s.Format == "uri":
		return "https://his.hospital.sa/" + strings.Repeat("a", length-len("https://his.hospital.sa/"))
	case s.Pattern != "", length > 1000: // one byte each if long, or the body would be too large
		return strings.Repeat("a", length)
	}
	return strings.Repeat("ن", length)
}
