package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/px360/px360/server/problem"
)

// allocated is how many bytes f allocates. The caller must not run in parallel with other tests.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// However a body nests and whatever it repeats, reading it takes a small multiple of its size: what is refused is
// neither copied for each level nor sent back. Not in parallel, because it measures memory.
func TestReadBodyMemory(t *testing.T) {
	const size = 1 << 20
	text := `"` + strings.Repeat("a", size) + `"`
	nested := strings.Repeat("[", 60) + text + strings.Repeat("]", 60)
	objects := strings.Repeat(`{"a":`, 60) + text + strings.Repeat("}", 60)
	for name, test := range map[string]struct{ operation, body string }{
		"a nested choice":         {"updateProfile", `{"language":` + nested + `}`},
		"a choice of objects":     {"updateProfile", `{"language":` + objects + `}`},
		"a long choice":           {"updateProfile", `{"language":` + text + `}`},
		"a nested reference":      {"updatePatient", `{"primary_hospital":` + nested + `}`},
		"a long reference":        {"updatePatient", `{"primary_hospital":` + text + `}`},
		"a reference of digits":   {"updatePatient", `{"primary_hospital":` + strings.Repeat("9", size) + `}`},
		"a nested text":           {"updatePatient", `{"mrn":` + nested + `}`},
		"a nested list of events": {"bulkCreateEvents", `{"events":` + objects + `}`},
		"nested payloads":         {"bulkCreateEvents", `{"events":[{"payload_json":` + nested + `}]}`},
		"a long name twice":       {"updateProfile", `{` + text + `:1,` + text + `:1}`},
		"a long unknown member":   {"updateProfile", `{` + text + `:` + text + `}`},
		"a list of lists":         {"updateProfile", `{"language":[` + strings.Repeat("[],", size/3) + `0]}`},
		"broken off":              {"updateProfile", `{"language":` + nested[:size]},
	} {
		o, raw := published()[test.operation], []byte(test.body)
		var err error
		if got := allocated(func() { _, err = o.ReadBody(context.Background(), raw) }); got > 12*uint64(len(raw)) {
			t.Errorf("%s: %d bytes take %d", name, len(raw), got)
		}
		var p *problem.Problem
		if errors.As(err, &p) {
			if text, _ := json.Marshal(p.Body); len(text) > 1000 {
				t.Errorf("%s is answered with %d bytes: %.200s", name, len(text), text)
			}
		}
	}
}

// A message quotes 100 characters and an ellipsis.
func TestQuotedInputIsCut(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyKind)
	if err != nil {
		t.Fatal(err)
	}
	quoted := func(in string) string {
		_, err := o.ReadBody(t.Context(), []byte(`{"text":"a",`+in+`}`))
		var p *problem.Problem
		if !errors.As(err, &p) {
			t.Fatalf("%.50s: %v", in, err)
		}
		if d, malformed := p.Body.(problem.Detail); malformed {
			return d.Detail
		}
		for _, messages := range p.Body.(problem.Fields) {
			return messages.([]string)[0]
		}
		return ""
	}
	hundred := strings.Repeat("ن", 100)
	for in, want := range map[string]string{
		`"choice":"` + hundred + `"`:                       `"` + hundred + `" is not a valid choice.`,
		`"choice":"` + hundred + `x"`:                      `"` + hundred + `…" is not a valid choice.`,
		`"choice":["` + hundred + `"]`:                     `"['` + strings.Repeat("ن", 98) + `…" is not a valid choice.`,
		`"choice":[1,true,{"a":null,"b":[]},[],"x",-2.50]`: `"[1, True, {'a': None, 'b': []}, [], 'x', -2.50]" is not a valid choice.`,
		`"choice":{}`:          `"{}" is not a valid choice.`,
		`"choice":[[{}],[[]]]`: `"[[{}], [[]]]" is not a valid choice.`,
		`"choice":[` + strings.Repeat("1,", 5000) + `1]`: `"[` + strings.Repeat("1, ", 33) + `…" is not a valid choice.`,
		`"thing":"` + hundred + `x"`:                     "“" + hundred + "…” is not a valid UUID.",
		`"thing":` + strings.Repeat("7", 101):            `Invalid pk "` + strings.Repeat("7", 100) + `…" - object does not exist.`,
		`"` + hundred + `x":1,"` + hundred + `x":1`:      `JSON parse error - duplicate object member name "` + hundred + `…"`,
		`"any":{"` + hundred + `x":{"a":1,"a":1}}`:       `JSON parse error - duplicate object member name "a" within`,
	} {
		if got := quoted(in); got != want && !(strings.HasPrefix(want, "JSON") && strings.HasPrefix(got, want)) {
			t.Errorf("%.60s: %s, want %s", in, got, want)
		}
	}
}

