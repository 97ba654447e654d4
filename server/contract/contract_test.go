package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/server/auth"
)

// document is a document with one operation, POST /things/{id}/, that contains these lines.
func document(t *testing.T, operation string) *openapi3.T {
	t.Helper()
	text := `
openapi: 3.0.3
info: {title: T, version: "1"}
paths:
  /things/{id}/:
    post:
      operationId: changeThing
      tags: [Events]
      x-px360-permission: public
      x-px360-rate-limit: events
      responses: {"200": {description: Done.}}
` + indent(operation, 6) + `
components:
  schemas:
    Name: {type: string, maxLength: 10}
    Whole: {type: object, properties: {name: {type: string}}}
    Strict: {type: object, required: [key], properties: {key: {type: string, x-px360-rate-limit-key: true}}}
    Endless: {type: object, properties: {next: {$ref: "#/components/schemas/Endless"}}}
`
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return doc
}

func indent(text string, by int) string {
	space := strings.Repeat(" ", by)
	return space + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+space)
}

func bodyOf(schema string) string {
	return "requestBody: {required: true, content: {application/json: {schema: " + schema + "}}}"
}

func memberOf(schema string) string { return bodyOf("{type: object, properties: {a: " + schema + "}}") }

func parameterOf(rest string) string { return "parameters: [{name: p, in: query, " + rest + "}]" }

// compileOne compiles a document of one operation.
func compileOne(t *testing.T, operation string) (*Operation, error) {
	t.Helper()
	c, err := Compile(document(t, operation), Settings{Nouns: []string{"thing"}, MaxPayload: 20, Policy: policy()})
	if err != nil {
		return nil, err
	}
	return c.Paths["/things/:id/"].Operations[http.MethodPost], nil
}

