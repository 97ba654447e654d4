package tests

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const msgNumber = "A number in it is too large or too long."

// TestHostileBodies sends ambiguous, compressed, oversized and malformed bodies.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	h.run(t, h.ambiguousBodies())
	h.run(t, h.unusualBodies())
	h.run(t, h.largeBodies())
	h.run(t, h.otherMediaTypes(t))
	h.run(t, numberBodies())
	h.secret("hidden-diagnosis-4711")
	h.run(t, []attack{
		// Member names are case-sensitive: this body lacks a name.
		{name: "folded names", path: "/api/organizations/departments/", body: fields{"hospital": h.hospital, "Name": "N", "code": "C1"}, status: 400, want: fieldError("name", msgRequired)},
		{name: "folded names beside good ones", path: "/api/organizations/departments/", body: fmt.Sprintf(`{"hospital":%q,"name":"Good","NAME":"Bad","code":"C2","Status":"inactive","STATUS":"x"}`, h.hospital), status: 201, want: `{"id":…`},
		{name: "members that only the server writes", path: "/api/organizations/departments/", body: fields{"hospital": h.hospital, "name": "N", "code": "C3", "id": wireUnknownID, "created_at": "1970-01-01T00:00:00Z", "__proto__": fields{"a": 1}}, status: 201, want: `{"id":…`},
		{name: "a secret in what is refused", path: attackedEvents, body: fields{"source_system": "hidden-diagnosis-4711", "event_code": "", "encounter_id": "hidden-diagnosis-4711\x00", "payload_json": "hidden-diagnosis-4711"}, status: 400,
			want: `{"encounter_id":["` + msgNUL + `"],"event_code":["` + msgBlank + `"]}`},
	})
	if got := value[int](h.system, "SELECT count(*) FROM departments WHERE code IN ('C2', 'C3') AND status = 'active' AND name IN ('Good', 'N') AND id <> $1", wireUnknownID); got != 2 {
		t.Errorf("%d departments are as they were sent", got)
	}
	for text, want := range map[string]string{"exact": `{"a": 9007199254740993, "b": 1.10}`, "minus zero": `{"a": 0}`} {
		if got := value[string](h.system, "SELECT payload_json::text FROM events WHERE encounter_id = $1", text); got != want {
			t.Errorf("the payload of %q is kept as %s, want %s", text, got, want)
		}
	}
}

// eventWith is a valid event with the payload, as text.
func eventWith(encounter, payload string) string {
	return `{"source_system":"his","event_code":"E","encounter_id":"` + encounter + `","payload_json":` + payload + `}`
}

// ambiguousBodies are invalid JSON that lenient parsers accept.
func (h *hostile) ambiguousBodies() []attack {
	var attacks []attack
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	objects := func(depth int) string { return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) }
	for name, body := range map[string]string{
		"a member twice":              `{"source_system":"his","source_system":"lab","event_code":"E","encounter_id":"X","payload_json":{}}`,
		"a member twice by escape":    `{"source_system":"his","source\u005fsystem":"lab","event_code":"E","encounter_id":"X"}`,
		"an unknown member twice":     `{"x":1,"x":2,"source_system":"his","event_code":"E","encounter_id":"X"}`,
		"twice in an unknown member":  `{"x":{"a":1,"a":2},"source_system":"his","event_code":"E","encounter_id":"X"}`,
		"twice in the payload":        eventWith("X", `{"a":1,"a":2}`),
		"twice deep in the payload":   eventWith("X", `{"a":[{"b":{"c":1,"c":1}}]}`),
		"trailing object":             eventWith("X", "{}") + "{}",
		"trailing comma":              eventWith("X", "{}") + ",",
		"trailing letter":             eventWith("X", "{}") + "x",
		"trailing NUL":                eventWith("X", "{}") + "\x00",
		"comma before the end":        `{"source_system":"his","event_code":"E","encounter_id":"X",}`,
		"cut off":                     eventWith("X", `{"a":`)[:60],
		"single quotes":               `{'source_system':'his'}`,
		"bare names":                  `{source_system:"his"}`,
		"comments":                    `{/* */"source_system":"his"}`,
		"NaN":                         eventWith("X", `NaN`),
		"Infinity":                    eventWith("X", `[-Infinity]`),
		"a leading zero":              eventWith("X", `[01]`),
		"a plus sign":                 eventWith("X", `[+1]`),
		"hexadecimal":                 eventWith("X", `[0x1F]`),
		"a bare point":                eventWith("X", `[1.]`),
		"TRUE":                        eventWith("X", `TRUE`),
		"invalid UTF-8":               eventWith("X\xff", "{}"),
		"overlong UTF-8":              eventWith("X\xc0\xaf", "{}"),
		"a surrogate in UTF-8":        eventWith("X\xed\xa0\x80", "{}"),
		"invalid UTF-8 in a name":     eventWith("X", "{\"\xff\":1}"),
		"a lone high surrogate":       eventWith(`X\ud800`, "{}"),
		"a lone low surrogate":        eventWith(`X\udc00`, "{}"),
		"surrogates the wrong way":    eventWith(`X\udc00\ud800`, "{}"),
		"a surrogate in the payload":  eventWith("X", `{"a":"\ud800"}`),
		"a control character":         eventWith("X\x01", "{}"),
		"a line break in text":        eventWith("X\n", "{}"),
		"a bad escape":                eventWith(`X\x41`, "{}"),
		"a byte order mark":           "\ufeff" + eventWith("X", "{}"),
		"UTF-16":                      "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00",
		"depth 65":                    eventWith("X", nested(64)),
		"depth 65 of objects":         eventWith("X", objects(64)),
		"depth 65 in unknown members": `{"x":` + nested(64) + `}`,
		"depth 10,000":                eventWith("X", nested(10_000)),
		"depth 500,000":               strings.Repeat("[", 500_000),
		"only NUL":                    "\x00",
		"a letter":                    "x",
	} {
		attacks = append(attacks, attack{name: name, path: attackedEvents, body: body, status: 400, want: bodyParseError})
	}
	return attacks
}