// A body of more than maxTokens names and values is refused as soon as the first too many is read, and what was found
// wrong until then is told.
func TestReadBodyBoundsTokens(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyKind)
	if err != nil {
		t.Fatal(err)
	}
	list := func(n int) string { return "[" + strings.Repeat("0,", n-1) + "0]" }
	body := func(before string, n int) []byte { return []byte(`{` + before + `"x":` + list(n) + `}`) }
	const around = 5 // the object, text and its name, x, and the list
	if _, err := o.ReadBody(t.Context(), body(`"text":"a",`, maxTokens-around)); err != nil {
		t.Errorf("%d names and values are refused: %v", maxTokens, err)
	}
	for in, want := range map[string]string{
		string(body(`"text":"a",`, maxTokens-around+1)): `{"detail":"The request body has more than 500000 names and values."}`,
		string(body(`"text":5,`, maxTokens)):            `{"text":["Not a valid string."]}`,
		string(body(``, maxTokens)):                     `{"detail":"The request body has more than 500000 names and values."}`,
		`{"text":"a","any":` + list(maxTokens) + `}`:    `{"detail":"The request body has more than 500000 names and values."}`,
		`{"text":"a","list":` + list(maxTokens) + `}`:   `{"list":["Ensure this field has no more than 3 elements."]}`,
		`{"choice":` + list(maxTokens) + `}`:            `{"detail":"The request body has more than 500000 names and values."}`,
	} {
		if got := refusal(t, second(o.ReadBody(t.Context(), []byte(in))), 400); got != want {
			t.Errorf("%.60s: %s, want %s", in, got, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// dying is a context whose deadline is over after so many looks at it.
type dying struct {
	context.Context
	looks *int
}

func (d dying) Err() error {
	if *d.looks--; *d.looks < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// A deadline ends the reading of a body in the middle, wherever that is, and nothing was done by then.
func TestReadBodyLooksAtTheContext(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyKind)
	if err != nil {
		t.Fatal(err)
	}
	numbers := "[" + strings.Repeat("0,", 100_000) + "0]"
	for name, in := range map[string]string{
		"unknown": `{"x":` + numbers + `}`, "free": `{"any":` + numbers + `}`, "quoted": `{"choice":` + numbers + `}`, "too long a list": `{"list":` + numbers + `}`,
	} {
		looks := 10
		_, err := o.ReadBody(dying{t.Context(), &looks}, []byte(in))
		if !errors.Is(err, context.DeadlineExceeded) || looks < -3 {
			t.Errorf("%s: %v, and %d looks after the deadline", name, err, -looks)
		}
		if p := problem.Of(err); p.Status != 503 || p.Header["Retry-After"] == "" || fmt.Sprint(p.Body) != fmt.Sprint(problem.Busy().Body) {
			t.Errorf("%s: answered %d %v", name, p.Status, p.Body)
		}
	}
	looks := 0
	if _, err := o.ReadBody(dying{t.Context(), &looks}, []byte(`{"text":"a"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after a short body: %v", err)
	}
}

// All free JSON in a body has a limit of its own.
func TestFreeJSONIsBounded(t *testing.T) {
	t.Parallel()
	bounded := 0
	var check func(operation string, n *node)
	check = func(operation string, n *node) {
		for name, member := range n.members {
			if member.kind == kindJSON {
				bounded++
				if member.maxBytes == math.MaxInt {
					t.Errorf("%s: %s has no x-px360-max-bytes", operation, name)
				}
			}
			check(operation, member)
		}
		if n.items != nil {
			check(operation, n.items)
		}
	}
	for id, o := range published() {
		if o.body != nil {
			check(id, o.body)
		}
	}
	if bounded < 11 {
		t.Errorf("only %d members are free JSON", bounded)
	}
}

// What was cut is still valid UTF-8, and a date is compared with the day of now.
func TestExcerptAndYearsAhead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", strings.Repeat("ن", 100), strings.Repeat("ن", 101), strings.Repeat("😀", 1000)} {
		got := problem.Excerpt(text)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > problem.MaxExcerpt+1 || !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) {
			t.Errorf("%.20s: %s", text, got)
		}
	}
	now := time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC)
	var far []string
	for _, date := range []string{"2025-01-01", "2036-02-28", "2036-02-29", "2036-03-01", "9999-12-31"} {
		if tooFarAhead(date, 10, now) {
			far = append(far, date)
		}
	}
	if want := []string{"2036-02-29", "2036-03-01", "9999-12-31"}; !slices.Equal(far, want) {
		t.Errorf("too far ahead: %v, want %v", far, want)
	}
}