func TestCompileRejectsUnenforcedKeywords(t *testing.T) {
	t.Parallel()
	const inMember, inParameter, inBody = "request body: a: ", "parameter p: ", "request body: "
	for operation, want := range map[string]string{
		memberOf(`{oneOf: [{type: string}]}`):                                                                                                    inMember + "oneOf is not enforced",
		memberOf(`{anyOf: [{type: string}]}`):                                                                                                    inMember + "anyOf is not enforced",
		memberOf(`{not: {type: string}}`):                                                                                                        inMember + "not is not enforced",
		memberOf(`{type: array, items: {type: object}, uniqueItems: true}`):                                                                      inMember + "uniqueItems is not enforced",
		memberOf(`{type: array, items: {type: object}, nullable: true}`):                                                                         inMember + "nullable is not enforced",
		memberOf(`{type: array, items: {type: array, items: {type: object}}}`):                                                                   inMember + "a list of free JSON",
		memberOf(`{type: array, items: {nullable: true}}`):                                                                                       inMember + "a list of free JSON",
		memberOf(`{type: array, items: {type: string, format: uuid, nullable: true}}`):                                                           inMember + "a list of free JSON",
		memberOf(`{type: object, properties: {b: {type: array, items: {format: uuid, type: string, x-px360-refers-to: thing}}}}`):                inMember + "b: x-px360-refers-to: only members",
		memberOf(`{type: array, items: {type: object}, x-px360-items-schema: No}`):                                                               inMember + `x-px360-items-schema: no schema "No"`,
		memberOf(`{type: array, items: {type: object}, x-px360-items-schema: true}`):                                                             inMember + "x-px360-items-schema: json",
		memberOf(`{type: array, items: {type: object}, x-px360-items-schema: Name}`):                                                             inMember + "x-px360-items-schema: both Name and the items must be objects",
		memberOf(`{type: array, items: {}, x-px360-items-schema: Strict}`):                                                                       inMember + "x-px360-items-schema: both Strict and the items must be objects",
		memberOf(`{type: array, items: {type: object}, x-px360-items-schema: Strict}`):                                                           inMember + "x-px360-items-schema: the items have no member key",
		memberOf(`{type: array, items: {type: object, properties: {key: {type: string}}}, x-px360-items-schema: Strict}`):                        inMember + "x-px360-items-schema: the items must allow any value of key",
		memberOf(`{type: array, items: {type: object, properties: {key: {nullable: true}, b: {nullable: true}}}, x-px360-items-schema: Strict}`): inMember + "x-px360-items-schema: Strict has no member b",
		memberOf(`{type: array, items: {type: object, required: [key], properties: {key: {nullable: true}}}, x-px360-items-schema: Strict}`):     inMember + "x-px360-items-schema: the items must not require key",
		memberOf(`{type: array, items: {type: object, minProperties: 1}}`):                                                                       inMember + "items: minProperties is not enforced",
		memberOf(`{type: integer, minimum: 1, exclusiveMinimum: true}`):                                                                          inMember + "exclusiveMinimum is not enforced",
		memberOf(`{type: integer, maximum: 1, exclusiveMaximum: true}`):                                                                          inMember + "exclusiveMaximum is not enforced",
		memberOf(`{type: integer, multipleOf: 2}`):                                                                                               inMember + "multipleOf is not enforced",
		memberOf(`{type: integer, minimum: 1.5}`):                                                                                                inMember + "a limit of 1.5",
		memberOf(`{type: integer, format: int32, maximum: 3000000000}`):                                                                          inMember + "a limit of 3e+09",
		memberOf(`{type: integer, format: int8}`):                                                                                                inMember + `format "int8"`,
		memberOf(`{type: integer, pattern: x}`):                                                                                                  inMember + "pattern is not enforced",
		memberOf(`{type: integer, maxLength: 3}`):                                                                                                inMember + "maxLength is not enforced",
		memberOf(`{type: integer, enum: [1, 2]}`):                                                                                                inMember + "an enum without type: string",
		memberOf(`{type: string, nullable: true, enum: [a, null]}`):                                                                              inMember + "enum: <nil> is no string",
		memberOf(`{type: string, enum: [a], minLength: 1}`):                                                                                      inMember + "minLength is not enforced",
		memberOf(`{type: string, format: uuid, maxLength: 36}`):                                                                                  inMember + "maxLength is not enforced",
		memberOf(`{type: string, format: date, pattern: x}`):                                                                                     inMember + "pattern is not enforced",
		memberOf(`{type: string, format: hostname}`):                                                                                             inMember + `format "hostname"`,
		memberOf(`{type: string, minimum: 1}`):                                                                                                   inMember + "minimum is not enforced",
		memberOf(`{type: string, minLength: 2}`):                                                                                                 inMember + "a minLength of 2",
		memberOf(`{type: string, default: x}`):                                                                                                   inMember + "default is not enforced",
		memberOf(`{type: string, readOnly: true}`):                                                                                               inMember + "readOnly is not enforced",
		memberOf(`{type: string, pattern: x}`):                                                                                                   inMember + `pattern "x" and x-px360-pattern-message`,
		memberOf(`{type: string, x-px360-pattern: x}`):                                                                                           inMember + `pattern "" and x-px360-pattern-message`,
		memberOf(`{type: string, pattern: "(", x-px360-pattern-message: m}`):                                                                     inMember + "error parsing regexp",
		memberOf(`{type: string, x-px360-rate-limit-key: "yes"}`):                                                                                inMember + "x-px360-rate-limit-key: json",
		memberOf(`{type: string, nullable: true, x-px360-rate-limit-key: true}`):                                                                 inMember + "x-px360-rate-limit-key: must not be nullable",
		memberOf(`{type: string, x-px360-refers-to: thing}`):                                                                                     inMember + "x-px360-refers-to is not enforced",
		memberOf(`{type: string, x-px360-other: 1}`):                                                                                             inMember + "x-px360-other is not enforced",
		memberOf(`{type: string, format: uuid, x-px360-refers-to: nothing}`):                                                                     inMember + `x-px360-refers-to: no noun "nothing"`,
		memberOf(`{type: string, format: uuid, x-px360-refers-to: [thing]}`):                                                                     inMember + "x-px360-refers-to: json",
		memberOf(`{type: number}`):                                                                                                               inMember + "type [number]",
		memberOf(`{minLength: 1}`):                                                                                                               inMember + "minLength is not enforced",
		memberOf(`{type: object, additionalProperties: false}`):                                                                                  inMember + "additionalProperties is not enforced",
		memberOf(`{type: object, additionalProperties: {type: string}}`):                                                                         inMember + "additionalProperties is not enforced",
		memberOf(`{type: object, maxProperties: 1}`):                                                                                             inMember + "maxProperties is not enforced",
		memberOf(`{type: object, discriminator: {propertyName: a}}`):                                                                             inMember + "discriminator is not enforced",
		memberOf(`{type: object, required: [b]}`):                                                                                                inMember + "b: required, but not among",
		memberOf(`{type: object, properties: {b: {type: string, default: x}}}`):                                                                  inMember + "b: default is not enforced",
		memberOf(`{type: object, properties: {b: {format: uuid, type: string, x-px360-refers-to: thing}}}`):                                      inMember + "b: x-px360-refers-to: only members",
		memberOf(`{type: object, properties: {b: {type: array, items: {type: object, properties: {key: {nullable: true}}}, x-px360-items-schema: Strict}}}`): inMember + "b: x-px360-items-schema: only members",
		memberOf(`{$ref: "#/components/schemas/Name", x-px360-rate-limit-key: true}`):                                                                        inMember + "x-px360-rate-limit-key is not enforced",
		memberOf(`{$ref: "#/components/schemas/Endless"}`):                                                                                                   inMember + "next: next: ",
		memberOf(`{allOf: [{$ref: "#/components/schemas/Name"}], minLength: 1}`):                                                                             inMember + "beside allOf without a type: minLength",
		memberOf(`{allOf: [{$ref: "#/components/schemas/Whole"}], required: [name]}`):                                                                        inMember + "beside allOf without a type: required",
		memberOf(`{allOf: [{$ref: "#/components/schemas/Whole"}], nullable: true}`):                                                                          inMember + "nullable is not enforced",
		memberOf(`{type: string, allOf: [{$ref: "#/components/schemas/Name"}]}`):                                                                             inMember + "allOf of other than objects",
		memberOf(`{allOf: [{type: string, maxLength: 9}, {type: string, minLength: 1}]}`):                                                                    inMember + "allOf of other than objects",
		memberOf(`{allOf: [{type: object}, {type: object}], properties: {b: {}}}`):                                                                           inMember + "beside allOf: properties is not enforced",
		memberOf(`{type: object, allOf: [{type: object}], minProperties: 1}`):                                                                                inMember + "beside allOf: minProperties is not enforced",
		memberOf(`{allOf: [{$ref: "#/components/schemas/Whole"}, {$ref: "#/components/schemas/Whole"}]}`):                                                    inMember + "name: in two parts",

		bodyOf(`{type: string}`): inBody + "must be an object",
		bodyOf(`{allOf: [{$ref: "#/components/schemas/Whole"}], required: [name]}`):                 inBody + "beside allOf without a type: required",
		bodyOf(`{allOf: [{$ref: "#/components/schemas/Whole"}], properties: {b: {}}}`):              inBody + "beside allOf without a type: properties",
		bodyOf(`{allOf: [{$ref: "#/components/schemas/Whole"}, {type: object}], required: [name]}`): inBody + "beside allOf: required",
		bodyOf(`{type: object, properties: {a: {type: array, items: {type: object, properties: {key: {nullable: true}}}, x-px360-items-schema: Strict}, b: {type: array, items: {type: object, properties: {key: {nullable: true}}}, x-px360-items-schema: Strict}}}`): inBody + "x-px360-items-schema: only one",
		`requestBody: {content: {application/json: {schema: {type: object, required: [a], properties: {a: {type: boolean}}}}}}`:                                                                                                                                        inBody + "must be required",
		`requestBody: {required: true, content: {application/json: {}}}`:                                                           inBody + "no schema",
		`requestBody: {required: true, content: {text/plain: {schema: {type: string}}}}`:                                           inBody + "must be application/json",
		`requestBody: {required: true, content: {application/json: {schema: {type: object}}, text/csv: {schema: {type: string}}}}`: inBody + "must be application/json",

		`parameters: [{name: p, in: cookie, schema: {type: string}}]`:                                                        inParameter + "in: cookie",
		`parameters: [{name: p, in: path, required: true, schema: {type: string}}]`:                                          inParameter + "the only parameters of a path are id",
		`parameters: [{name: id, in: path, required: true, schema: {type: string}}]`:                                         "parameter id: the only parameters of a path are id",
		`parameters: [{name: id, in: path, required: true, schema: {type: string, format: uuid, x-px360-refers-to: thing}}]`: "parameter id: x-px360-refers-to is not enforced",
		`parameters: [{name: p, in: header, schema: {type: string, format: uuid}}]`:                                          inParameter + "a parameter of this type is not supported in: header",
		parameterOf(`schema: {type: integer}`):                                                                               inParameter + "a parameter of this type",
		parameterOf(`schema: {type: integer}`):                                                                               inParameter + "a parameter of this type",
		memberOf(`{x-px360-max-bytes: 0}`):                                                                                   inMember + "x-px360-max-bytes of 0",
		memberOf(`{x-px360-max-bytes: many}`):                                                                                inMember + "x-px360-max-bytes: json",
		memberOf(`{x-px360-max-bytes: 9, x-px360-settable-max-bytes: 8}`):                                                    inMember + "x-px360-settable-max-bytes of 8",
		memberOf(`{x-px360-settable-max-bytes: 30}`):                                                                         inMember + "x-px360-settable-max-bytes of 30",
		memberOf(`{x-px360-max-bytes: 21, x-px360-settable-max-bytes: 30}`):                                                  inMember + "a limit of 20 bytes is not from 21 to 30",
		memberOf(`{x-px360-max-bytes: 10, x-px360-settable-max-bytes: 19}`):                                                  inMember + "a limit of 20 bytes is not from 10 to 19",
		memberOf(`{type: string, x-px360-max-bytes: 5}`):                                                                     inMember + "x-px360-max-bytes is not enforced",
		memberOf(`{type: string, x-px360-normalize: NFC}`):                                                                   inMember + `x-px360-normalize: must be NFKC, not "NFC"`,
		memberOf(`{type: string, x-px360-max-years-ahead: 1}`):                                                               inMember + "x-px360-max-years-ahead is not enforced",
		memberOf(`{type: string, format: date, x-px360-max-years-ahead: -1}`):                                                inMember + "x-px360-max-years-ahead of -1",
		parameterOf(`allowEmptyValue: true, schema: {type: string, x-px360-normalize: NFKC}`):                                inParameter + "x-px360-normalize is not enforced",
		parameterOf(`schema: {type: string, nullable: true}`):                                                                inParameter + "nullable is not enforced",
		parameterOf(`schema: {type: string, default: x}`):                                                                    inParameter + "default is not enforced",
		parameterOf(`schema: {type: string, x-px360-rate-limit-key: true}`):                                                  inParameter + "x-px360-rate-limit-key is not enforced",
		parameterOf(`schema: {type: string, format: uuid, x-px360-refers-to: nothing}`):                                      inParameter + `x-px360-refers-to: no noun "nothing"`,
		parameterOf(`required: true, schema: {type: string}`):                                                                inParameter + "required is not enforced",
		parameterOf(`allowReserved: true, schema: {type: string}`):                                                           inParameter + "allowReserved is not enforced",
		parameterOf(`style: form, schema: {type: string}`):                                                                   inParameter + "style is not enforced",
		parameterOf(`content: {application/json: {schema: {type: string}}}`):                                                 inParameter + "no schema",
		parameterOf(`schema: {type: string}`):                                                                                inParameter + "must have allowEmptyValue: true",
		`parameters: [{name: p, in: header, allowEmptyValue: true, schema: {type: string}}]`:                                 inParameter + "allowEmptyValue is not enforced",
		`parameters: [{name: page_size, in: query, schema: {type: integer, format: int32, minimum: 1, default: 20}}]`:        "parameter page_size: format is not enforced",
		`parameters: [{name: page, in: query, schema: {type: integer, minimum: 1, default: 2}}]`:                             "parameter page: must be an integer",
		`parameters: [{name: page_size, in: query, schema: {type: integer, default: 20}}]`:                                   "parameter page_size: must be an integer",
		`parameters: [{name: page_size, in: query, schema: {type: integer, minimum: 1, maximum: 100, default: 20}}]`:         "parameter page_size: maximum is not enforced",
		`parameters: [{name: ordering, in: query, schema: {type: array, items: {type: string, enum: [a]}}}]`:                 "parameter ordering: must have style: form",
		`parameters: [{name: ordering, in: query, style: form, explode: false, schema: {type: string, enum: [a]}}]`:          "parameter ordering: must be an array of an enum",
	} {
		_, err := compileOne(t, operation)
		if prefix := "/things/{id}/: POST: " + want; err == nil || !strings.HasPrefix(err.Error(), prefix) {
			t.Errorf("%s\nfails with %v, want %s…", operation, err, prefix)
		}
	}
}

