package tests

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const eventBulkPath = eventPath + "bulk_create/"

func eventOf(encounter string, more fields) fields {
	body := fields{"source_system": "his", "event_code": "E1", "encounter_id": encounter}
	maps.Copy(body, more)
	return body
}

func TestRepeatedSourceEventID(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	nurse, otherHospital := c.person(c.hospital, "Nurse"), c.clinic()
	body := eventOf("1", fields{"source_event_id": "MSG-1", "payload_json": fields{"a": 1, "b": []any{2}}})
	first := c.expect(t, 201, "POST", eventPath, c.admin.access, body)
	// A user of the same hospital sends a duplicate.
	if again := c.expect(t, 200, "POST", eventPath, nurse.access, body); again.body != first.body {
		t.Errorf("a duplicate is answered with %s, the first was answered with %s", again.body, first.body)
	}
	for field, v := range map[string]any{
		"event_code": "E2", "encounter_id": "2", "patient_identifier": "M", "payload_json": fields{"a": 1},
	} {
		other := maps.Clone(body)
		other[field] = v
		if a := c.expect(t, 409, "POST", eventPath, c.admin.access, other); a.json()["detail"] == nil {
			t.Errorf("another %s: %s", field, a.body)
		}
	}
	// source_event_id is unique within a source system and a hospital; events of PX Admins are separate.
	for token, other := range map[string]fields{
		c.admin.access:             eventOf("2", fields{"source_event_id": "MSG-1", "source_system": "lab"}),
		otherHospital.admin.access: eventOf("2", fields{"source_event_id": "MSG-1"}),
		c.px:                       eventOf("2", fields{"source_event_id": "MSG-1"}),
	} {
		c.expect(t, 201, "POST", eventPath, token, other)
		c.expect(t, 200, "POST", eventPath, token, other)
	}
	// Events without source_event_id are never duplicates.
	one, two := c.create(c.px, eventPath, eventOf("9", nil)), c.create(c.px, eventPath, eventOf("9", nil))
	if stored := value[int](c.system, "SELECT count(*) FROM events"); one == two || stored != 6 {
		t.Errorf("%d events are stored, want 6", stored)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	send := func(want int, token, path, key string, body fields) answer {
		t.Helper()
		return c.expect(t, want, "POST", path, token, body, "Idempotency-Key", key)
	}
	body := eventOf("1", nil)
	first := send(201, c.px, eventPath, "K", body)
	if again := send(201, c.px, eventPath, "K", body); again.body != first.body {
		t.Errorf("the replay is %s, the answer was %s", again.body, first.body)
	}
	send(409, c.px, eventPath, "K", eventOf("2", nil))
	// An Idempotency-Key is scoped to the principal and the operation.
	if other := send(201, c.admin.access, eventPath, "K", body); other.body == first.body {
		t.Errorf("another user's key is answered with %s", other.body)
	}
	bulk := fields{"events": []any{body, eventOf("", nil), eventOf("3", nil)}}
	answered := send(201, c.px, eventBulkPath, "K", bulk)
	if again := send(201, c.px, eventBulkPath, "K", bulk); again.body != answered.body {
		t.Errorf("the replay is %s, the answer was %s", again.body, answered.body)
	}
	// The bodies are compared as a whole, refused items included.
	send(409, c.px, eventBulkPath, "K", fields{"events": []any{eventOf("", nil), body, eventOf("3", nil)}})
	// A refused request is not stored under its key.
	send(400, c.px, eventPath, "L", eventOf("", nil))
	send(201, c.px, eventPath, "L", body)
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 5 {
		t.Errorf("%d events are stored, want 5", stored)
	}
	c.exec("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
	if late := send(201, c.px, eventPath, "K", eventOf("4", nil)); late.body == first.body {
		t.Errorf("after a day the key is answered with %s", late.body)
	}
}

func TestBulkEnvelope(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	many := func(n int) []any {
		list := make([]any, n)
		for i := range list {
			list[i] = eventOf("1", nil)
		}
		return list
	}
	for name, body := range map[string]any{
		"no list": fields{"events": eventOf("1", nil)}, "nothing": fields{}, "null": fields{"events": nil},
		"empty": fields{"events": []any{}}, "too many": fields{"events": many(1001)}, "a bare list": many(1),
	} {
		a := c.send("POST", eventBulkPath, c.px, body)
		if a.status != 400 || a.json()["created"] != nil || len(a.json()) == 0 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 0 {
		t.Errorf("%d events of bad envelopes are stored", stored)
	}
	if a := c.expect(t, 201, "POST", eventBulkPath, c.px, fields{"events": many(1000)}); a.json()["created"] != 1000.0 {
		t.Errorf("a thousand: %s", a.body)
	}
}

func TestBulkItemsAreIndependent(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	message := func(id string, more fields) fields {
		body := eventOf("1", more)
		body["source_event_id"] = id
		return body
	}
	send := func(status, created, duplicates int, failed map[int]string, items ...any) {
		t.Helper()
		a := c.expect(t, status, "POST", eventBulkPath, c.px, fields{"events": items})
		got := a.json()
		errors := got["errors"].([]any)
		if got["created"] != float64(created) || got["duplicates"] != float64(duplicates) || got["failed"] != float64(len(failed)) || len(errors) != len(failed) {
			t.Errorf("want %d created, %d duplicates, %d failed: %s", created, duplicates, len(failed), a.body)
		}
		last := -1.0
		for _, e := range errors {
			index := e.(fields)["index"].(float64)
			if named := e.(fields)["errors"].(fields); named[failed[int(index)]] == nil || len(named) != 1 || index <= last {
				t.Errorf("item %v names %v, want %q: %s", index, named, failed[int(index)], a.body)
			}
			last = index
		}
	}
	send(201, 2, 1, map[int]string{1: "encounter_id", 3: "source_system", 5: "source_event_id", 6: "non_field_errors"},
		message("A", nil), eventOf("", nil), message("A", nil), eventOf("1", fields{"source_system": "a b"}),
		eventOf("1", nil), message("A", fields{"event_code": "E2"}), "no event")
	send(200, 0, 1, nil, message("A", nil))
	send(200, 0, 1, map[int]string{0: "event_code"}, eventOf("1", fields{"event_code": ""}), message("A", nil))
	send(201, 1, 1, nil, message("A", nil), message("B", nil))
	send(400, 0, 0, map[int]string{0: "event_code", 1: "source_event_id"},
		eventOf("1", fields{"event_code": ""}), message("A", fields{"encounter_id": "2"}))
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 3 {
		t.Errorf("%d events are stored, want 3", stored)
	}
}

func TestAPIKeySendsAndReadsEventsAndDoesNothingElse(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	make := func(more fields) (id, key string) {
		body := fields{"name": unique("His"), "source_system": "his"}
		maps.Copy(body, more)
		made := c.expect(t, 201, "POST", configPath, c.px, body).json()
		return made["id"].(string), made["api_key"].(string)
	}
	config, key := make(fields{"hospital": c.hospital})
	_, forAll := make(nil)
	c.journey(c.Template(nil, nil), "1")
	send := func(want int, method, path, key string, body any) answer {
		t.Helper()
		return c.expect(t, want, method, path, "", body, "X-API-Key", key)
	}
	for _, sent := range []struct {
		key, code string
		hospital  any
	}{{key, "E1", c.hospital.String()}, {forAll, "E2", nil}} {
		id := send(201, "POST", eventPath, sent.key, eventOf("1", fields{"event_code": sent.code})).json()["id"]
		if o := c.outcome(uuid.MustParse(id.(string))); o["status"] != "processed" || o["hospital"] != sent.hospital {
			t.Errorf("an event by key: %v", o)
		}
	}
	if kind := value[string](c.system, "SELECT sender_kind FROM events WHERE sender_id = $1", config); kind != "key" {
		t.Errorf("the sender is a %s", kind)
	}
	otherHospital := c.clinic()
	otherHospital.journey(otherHospital.Template(nil), "ABROAD")
	id := send(201, "POST", eventPath, key, eventOf("ABROAD", nil)).json()["id"].(string)
	if o := c.outcome(uuid.MustParse(id)); o["reason"] != "no_journey" {
		t.Errorf("an event for another hospital's journey: %v", o)
	}
	if a := send(400, "POST", eventPath, key, eventOf("1", fields{"source_system": "lab"})); a.json()["source_system"] == nil {
		t.Errorf("another source system: %s", a.body)
	}
	a := send(201, "POST", eventBulkPath, key, fields{"events": []any{eventOf("1", fields{"source_system": "lab"}), eventOf("1", nil)}}).json()
	if fmt.Sprint(a["created"], a["failed"]) != "1 1" || a["errors"].([]any)[0].(fields)["index"] != 0.0 {
		t.Errorf("another source system in a bulk: %v", a)
	}
	send(403, "POST", eventPath+id+"/reprocess/", key, nil)
	for _, path := range []string{"/api/auth/users/me/", configPath, journeyPath, "/api/audit/"} {
		send(401, "GET", path, key, nil)
	}
	if a := send(401, "POST", eventPath, "wrong", eventOf("1", nil)); a.json()["detail"] != "Invalid API key." {
		t.Errorf("a wrong key: %s", a.body)
	}
	// A token takes precedence over an API key, also if it is invalid.
	c.expect(t, 401, "POST", eventPath, "no.such.token", eventOf("1", nil), "X-API-Key", key)
	c.expect(t, 200, "GET", eventPath, c.px, nil, "X-API-Key", key)
	c.expect(t, 401, "POST", eventPath, "", eventOf("1", nil))
}

func TestPayloadNumbersAreExact(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for _, payload := range []string{
		`{"a":9007199254740993,"b":1.10}`, `{"a":-0.0000001}`, `[1.10,{"b":123456789012345678901234567890}]`, `9007199254740993`, `"text"`, `true`, `{}`,
	} {
		for path, body := range map[string]string{
			eventPath:     `{"source_system":"his","event_code":"E1","encounter_id":"1","payload_json":` + payload + `}`,
			eventBulkPath: `{"events":[{"source_system":"his","event_code":"E2","encounter_id":"1","payload_json":` + payload + `}]}`,
		} {
			c.expect(t, 201, "POST", path, c.px, body)
			newest := value[uuid.UUID](c.system, "SELECT id FROM events ORDER BY seq DESC LIMIT 1")
			shown := c.expect(t, 200, "GET", eventPath+newest.String()+"/", c.px, nil).body
			if !strings.Contains(strings.ReplaceAll(shown, " ", ""), `"payload_json":`+payload+`,`) {
				t.Errorf("%s is shown as %s", payload, shown)
			}
		}
	}
	for _, payload := range []string{`{"a":1e131071}`, `{"a":"\u0000"}`, `null`} {
		a := c.send("POST", eventPath, c.px, `{"source_system":"his","event_code":"E1","encounter_id":"1","payload_json":`+payload+`}`)
		if a.status != 400 || a.json()["payload_json"] == nil {
			t.Errorf("%s: %d %s", payload, a.status, a.body)
		}
	}
}

func TestSourceSystemFormat(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for source, want := range map[string]int{
		"his": 201, "HIS-2_new": 201, strings.Repeat("x", 50): 201,
		strings.Repeat("x", 51): 400, "": 400, "a b": 400, "مستشفى": 400, "a.b": 400,
	} {
		if a := c.expect(t, want, "POST", eventPath, c.px, eventOf("1", fields{"source_system": source})); want == 400 && a.json()["source_system"] == nil {
			t.Errorf("%q: %s", source, a.body)
		}
	}
}
