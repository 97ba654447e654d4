package contract

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/server/problem"
)

const everyParameter = `
parameters:
  - {name: id, in: path, required: true, description: Which., schema: {type: string, format: uuid}}
  - {name: page, in: query, allowEmptyValue: true, schema: {type: integer, format: int32, minimum: 1, default: 1}}
  - {name: page_size, in: query, allowEmptyValue: true, schema: {type: integer, minimum: 1, default: 20}}
  - {name: ordering, in: query, allowEmptyValue: true, style: form, explode: false, schema: {type: array, maxItems: 2, items: {type: string, enum: [name, -name, code, -code]}}}
  - {name: search, in: query, allowEmptyValue: true, schema: {type: string, maxLength: 5}}
  - {name: thing, in: query, allowEmptyValue: true, schema: {type: string, format: uuid, x-px360-refers-to: thing}}
  - {name: flag, in: query, allowEmptyValue: true, schema: {type: boolean}}
  - {name: choice, in: query, allowEmptyValue: true, schema: {type: string, enum: [a, b]}}
  - {name: after, in: query, allowEmptyValue: true, schema: {type: string, format: date-time}}
  - {name: Key, in: header, schema: {type: string, minLength: 1, maxLength: 5}}
`

func TestReadQuery(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyParameter)
	if err != nil {
		t.Fatal(err)
	}
	if !o.IsList() {
		t.Error("the operation is not a list")
	}
	bind, page, err := o.ReadQuery("page=3&page_size=50&ordering=-name,%20code&search=a+b&thing=0193C5A07A0070008000000000000001&flag=True&choice=b&after=2025-12-14T12:30%2B03:00&x=1&search2=")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bind.Encode(), "after=2025-12-14T09%3A30%3A00Z&choice=b&flag=true&search=a+b&thing="+testID; got != want {
		t.Errorf("bound as %s, want %s", got, want)
	}
	if page.Number != 3 || page.Size != 50 || page.Offset() != 100 ||
		!reflect.DeepEqual(page.Order, []Term{{Field: "name", Descending: true}, {Field: "code"}}) ||
		!reflect.DeepEqual(page.References, []Reference{{"thing", "thing", uuid.MustParse(testID)}}) {
		t.Errorf("the page is %+v", page)
	}
	if bind, page, err := o.ReadQuery("search=&page=&page_size=1000"); err != nil || len(bind) != 0 || page.Number != 1 || page.Size != 100 || page.Offset() != 0 {
		t.Errorf("empty values: %v %+v %v", bind, page, err)
	}
	if _, page, err := o.ReadQuery("page=16777216&page_size=99999999999999999999"); err != nil || page.Offset() != (1<<24-1)*100 {
		t.Errorf("the last page: %+v %v", page, err)
	}
}

func TestPageLink(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyParameter)
	if err != nil {
		t.Fatal(err)
	}
	_, page, err := o.ReadQuery("page=3&choice=a&x=1&x=2")
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[int]string{1: "http://b/?choice=a&x=1&x=2", 2: "http://b/?choice=a&page=2&x=1&x=2", 4: "http://b/?choice=a&page=4&x=1&x=2"} {
		if got := *page.Link("http://b/", number); got != want {
			t.Errorf("page %d is at %s, want %s", number, got, want)
		}
	}
	_, page, _ = o.ReadQuery("")
	if got := *page.Link("http://b/", 1); got != "http://b/" {
		t.Errorf("the first page is at %s", got)
	}
}

// refusal is the body of a problem with this status.
func refusal(t *testing.T, err error, status int) string {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status != status {
		t.Errorf("%v, want %d", err, status)
		return ""
	}
	text, err := json.Marshal(p.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestReadQueryRefuses(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyParameter)
	if err != nil {
		t.Fatal(err)
	}
	const noChoice = "Select a valid choice. "
	for raw, want := range map[string]string{
		"%zz=1":                       `{"detail":"Malformed query string."}`,
		"x=%zz":                       `{"x":["Malformed percent-encoding."]}`,
		"x=%ff":                       `{"x":["Not valid UTF-8."]}`,
		"flag=1&flag=1":               `{"flag":["Give this parameter only once."]}`,
		"search=%00":                  `{"search":["Null characters are not allowed."]}`,
		"search=abcdef":               `{"search":["Ensure this field has no more than 5 characters."]}`,
		"thing=x":                     `{"thing":["“x” is not a valid UUID."]}`,
		"flag=yes":                    `{"flag":["Must be a valid boolean."]}`,
		"choice=c":                    `{"choice":["` + noChoice + `c is not one of the available choices."]}`,
		"after=2025-12-14":            `{"after":["Enter a valid date/time."]}`,
		"after=2025-12-14T09:00":      `{"after":["Enter a valid date/time."]}`,
		"page_size=0&page=x":          `{"page_size":["A positive integer is required."]}`,
		"page_size=%2B5&flag=yes":     `{"flag":["Must be a valid boolean."],"page_size":["A positive integer is required."]}`,
		"ordering=name,size":          `{"ordering":["` + noChoice + `size is not one of the available choices."]}`,
		"ordering=name,code,-name":    `{"ordering":["Ensure this field has no more than 2 elements."]}`,
		"ordering=name,code,-name,xx": `{"ordering":["` + noChoice + `xx is not one of the available choices."]}`,
	} {
		_, _, err := o.ReadQuery(raw)
		if got := refusal(t, err, http.StatusBadRequest); got != want {
			t.Errorf("%s is refused with %s, want %s", raw, got, want)
		}
	}
	for _, raw := range []string{"page=0", "page=-1", "page=x", "page=%2B1", "page=16777217", "page=last"} {
		_, _, err := o.ReadQuery(raw)
		if got := refusal(t, err, http.StatusNotFound); got != `{"detail":"Invalid page."}` {
			t.Errorf("%s is refused with %s", raw, got)
		}
	}
}

func TestReadHeader(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyParameter)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []http.Header{{}, {"Key": {"a b"}}, {"Other": {"\x00"}}} {
		if err := o.ReadHeader(header); err != nil {
			t.Errorf("%v: %v", header, err)
		}
	}
	for want, values := range map[string][]string{
		`{"Key":["Give this header only once."]}`:                      {"a", "a"},
		`{"Key":["Not valid UTF-8."]}`:                                 {"\xff"},
		`{"Key":["This field may not be blank."]}`:                     {""},
		`{"Key":["Ensure this field has no more than 5 characters."]}`: {strings.Repeat("a", 6)},
	} {
		if got := refusal(t, o.ReadHeader(http.Header{"Key": values}), http.StatusBadRequest); got != want {
			t.Errorf("%q is refused with %s, want %s", values, got, want)
		}
	}
}