func TestCompileRejectsPolicies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ old, new, want string }{
		{"x-px360-permission: public", "", `x-px360-permission ""`},
		{"x-px360-permission: public", "x-px360-permission: fly", `x-px360-permission "fly"`},
		{"x-px360-rate-limit: events", "x-px360-rate-limit: sometimes", `x-px360-rate-limit "sometimes"`},
		{"x-px360-permission: public", "x-px360-permission: public\n  x-px360-object: nothing", `x-px360-object: no noun "nothing"`},
		{"x-px360-permission: public", "x-px360-permission: public\n  x-px360-body-limit: 0", "x-px360-body-limit of 0 bytes"},
		{"x-px360-permission: public", "x-px360-permission: public\n  x-px360-body-limit: many", "x-px360-body-limit: json"},
		{"x-px360-permission: public", "x-px360-permission: public\n  x-px360-objekt: thing", "x-px360-objekt is not known"},
	} {
		text := strings.Replace("post:\n  x-px360-permission: public\n  x-px360-rate-limit: events\n  responses: {\"200\": {description: Done.}}", test.old, test.new, 1)
		doc, err := openapi3.NewLoader().LoadFromData([]byte("openapi: 3.0.3\ninfo: {title: T, version: \"1\"}\npaths:\n  /things/:\n" + indent(text, 4)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Compile(doc, Settings{Nouns: []string{"thing"}, MaxPayload: 20, Policy: policy()})
		if want := "/things/: POST: " + test.want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s fails with %v, want %s…", test.new, err, want)
		}
	}
	doc := document(t, "")
	doc.Paths.Value("/things/{id}/").Parameters = openapi3.Parameters{{Value: openapi3.NewPathParameter("id")}}
	if _, err := Compile(doc, Settings{}); err == nil || !strings.Contains(err.Error(), "/things/{id}/: parameters of a path") {
		t.Errorf("parameters of a path fail with %v", err)
	}
}

