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

const testID = "0193c5a0-7a00-7000-8000-000000000001"

// everyKind is a request body schema with a member of every kind.
const everyKind = `
requestBody:
  required: true
  content:
    application/json:
      schema:
        type: object
        required: [text]
        properties:
          text: {type: string, minLength: 1, maxLength: 5}
          name: {allOf: [{$ref: "#/components/schemas/Name"}], nullable: true, description: Annotated.}
          key: {type: string, x-px360-rate-limit-key: true}
          code: {type: string, pattern: "^[a-z]+$", x-px360-pattern-message: Letters only.}
          email: {type: string, format: email}
          url: {type: string, format: uri}
          thing: {type: string, format: uuid, nullable: true, x-px360-refers-to: thing}
          other: {type: string, format: uuid, x-px360-refers-to: thing}
          small: {type: integer, format: int32}
          count: {type: integer, minimum: -1, maximum: 9}
          flag: {type: boolean}
          day: {type: string, format: date}
          at: {type: string, format: date-time}
          choice: {type: string, enum: [a, b]}
          any: {description: Any value.}
          small_json: {x-px360-max-bytes: 10, nullable: true}
          set_json: {x-px360-max-bytes: 10, x-px360-settable-max-bytes: 30}
          form: {type: string, maxLength: 5, pattern: "^[a-z]+$", x-px360-pattern-message: Letters only., x-px360-normalize: NFKC}
          born: {type: string, format: date, x-px360-max-years-ahead: 10}
          whole: {allOf: [{$ref: "#/components/schemas/Whole"}, {type: object, required: [name]}]}
          list: {type: array, minItems: 1, maxItems: 3, items: {type: object, required: [n], properties: {n: {type: integer}}}}
          things: {type: array, minItems: 1, maxItems: 3, items: {type: string, format: uuid, x-px360-refers-to: thing}}
          pairs: {type: array, maxItems: 2, items: {type: array, minItems: 2, maxItems: 2, items: {type: string, maxLength: 3}}}
          items: {type: array, maxItems: 3, x-px360-items-schema: Strict, items: {type: object, properties: {key: {nullable: true}}}}
`