// unusualBodies are valid JSON, but mostly no valid event.
func (h *hostile) unusualBodies() []attack {
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	var attacks []attack
	whole := func(kind string) string {
		return fieldError("non_field_errors", "Invalid data. Expected a dictionary, but got "+kind+".")
	}
	lacks := `{"encounter_id":["This field is required."],"event_code":["This field is required."],"source_system":["This field is required."]}`
	for _, a := range []attack{
		{name: "depth 64", body: eventWith("deep", nested(63)), status: 201, want: `{"id":…`},
		{name: "an astral character", body: eventWith(`astral \ud83d\ude00`, "{}"), status: 201, want: `{"id":…`},
		{name: "null", body: "null", status: 400, want: fieldError("non_field_errors", "No data provided")},
		{name: "a list", body: "[" + eventWith("X", "{}") + "]", status: 400, want: whole("list")},
		{name: "text", body: `"x"`, status: 400, want: whole("str")},
		{name: "a number", body: "5", status: 400, want: whole("int")},
		{name: "a boolean", body: "true", status: 400, want: whole("bool")},
		{name: "empty", body: "", status: 400, want: lacks},
		{name: "only spaces", body: " \r\n\t ", status: 400, want: lacks},
		{name: "an empty object", body: "{}", status: 400, want: lacks},
		{name: "only other cases", body: `{"Source_System":"his","EVENT_CODE":"E","Encounter_id":"X"}`, status: 400, want: lacks},
		{name: "NUL in text", body: eventWith(`X\u0000`, "{}"), status: 400, want: fieldError("encounter_id", msgNUL)},
		{name: "NUL in the payload", body: eventWith("X", `{"a":"\u0000"}`), status: 400, want: fieldError("payload_json", msgNUL)},
		{name: "NUL in a payload's name", body: eventWith("X", `{"\u0000":1}`), status: 400, want: fieldError("payload_json", msgNUL)},
	} {
		a.path = attackedEvents
		attacks = append(attacks, a)
	}
	return attacks
}