func TestCompileReadsOperations(t *testing.T) {
	t.Parallel()
	c, err := Compile(document(t, "x-px360-object: thing\nx-px360-body-limit: 99\n"+memberOf("{type: string}")), Settings{Nouns: []string{"thing"}, MaxPayload: 20, Policy: policy()})
	if err != nil {
		t.Fatal(err)
	}
	p := c.Paths["/things/:id/"]
	o := p.Operations[http.MethodPost]
	if p.Allow != "OPTIONS, POST" || !p.APIKeys || !p.MayAny(auth.Principal{}) || p.RateLimit(o) != PolicyEvents || p.RateLimit(nil) != PolicyUser {
		t.Errorf("the path is %+v", p)
	}
	if o.ID != "changeThing" || o.Object != "thing" || o.BodyLimit != 99 || !o.Public() || o.IsList() || !o.HasBody() || !o.TakesEvents() {
		t.Errorf("the operation is %+v", o)
	}
}

func TestPublishedDocument(t *testing.T) {
	t.Parallel()
	list, token := published()["listUsers"], published()["createToken"]
	if !list.IsList() || list.HasBody() || list.Public() || list.TakesEvents() || list.BodyLimit != defaultBodyLimit {
		t.Errorf("listUsers is %+v", list)
	}
	if token.IsList() || !token.HasBody() || !token.Public() || token.RateLimit != PolicyAuth || token.BodyLimit != 8192 {
		t.Errorf("createToken is %+v", token)
	}
	if events := published()["bulkCreateEvents"]; !events.TakesEvents() || !events.body.members["events"].independent {
		t.Errorf("bulkCreateEvents is %+v", events)
	}
}

// policy is the table of permissions.
func policy() auth.Policy {
	p, err := auth.NewPolicy(auth.EventSendersAny)
	if err != nil {
		panic(err)
	}
	return p
}
