package contract

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// pythonType is the name of a value's type in Python, as DRF's messages have it.
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

// pythonText is Python's str() of a value, as DRF's messages quote it: text bare, all else as repr() has it.
func pythonText(raw jsontext.Value) string {
	if raw.Kind() == '"' {
		return unquote(raw)
	}
	return pythonRepr(raw)
}

// pythonRepr is Python's repr() of a value.
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
