package tests

import (
	"maps"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A difference is one difference between two answers.
type difference struct{ at, recorded, ours string }

func (d difference) String() string { return d.at + ": recorded " + d.recorded + ", ours " + d.ours }

// within reports whether the place is in a part such as body.messages.
func (d difference) within(part string) bool {
	rest, ok := strings.CutPrefix(d.at, part)
	return part == "answer" || ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// compareAnswers lists the differences between the recorded answer and ours, except for what the
// specification leaves open.
func compareAnswers(p probe, recorded, ours wireAnswer) []difference {
	if recorded.Error != "" || ours.Error != "" {
		return []difference{{"error", recorded.String(), ours.String()}}
	}
	var found []difference
	if recorded.Status != ours.Status {
		found = append(found, difference{"status", recorded.String(), ours.String()})
	}
	for _, name := range wireHeaders {
		if x, y := normalizedHeader(name, recorded.Headers[name]), normalizedHeader(name, ours.Headers[name]); x != y {
			found = append(found, difference{"headers." + name, x, y})
		}
	}
	x, y := comparableBody(p, recorded.Body), comparableBody(p, ours.Body)
	if recorded.Status < 300 && ours.Status < 300 && p.Method != http.MethodOptions {
		x, y = documented(p.Path, x), documented(p.Path, y)
	}
	return append(found, compareValues("body", x, y)...)
}

// normalizedHeader is a header's value in canonical form.
func normalizedHeader(name, value string) string {
	switch {
	case value == "":
		return ""
	case name == "Allow", name == "Vary":
		parts := regexp.MustCompile(`\s*,\s*`).Split(strings.TrimSpace(value), -1)
		slices.Sort(parts)
		return strings.Join(parts, ", ")
	case name == "Content-Type":
		if mediaType, parameters, err := mime.ParseMediaType(strings.ToLower(value)); err == nil {
			return mime.FormatMediaType(mediaType, parameters)
		}
	}
	return value
}

func compareValues(at string, recorded, ours any) []difference {
	if reflect.DeepEqual(recorded, ours) {
		return nil
	}
	switch x := recorded.(type) {
	case map[string]any:
		if y, ok := ours.(map[string]any); ok {
			return compareMembers(at, x, y)
		}
	case []any:
		if y, ok := ours.([]any); ok && len(x) == len(y) {
			var found []difference
			for i := range x {
				found = append(found, compareValues(at+itemName(i), x[i], y[i])...)
			}
			return found
		}
	}
	return []difference{{at, jsonText(recorded), jsonText(ours)}}
}

func compareMembers(at string, recorded, ours map[string]any) []difference {
	all := maps.Clone(recorded)
	maps.Copy(all, ours)
	var found []difference
	for _, key := range slices.Sorted(maps.Keys(all)) {
		x, inRecorded := recorded[key]
		y, inOurs := ours[key]
		switch where := at + "." + key; {
		case !inRecorded:
			found = append(found, difference{where, "nothing", jsonText(y)})
		case !inOurs:
			found = append(found, difference{where, jsonText(x), "nothing"})
		default:
			found = append(found, compareValues(where, x, y)...)
		}
	}
	return found
}

// comparableBody is a body without details that may differ: numeric limits, parser messages, bodies
// that are not JSON, and the details of pages.
func comparableBody(p probe, body any) any {
	if object, ok := body.(map[string]any); ok && object["$text"] != nil {
		return "not JSON"
	}
	// The recorded server ignores an unknown ordering, so the order of the rows is undefined.
	ordered := strings.Contains(p.Path, "ordering=") && !(p.Kind == "ordering" && p.Basis == "stack")
	return normalizePage(maskDetails(body), ordered)
}

var limitPattern = regexp.MustCompile(`no more than \d+ (characters|elements)`)

func maskDetails(data any) any {
	switch d := data.(type) {
	case string:
		if strings.HasPrefix(d, "JSON parse error - ") {
			return "JSON parse error - …"
		}
		return limitPattern.ReplaceAllString(d, "no more than N $1")
	case []any:
		masked := make([]any, len(d))
		for i := range d {
			masked[i] = maskDetails(d[i])
		}
		return masked
	case map[string]any:
		masked := map[string]any{}
		for key, value := range d {
			masked[key] = maskDetails(value)
		}
		return masked
	}
	return data
}

// normalizePage removes from a page what the specification leaves open: the order of the parameters
// in links, page=1 in links, and, without an ordering, the order of the rows and so the content of a
// page.
func normalizePage(data any, ordered bool) any {
	page, ok := data.(map[string]any)
	rows, isPage := page["results"].([]any)
	if !ok || !isPage {
		return data
	}
	page = maps.Clone(page)
	part := false
	for _, name := range []string{"next", "previous"} {
		if link, ok := page[name].(string); ok {
			part = true
			path, query, _ := strings.Cut(link, "?")
			pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool { return pair == "page=1" || pair == "" })
			slices.Sort(pairs)
			page[name] = path + "?" + strings.Join(pairs, "&")
		}
	}
	if !ordered {
		rows = slices.Clone(rows)
		for i := range rows {
			if part {
				rows[i] = shape(rows[i])
			}
		}
		slices.SortFunc(rows, func(x, y any) int { return strings.Compare(jsonText(x), jsonText(y)) })
		page["results"] = rows
	}
	return page
}