// largeBodies are at and above the size limits.
func (h *hostile) largeBodies() []attack {
	const mebi = 1 << 20
	fill := func(size int) string { // a body of so many bytes, with one field too long
		start, end := `{"source_system":"his","event_code":"E","encounter_id":"`, `"}`
		return start + strings.Repeat("a", size-len(start)-len(end)) + end
	}
	tooLong := fieldError("encounter_id", "Ensure this field has no more than 100 characters.")
	bulk := func(items string) string { return `{"events":[` + items + `]}` }
	spaces := func(size int) string { return bulk(strings.Repeat(" ", size-len(bulk("")))) }
	const tooMany = "Ensure this field has no more than 1000 elements."
	return []attack{
		{name: "1 MB", path: attackedEvents, body: fill(mebi), status: 400, want: tooLong},
		{name: "1 MB and a byte", path: attackedEvents, body: fill(mebi + 1), status: 413, want: bodyTooLarge},
		{name: "1 MB and a byte of spaces", path: attackedEvents, body: strings.Repeat(" ", mebi+1), status: 413, want: bodyTooLarge},
		{name: "5 MB in bulk", path: attackedBulk, body: spaces(5 * mebi), status: 400, want: fieldError("events", "This list may not be empty.")},
		{name: "5 MB and a byte in bulk", path: attackedBulk, body: spaces(5*mebi + 1), status: 413, want: bodyTooLarge},
		{name: "1001 events", path: attackedBulk, body: bulk(strings.Repeat(eventWith("X", "{}")+",", 1000) + eventWith("X", "{}")), status: 400, want: fieldError("events", tooMany)},
		{name: "a million empty events", path: attackedBulk, body: bulk(strings.Repeat("{},", 1_000_000) + "{}"), status: 400, want: fieldError("events", tooMany)},
		{name: "two million numbers", path: attackedBulk, body: bulk(strings.Repeat("1,", 2_000_000) + "1"), status: 400, want: fieldError("events", tooMany)},
		{name: "bulk without a list", path: attackedBulk, body: `{"events":{}}`, status: 400, want: fieldError("events", `Expected a list of items but got type "dict".`)},
		{name: "bulk null", path: attackedBulk, body: `{"events":null}`, status: 400, want: fieldError("events", msgNull)},
		{name: "bulk twice", path: attackedBulk, body: `{"events":[],"events":[` + eventWith("X", "{}") + `]}`, status: 400, want: bodyParseError},
		{name: "a member twice in an item", path: attackedBulk, body: bulk(`{"source_system":"his","source_system":"lab"}`), status: 400, want: bodyParseError},
		{name: "items of other kinds", path: attackedBulk, body: bulk(`null,1,"x",[],true`), status: 400, want: `{"created":0,"duplicates":0,"errors":[{"errors":{"non_field_errors":["No data provided"]},"index":0},…`},
		{name: "many members", path: attackedEvents, body: `{` + manyMembers(60_000) + `}`, status: 400, want: `{"encounter_id":["This field is required."],…`},
		{name: "a long name", path: attackedEvents, body: `{"` + strings.Repeat("a", 900_000) + `":1}`, status: 400, want: `{"encounter_id":["This field is required."],…`},
		{name: "a long unique value", path: "/api/organizations/patients/", body: fields{"primary_hospital": h.hospital, "first_name": "A", "last_name": "B", "mrn": strings.Repeat("1", 10_000)}, status: 400, want: fieldError("mrn", "Ensure this field has no more than 50 characters.")},
		{name: "a long idempotency key", path: attackedEvents, body: eventWith("X", "{}"), header: []string{"Idempotency-Key", strings.Repeat("k", 20_000)}, status: 400, want: fieldError("Idempotency-Key", "Ensure this field has no more than 200 characters.")},
		{name: "an idempotency key of no UTF-8", path: attackedEvents, body: eventWith("X", "{}"), header: []string{"Idempotency-Key", "\xff"}, status: 400, want: fieldError("Idempotency-Key", "Not valid UTF-8.")},
		{name: "an empty idempotency key", path: attackedEvents, body: eventWith("X", "{}"), header: []string{"Idempotency-Key", ""}, status: 400, want: fieldError("Idempotency-Key", msgBlank)},
		{name: "two idempotency keys", raw: "POST " + attackedEvents + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer " + h.px.access + "\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 0\r\n\r\n", status: 400, want: fieldError("Idempotency-Key", "Give this header only once.")},
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":%d`, i, i)
	}
	return b.String()[1:]
}

// otherMediaTypes are bodies with an unsupported media type or encoding.
func (h *hostile) otherMediaTypes(t *testing.T) []attack {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(bytes.Repeat([]byte(" "), 10<<20))
	must(t, err)
	must(t, zip.Close())
	var attacks []attack
	good := eventWith("X", "{}")
	for _, contentType := range []string{
		"text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "application/json-patch+json",
		"application/problem+json", "application/json; charset=utf-16", "application/json; charset=iso-8859-1", "application/json, text/plain", "application/*", "*/*", "json", ";", "application/json; charset=\"",
	} {
		attacks = append(attacks, attack{name: contentType, path: attackedEvents, body: good, header: []string{"Content-Type", contentType}, status: 415,
			want: unsupportedMedia(strings.ReplaceAll(contentType, `"`, `\"`))})
	}
	for _, encoding := range []string{"gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "chunked", "nonsense"} {
		attacks = append(attacks, attack{name: "encoding " + encoding, path: attackedEvents, body: packed.String(), header: []string{"Content-Encoding", encoding}, status: 415, want: `{"detail":"Unsupported content encoding in request."}`})
	}
	post := "POST " + attackedEvents + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer " + h.px.access + "\r\n"
	long := fmt.Sprintf("Content-Length: %d\r\n", len(good))
	return append(attacks,
		attack{name: "a gzip bomb without Content-Encoding", path: attackedEvents, body: packed.String(), status: 400, want: bodyParseError},
		attack{name: "no content type", raw: post + long + "\r\n" + good, status: 415, want: unsupportedMedia("")},
		attack{name: "two encodings", raw: post + long + "Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\n" + good, status: 415, want: `{"detail":"Unsupported content encoding in request."}`},
		attack{name: "two content types", raw: post + long + "Content-Type: application/json\r\nContent-Type: text/plain\r\n\r\n" + good, status: 415, want: unsupportedMedia("application/json, text/plain")},
		attack{name: "charset in capitals", path: attackedEvents, body: eventWith("charset", "{}"), header: []string{"Content-Type", "Application/JSON; Charset=UTF-8"}, status: 201, want: `{"id":…`},
		attack{name: "only XML accepted", path: attackedEvents, header: []string{"Accept", "application/xml"}, status: 406, want: `{"detail":"Could not satisfy the request Accept header."}`},
		attack{name: "JSON not accepted", path: attackedEvents, header: []string{"Accept", "application/json;q=0"}, status: 406, want: `{"detail":"Could not satisfy the request Accept header."}`},
		attack{name: "ten thousand things accepted", path: attackedEvents, header: []string{"Accept", strings.Repeat("a/b,", 7000) + "c/d"}, status: 406, want: `{"detail":"Could not satisfy the request Accept header."}`},
		attack{name: "another method in a header", path: attackedEvents, header: []string{"X-HTTP-Method-Override", "DELETE"}, method: http.MethodGet, status: 200, want: bodyList},
	)
}

// numberBodies have numbers that expand, overflow or lose precision.
func numberBodies() []attack {
	var attacks []attack
	for name, number := range map[string]string{
		"1e131071": "1e131071", "1e-16383": "1e-16383", "1e400": "1e400", "-1e400": "-1e400", "1E309": "1E309", "1e99999999999999999999": "1e99999999999999999999",
		"a hundred and one digits": strings.Repeat("9", 101), "a hundred thousand digits": strings.Repeat("9", 100_000), "many decimals": "0." + strings.Repeat("1", 100_000),
	} {
		attacks = append(attacks,
			attack{name: name, path: attackedEvents, body: eventWith("X", `{"a":[`+number+`]}`), status: 400, want: fieldError("payload_json", msgNumber)},
			attack{name: name + " as the payload", path: attackedEvents, body: eventWith("X", number), status: 400, want: fieldError("payload_json", msgNumber)})
	}
	for name, numbers := range map[string]string{"a body of large numbers": strings.Repeat("1e308,", 150_000), "of small ones": strings.Repeat("1e-308,", 100_000), "33 of them": strings.Repeat("1e308,", 33)} {
		attacks = append(attacks, attack{name: name, path: attackedEvents, body: eventWith("X", `{"a":[`+numbers+`{"b":0}]}`), status: 400, want: fieldError("payload_json", msgNumber)})
	}
	attacks = append(attacks,
		attack{name: "32 large numbers", path: attackedEvents, body: eventWith("large", `[`+strings.Repeat("1e308,", 32)+`0]`), status: 201, want: `{"id":…`},
		attack{name: "exact numbers", path: attackedEvents, body: eventWith("exact", `{"a":9007199254740993,"b":1.10}`), status: 201, want: `{"id":…`},
		attack{name: "minus zero", path: attackedEvents, body: eventWith("minus zero", `{"a":-0}`), status: 201, want: `{"id":…`})
	const stages = "/api/journeys/stage-templates/"
	for number, message := range map[string]string{
		"1e131071": msgInteger, "1e400": msgInteger, "1.5": msgInteger, "1e-1": msgInteger, strings.Repeat("9", 500): msgInteger,
		"2147483648": "Ensure this value is less than or equal to 2147483647.", "9223372036854775808": "Ensure this value is less than or equal to 2147483647.",
		"1e300": "Ensure this value is less than or equal to 2147483647.", "-1e300": "Ensure this value is greater than or equal to 0.", "-1": "Ensure this value is greater than or equal to 0.",
	} {
		attacks = append(attacks, attack{name: "order " + number[:min(20, len(number))], path: stages,
			body: `{"journey_template":"` + wireUnknownID + `","name":"S","code":"S","trigger_event_code":"E","order":` + number + `}`, status: 400, want: fieldError("order", message)})
	}
	return attacks
}
