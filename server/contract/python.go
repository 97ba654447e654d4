package contract

import (
	"strings"
	"unicode/utf8"

	"github.com/px360/px360/server/problem"
)

// pythonType is the name of a value's type in Python, as DRF's messages have it.
func (v scalar) pythonType() string {
	switch v.kind {
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
	if strings.ContainsAny(v.text, ".eE") {
		return "float"
	}
	return "int"
}

// pythonText is Python's str() of a value, as DRF's messages quote it: text bare, all else as repr() has it. It is cut
// where it is long.
func (v scalar) pythonText() string {
	switch v.kind {
	case 't':
		return "True"
	case 'f':
		return "False"
	case 'n':
		return "None"
	}
	return problem.Excerpt(v.text)
}

// repr reads a value and returns Python's repr() of it. Once it has more of that than a message quotes, it only reads on.
func (d *decoder) repr() (string, error) {
	var text strings.Builder
	for depth := d.in.StackDepth(); ; {
		within, length := d.in.StackIndex(d.in.StackDepth())
		token, err := d.token()
		if err != nil {
			return "", err
		}
		if text.Len() <= problem.MaxExcerpt*utf8.UTFMax {
			kind := token.Kind()
			switch {
			case kind == '}', kind == ']', d.in.StackDepth() == depth+1 && text.Len() == 0:
			case within == '{' && length%2 == 1:
				text.WriteString(": ")
			case length > 0:
				text.WriteString(", ")
			}
			switch kind {
			case '"':
				text.WriteString("'" + token.String() + "'")
			case 't', 'f', 'n':
				text.WriteString(scalar{kind: kind}.pythonText())
			default:
				text.WriteString(token.String())
			}
		}
		if d.in.StackDepth() == depth {
			return text.String(), nil
		}
	}
}
