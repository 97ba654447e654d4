package tests

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The headers that were recorded.
var wireHeaders = []string{"Content-Type", "Allow", "WWW-Authenticate", "Vary", "Retry-After", "Location"}

// normalised is an answer in which values that differ from run to run are replaced by names.
func (a *attempt) normalised(p probe, res *http.Response, body []byte) wireAnswer {
	got := wireAnswer{Method: p.Method, Status: res.StatusCode, Headers: map[string]string{}}
	names := a.names()
	for _, header := range wireHeaders {
		if values := res.Header.Values(header); len(values) > 0 {
			got.Headers[header] = names.text(strings.Join(values, ", "))
		}
	}
	if len(body) == 0 {
		return got
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		got.Body = map[string]any{"$text": string(body)}
		return got
	}
	got.Body = names.value(value)
	if object, ok := got.Body.(map[string]any); ok {
		for _, key := range p.Ignore {
			if _, found := object[key]; found {
				object[key] = "{ignored}"
			}
		}
	}
	return got
}

// naming replaces values of this run by names, longest value first.
type naming []struct{ name, value string }

func (a *attempt) names() naming {
	all := maps.Clone(a.symbols)
	maps.Copy(all, a.local)
	names := naming{{"base", a.symbols["base"]}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch value := all[name]; {
		case name == "base", name == "unknown", name == "admin_username", name == "admin_password":
		case strings.HasPrefix(value, "eyJ"): // tokens are all replaced by {jwt}
		case name == "tag", len(value) >= 16: // shorter values occur by chance
			names = append(names, struct{ name, value string }{name, value})
		}
	}
	slices.SortStableFunc(names[1:], func(x, y struct{ name, value string }) int { return cmp.Compare(len(y.value), len(x.value)) })
	return names
}

var (
	tokenPattern = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]*`)
	uuidPattern  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timePattern  = regexp.MustCompile(`(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?`)
)

func (n naming) text(text string) string {
	for _, known := range n {
		text = strings.ReplaceAll(text, known.value, "{"+known.name+"}")
	}
	text = tokenPattern.ReplaceAllString(text, "{jwt}")
	text = uuidPattern.ReplaceAllStringFunc(text, func(id string) string {
		if strings.HasPrefix(id, "00000000") { // an id of a probe
			return id
		}
		return "{uuid}"
	})
	return timePattern.ReplaceAllStringFunc(text, nameTime)
}

// nameTime replaces times of this run and leaves those that a probe sent.
func nameTime(text string) string {
	parts := timePattern.FindStringSubmatch(text)
	at, err := time.Parse("2006-01-02T15:04:05", parts[1])
	if err != nil || time.Since(at).Abs() > 48*time.Hour {
		return text
	}
	// In UTC, with six digits of a second or none.
	if fraction := len(parts[2]); parts[3] != "Z" || fraction != 0 && fraction != len(".123456") {
		return "{datetime:irregular}"
	}
	return "{datetime}"
}

func (n naming) value(data any) any {
	switch d := data.(type) {
	case string:
		return n.text(d)
	case []any:
		for i := range d {
			d[i] = n.value(d[i])
		}
	case map[string]any:
		named := map[string]any{}
		for key, value := range d {
			named[n.text(key)] = n.value(value)
		}
		return named
	}
	return data
}

// shape reduces a value to its structure.
func shape(data any) any {
	switch d := data.(type) {
	case map[string]any:
		shaped := map[string]any{}
		for key, value := range d {
			shaped[key] = shape(value)
		}
		return shaped
	case []any:
		kinds := map[string]bool{}
		for _, item := range d {
			kinds[jsonText(shape(item))] = true
		}
		return slices.Sorted(maps.Keys(kinds))
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	}
	return "number"
}

// itemName is the path element of a list item.
func itemName(i int) string { return "[" + strconv.Itoa(i) + "]" }