func TestReadBodyAccepts(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyKind)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"text":" a\u0062 ","unknown":{"x":[1]}}`:                         `{"text":"ab"}`,
		`{"name":null,"text":"a"}`:                                         `{"name":null,"text":"a"}`,
		`{"text":"a","thing":"0193C5A07A0070008000000000000001"}`:          `{"text":"a","thing":"` + testID + `"}`,
		`{"text":"a","thing":""}`:                                          `{"text":"a","thing":null}`,
		`{"text":"a","small":-2147483648,"count":9.0}`:                     `{"text":"a","small":-2147483648,"count":9}`,
		`{"text":"a","count":-10e-1,"flag":false,"day":"2024-02-29"}`:      `{"text":"a","count":-1,"flag":false,"day":"2024-02-29"}`,
		`{"text":"a","at":"2025-12-14T12:30+03:00"}`:                       `{"text":"a","at":"2025-12-14T09:30:00Z"}`,
		`{"text":"a","at":"2025-12-14t09:00:00.123456789Z"}`:               `{"text":"a","at":"2025-12-14T09:00:00.123456Z"}`,
		`{"text":"a","choice":"b","any":{"x":[1e3,-0,null],"y":"\u00e9"}}`: `{"text":"a","choice":"b","any":{"x":[1e3,-0,null],"y":"é"}}`,
		`{"text":"a","whole":{"name":" b "},"list":[{"n":1,"m":2}]}`:       `{"text":"a","whole":{"name":"b"},"list":[{"n":1}]}`,
		`{"text":"a","code":"abc","email":"a@b.sa","url":"https://b.sa/"}`: `{"text":"a","code":"abc","email":"a@b.sa","url":"https://b.sa/"}`,
		`{"text":"a","small_json":{"a":"bc"}}`:                             `{"text":"a","small_json":{"a":"bc"}}`,
		`{"text":"a","small_json":"12345678"}`:                             `{"text":"a","small_json":"12345678"}`,
		`{"text":"a","small_json": [ ], "any": [ ] }`:                      `{"text":"a","small_json":[],"any":[]}`,
		`{"text":"a","small_json":null}`:                                   `{"text":"a","small_json":null}`,
		`{"text":"a","set_json":[1,"67890123456789"]}`:                     `{"text":"a","set_json":[1,"67890123456789"]}`,
		`{"text":"a","any":{ "a" : [ {} , [] , "" , {"b":{}} ] , "c":0 }}`: `{"text":"a","any":{"a":[{},[],"",{"b":{}}],"c":0}}`,
		`{"text":"a","form":"ａｂｃ"}`:                                        `{"text":"a","form":"abc"}`,
		`{"text":"a","born":"2031-01-01"}`:                                 `{"text":"a","born":"2031-01-01"}`,
		`{"things":[ "0193C5A07A0070008000000000000001" ],"text":"a"}`:     `{"things":["` + testID + `"],"text":"a"}`,
	} {
		body, err := o.ReadBody(t.Context(), []byte(in))
		if err != nil || strings.TrimSpace(string(body.JSON)) != want {
			t.Errorf("%s is bound as %s (%v), want %s", in, body.JSON, err, want)
		}
	}
}

func TestReadBodyResult(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyKind)
	if err != nil {
		t.Fatal(err)
	}
	body, err := o.ReadBody(t.Context(), []byte(`{"text":"a","other":"0193C5A07A0070008000000000000001","thing":"`+testID+`","things":["`+testID+`"],"key":"ris",
		"items":[{"key":7},{"key":" lis "},{"key":"lis"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.MustParse(testID)
	want := Body{
		JSON:          body.JSON,
		References:    []Reference{{"other", "thing", id}, {"thing", "thing", id}, {"things", "thing", id}},
		RateLimitKeys: []string{"lis", "ris"},
		Positions:     []int{1, 2},
		ItemErrors:    map[int]problem.Fields{0: {"key": []string{messageString}}},
	}
	if !reflect.DeepEqual(body, want) || !strings.Contains(string(body.JSON), `"items":[{"key":"lis"},{"key":"lis"}]`) {
		t.Errorf("found %+v", body)
	}
	none, err := o.ReadBody(t.Context(), []byte(`{"text":"a","items":[5]}`))
	if err != nil || none.Positions != nil || len(none.ItemErrors) != 1 {
		t.Errorf("a list without a good item: %+v, %v", none, err)
	}
	// Each call returns its own memory.
	body.References[0].Field, body.RateLimitKeys[0], body.JSON[0] = "x", "x", 'x'
	again, err := o.ReadBody(t.Context(), []byte(`{"text":"a","key":"ris"}`))
	if err != nil || !reflect.DeepEqual(again, Body{JSON: again.JSON, RateLimitKeys: []string{"ris"}}) || again.JSON[0] != '{' {
		t.Errorf("found %+v, %v", again, err)
	}
}

func TestReadBodyRefuses(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, everyKind)
	if err != nil {
		t.Fatal(err)
	}
	one := func(field, message string) string { return `{"` + field + `":["` + message + `"]}` }
	for in, want := range map[string]string{
		``:                                              one("text", MessageRequired),
		` `:                                             one("text", MessageRequired),
		`null`:                                          one("non_field_errors", "No data provided"),
		`[1]`:                                           one("non_field_errors", "Invalid data. Expected a dictionary, but got list."),
		`1.5`:                                           one("non_field_errors", "Invalid data. Expected a dictionary, but got float."),
		`{"text":null}`:                                 one("text", MessageNull),
		`{"text":" "}`:                                  one("text", messageBlank),
		`{"text":5}`:                                    one("text", messageString),
		`{"text":"aaaaaa\u0000"}`:                       `{"text":["Ensure this field has no more than 5 characters.","Null characters are not allowed."]}`,
		`{"count":10}`:                                  `{"count":["Ensure this value is less than or equal to 9."],"text":["This field is required."]}`,
		`{"text":"a","count":-2}`:                       one("count", "Ensure this value is greater than or equal to -1."),
		`{"text":"a","count":1.5}`:                      one("count", messageInteger),
		`{"text":"a","count":"1"}`:                      one("count", messageInteger),
		`{"text":"a","count":1e999999999}`:              one("count", messageInteger),
		`{"text":"a","small":2147483648}`:               one("small", "Ensure this value is less than or equal to 2147483647."),
		`{"text":"a","code":"A"}`:                       one("code", "Letters only."),
		`{"text":"a","email":5}`:                        one("email", messageEmail),
		`{"text":"a","url":"b"}`:                        one("url", messageURL),
		`{"text":"a","thing":"x"}`:                      one("thing", "“x” is not a valid UUID."),
		`{"text":"a","thing":[{"a":true}]}`:             one("thing", "“[{'a': True}]” is not a valid UUID."),
		`{"text":"a","thing":7}`:                        one("thing", `Invalid pk \"7\" - object does not exist.`),
		`{"text":"a","thing":true}`:                     one("thing", "Incorrect type. Expected pk value, received bool."),
		`{"text":"a","other":""}`:                       one("other", MessageNull),
		`{"text":"a","flag":"true"}`:                    one("flag", messageBoolean),
		`{"text":"a","day":"2025-02-29"}`:               one("day", messageDate),
		`{"text":"a","at":"2025-12-14T09:00"}`:          one("at", messageDateTime),
		`{"text":"a","choice":"c"}`:                     one("choice", `\"c\" is not a valid choice.`),
		`{"text":"a","choice":null}`:                    one("choice", MessageNull),
		`{"text":"a","any":null}`:                       one("any", MessageNull),
		`{"text":"a","any":[1e309]}`:                    one("any", messageNumber),
		`{"text":"a","any":{"a\u0000":1}}`:              one("any", messageNUL),
		`{"text":"a","small_json":{"a":"bcd"}}`:         one("small_json", "Ensure this field has no more than 10 bytes of JSON."),
		`{"text":"a","small_json":{"a": "bc"}}`:         one("small_json", "Ensure this field has no more than 10 bytes of JSON."),
		`{"text":"a","small_json":123456789012}`:        one("small_json", "Ensure this field has no more than 10 bytes of JSON."),
		`{"text":"a","small_json":"é8901234\u0000"}`:    one("small_json", messageNUL),
		`{"text":"a","set_json":[1,"678901234567890"]}`: one("set_json", "Ensure this field has no more than 20 bytes of JSON."),
		`{"text":5,"small_json":["78901234"]}`:          `{"small_json":["Ensure this field has no more than 10 bytes of JSON."],"text":["Not a valid string."]}`,
		`{"text":"a","form":"ｉｊｋｌｍｎ"}`:                  one("form", "Ensure this field has no more than 5 characters."),
		`{"text":"a","form":"\uFDFA"}`:                  one("form", "Ensure this field has no more than 5 characters."),
		`{"text":"a","form":"Ａ"}`:                       one("form", "Letters only."),
		`{"text":"a","born":"2999-12-31"}`:              one("born", "Ensure this date is not more than 10 years in the future."),
		`{"text":"a","whole":null}`:                     one("whole", MessageNull),
		`{"text":"a","whole":5}`:                        `{"whole":["Invalid data. Expected a dictionary, but got int."]}`,
		`{"text":"a","whole":{}}`:                       `{"whole":{"name":["This field is required."]}}`,
		`{"text":"a","list":null}`:                      one("list", MessageNull),
		`{"text":"a","list":{}}`:                        one("list", `Expected a list of items but got type \"dict\".`),
		`{"text":"a","list":[]}`:                        one("list", "This list may not be empty."),
		`{"text":"a","list":[1,2,3,4]}`:                 one("list", "Ensure this field has no more than 3 elements."),
		`{"text":"a","list":[{"n":1},{},5]}`:            `{"list":[{},{"n":["This field is required."]},{"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}]}`,
		`{"text":"a","pairs":[["a"]]}`:                  one("pairs", "Ensure this field has at least 2 elements."),
		`{"text":"a","pairs":[["a","b","c"]]}`:          one("pairs", "Ensure this field has no more than 2 elements."),
		`{"text":"a","pairs":[["a","b"],["a",5]]}`:      one("pairs", "Not a valid string."),
		`{"text":"a","pairs":[["a","b"],null]}`:         one("pairs", MessageNull),
		`{"text":"a","pairs":["ab"]}`:                   one("pairs", `Expected a list of items but got type \"str\".`),
		`{"text":"a","pairs":[[],[]]}`:                  one("pairs", "Ensure this field has at least 2 elements."),
		`{"text":"a","things":null}`:                    one("things", MessageNull),
		`{"text":"a","things":7}`:                       one("things", `Expected a list of items but got type \"int\".`),
		`{"text":"a","things":[]}`:                      one("things", messageEmptyList),
		`{"text":"a","things":["` + testID + `",null]}`: one("things", MessageNull),
		`{"text":"a","things":["x",["y"],{}]}`:          one("things", "“x” is not a valid UUID."),
		`{"text":5,"things":[{"a":[true]},7]}`:          `{"text":["Not a valid string."],"things":["“{'a': [True]}” is not a valid UUID."]}`,
		`{"text":"a","things":[1,2,3,4]}`:               one("things", "Ensure this field has no more than 3 elements."),
		`{"text":"a","items":[{},{},{},[]]}`:            one("items", "Ensure this field has no more than 3 elements."),
	} {
		_, err := o.ReadBody(t.Context(), []byte(in))
		var p *problem.Problem
		if !errors.As(err, &p) || p.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got, _ := json.Marshal(p.Body); string(got) != want {
			t.Errorf("%s is refused with %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{
		`{"text":`, `{"text":"a"} {}`, `{"text":"a","text":"b"}`, `{"x":{"a":1,"a":2}}`, "\ufeff{}", `{"text":"\ud800"}`, "{\"text\":\"\xff\"}", `{"text":'a'}`,
		`{"text":"a","items":[{]}`, `{"any":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
	} {
		_, err := o.ReadBody(t.Context(), []byte(in))
		var p *problem.Problem
		if !errors.As(err, &p) || p.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", in, err)
		} else if d, _ := p.Body.(problem.Detail); !strings.HasPrefix(d.Detail, "JSON parse error - ") || strings.Contains(d.Detail, "jsontext") {
			t.Errorf("%s is refused with %v", in, p.Body)
		}
	}
	deepest := `{"text":"a","any":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`
	if _, err := o.ReadBody(t.Context(), []byte(deepest)); err != nil {
		t.Errorf("a depth of 64 is refused: %v", err)
	}
}

func TestReadBodyWithoutBody(t *testing.T) {
	t.Parallel()
	o, err := compileOne(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := o.ReadBody(t.Context(), []byte("}")); err != nil || !reflect.DeepEqual(body, Body{}) {
		t.Errorf("%+v, %v", body, err)
	}
}
