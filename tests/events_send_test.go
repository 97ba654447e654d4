package tests

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

const eventBulkPath = eventPath + "bulk_create/"

// Sent without the Idempotency-Key of the client, because then the source_event_id alone tells a duplicate.
func TestRepeatedSourceEventID(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	nurse, otherHospital := c.person(c.hospital, "Nurse"), c.clinic()
	body := eventOf("1", withSourceID("MSG-1"), withPayload(fields{"a": 1, "b": []any{2}}))
	first := c.expect(t, 201, "POST", eventPath, c.admin.access, body)
	// A user of the same hospital sends a duplicate.
	if again := c.expect(t, 200, "POST", eventPath, nurse.access, body); again.body != first.body {
		t.Errorf("a duplicate is answered with %s, the first was answered with %s", again.body, first.body)
	}
	for field, change := range map[string]func(*client.EventCreate){
		"event_code": coded("E2"), "encounter_id": func(e *client.EventCreate) { e.EncounterID = "2" },
		"patient_identifier": func(e *client.EventCreate) { e.PatientIdentifier = client.Ptr("M") }, "payload_json": withPayload(fields{"a": 1}),
	} {
		other := body
		change(&other)
		if a := c.expect(t, 409, "POST", eventPath, c.admin.access, other); a.json()["detail"] == nil {
			t.Errorf("another %s: %s", field, a.body)
		}
	}
	// source_event_id is unique within a source system and a hospital; events of PX Admins are separate.
	for token, other := range map[string]client.EventCreate{
		c.admin.access:             eventOf("2", withSourceID("MSG-1"), from("lab")),
		otherHospital.admin.access: eventOf("2", withSourceID("MSG-1")),
		c.px.access:                eventOf("2", withSourceID("MSG-1")),
	} {
		c.expect(t, 201, "POST", eventPath, token, other)
		c.expect(t, 200, "POST", eventPath, token, other)
	}
	// Events without source_event_id are never duplicates.
	for range 2 {
		c.expect(t, 201, "POST", eventPath, c.px.access, eventOf("9"))
	}
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 6 {
		t.Errorf("%d events are stored, want 6", stored)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	send := func(want int, token, path, key string, body any) answer {
		t.Helper()
		return c.expect(t, want, "POST", path, token, body, "Idempotency-Key", key)
	}
	body := eventOf("1")
	first := send(201, c.px.access, eventPath, "K", body)
	if again := send(201, c.px.access, eventPath, "K", body); again.body != first.body {
		t.Errorf("the replay is %s, the answer was %s", again.body, first.body)
	}
	send(409, c.px.access, eventPath, "K", eventOf("2"))
	// An Idempotency-Key is scoped to the principal and the operation.
	if other := send(201, c.admin.access, eventPath, "K", body); other.body == first.body {
		t.Errorf("another user's key is answered with %s", other.body)
	}
	bulk := fields{"events": []any{body, eventOf(""), eventOf("3")}}
	answered := send(201, c.px.access, eventBulkPath, "K", bulk)
	if again := send(201, c.px.access, eventBulkPath, "K", bulk); again.body != answered.body {
		t.Errorf("the replay is %s, the answer was %s", again.body, answered.body)
	}
	// The bodies are compared as a whole, refused items included.
	send(409, c.px.access, eventBulkPath, "K", fields{"events": []any{eventOf(""), body, eventOf("3")}})
	// A refused request is not stored under its key.
	send(400, c.px.access, eventPath, "L", eventOf(""))
	send(201, c.px.access, eventPath, "L", body)
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 5 {
		t.Errorf("%d events are stored, want 5", stored)
	}
	c.exec("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
	if late := send(201, c.px.access, eventPath, "K", eventOf("4")); late.body == first.body {
		t.Errorf("after a day the key is answered with %s", late.body)
	}
}

func TestBulkEnvelope(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	many := func(n int) []any {
		list := make([]any, n)
		for i := range list {
			list[i] = eventOf("1")
		}
		return list
	}
	for name, body := range map[string]any{
		"no list": fields{"events": eventOf("1")}, "nothing": fields{}, "null": fields{"events": nil},
		"empty": fields{"events": []any{}}, "too many": fields{"events": many(1001)}, "a bare list": many(1),
	} {
		a := c.send("POST", eventBulkPath, c.px.access, body)
		if a.status != 400 || a.json()["created"] != nil || len(a.json()) == 0 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 0 {
		t.Errorf("%d events of bad envelopes are stored", stored)
	}
	if a := c.expect(t, 201, "POST", eventBulkPath, c.px.access, fields{"events": many(1000)}); a.json()["created"] != 1000.0 {
		t.Errorf("a thousand: %s", a.body)
	}
}

func TestBulkItemsAreIndependent(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	message := func(id string, more ...func(*client.EventCreate)) client.EventCreate {
		return eventOf("1", append(more, withSourceID(id))...)
	}
	send := func(status, created, duplicates int, failed map[int]string, items ...any) {
		t.Helper()
		a := c.expect(t, status, "POST", eventBulkPath, c.px.access, fields{"events": items})
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
		message("A"), eventOf(""), message("A"), eventOf("1", from("a b")),
		eventOf("1"), message("A", coded("E2")), "no event")
	send(200, 0, 1, nil, message("A"))
	send(200, 0, 1, map[int]string{0: "event_code"}, eventOf("1", coded("")), message("A"))
	send(201, 1, 1, nil, message("A"), message("B"))
	send(400, 0, 0, map[int]string{0: "event_code", 1: "source_event_id"},
		eventOf("1", coded("")), message("A", func(e *client.EventCreate) { e.EncounterID = "2" }))
	if stored := value[int](c.system, "SELECT count(*) FROM events"); stored != 3 {
		t.Errorf("%d events are stored, want 3", stored)
	}
}

func TestAPIKeySendsAndReadsEventsAndDoesNothingElse(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	ctx := t.Context()
	make := func(body client.IntegrationConfigCreate) *client.IntegrationConfigCreated {
		t.Helper()
		body.Name, body.SourceSystem = unique("His"), "his"
		return try(c.px.CreateIntegrationConfig(ctx, body)).ok(t)
	}
	config := make(client.IntegrationConfigCreate{Hospital: client.Value(c.hospital)})
	own := c.client(client.WithAPIKey(config.APIKey))
	forAll := c.client(client.WithAPIKey(make(client.IntegrationConfigCreate{}).APIKey))
	c.journey(c.Template(nil, nil), "1")
	if o := c.outcome(try(own.CreateEvent(ctx, eventOf("1"))).ok(t).ID); o.Status != client.EventStatusProcessed || !is(o.Hospital, c.hospital) {
		t.Errorf("an event by the hospital's key: %s", jsonText(o))
	}
	if o := c.outcome(try(forAll.CreateEvent(ctx, eventOf("1", coded("E2")))).ok(t).ID); o.Status != client.EventStatusProcessed || o.Hospital != nil {
		t.Errorf("an event by a key for all hospitals: %s", jsonText(o))
	}
	if kind := value[string](c.system, "SELECT sender_kind FROM events WHERE sender_id = $1", config.ID); kind != "key" {
		t.Errorf("the sender is a %s", kind)
	}
	otherHospital := c.clinic()
	otherHospital.journey(otherHospital.Template(nil), "ABROAD")
	abroad := try(own.CreateEvent(ctx, eventOf("ABROAD"))).ok(t).ID
	if o := c.outcome(abroad); o.Reason != "no_journey" {
		t.Errorf("an event for another hospital's journey: %s", jsonText(o))
	}
	try(own.CreateEvent(ctx, eventOf("1", from("lab")))).refused(t, 400, "source_system")
	bulk := try(own.BulkCreateEvents(ctx, client.EventBulkCreate{Events: []client.EventCreate{eventOf("1", from("lab")), eventOf("1")}})).ok(t)
	if bulk.Created != 1 || bulk.Failed != 1 || bulk.Errors[0].Index != 0 {
		t.Errorf("another source system in a bulk: %s", jsonText(bulk))
	}
	try(own.ReprocessEvent(ctx, abroad)).refused(t, 403)
	try(own.RetrieveMe(ctx)).refused(t, 401)
	try(own.ListIntegrationConfigs(ctx, nil)).refused(t, 401)
	try(own.ListJourneyInstances(ctx, nil)).refused(t, 401)
	try(own.ListAuditEntries(ctx, nil)).refused(t, 401)
	if e := c.sendsWith("wrong").refused(t, 401); e.Detail != "Invalid API key." {
		t.Errorf("a wrong key: %v", e)
	}
	// A token takes precedence over an API key, also if it is invalid.
	both := func(token string) *client.Client {
		return c.client(client.WithToken(token), client.WithAPIKey(config.APIKey))
	}
	try(both("no.such.token").CreateEvent(ctx, eventOf("1"))).refused(t, 401)
	try(both(c.px.access).ListEvents(ctx, nil)).ok(t)
	try(c.client().CreateEvent(ctx, eventOf("1"))).refused(t, 401)
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
			c.expect(t, 201, "POST", path, c.px.access, body)
			newest := value[uuid.UUID](c.system, "SELECT id FROM events ORDER BY seq DESC LIMIT 1")
			shown := c.expect(t, 200, "GET", eventPath+newest.String()+"/", c.px.access, nil).body
			if !strings.Contains(strings.ReplaceAll(shown, " ", ""), `"payload_json":`+payload+`,`) {
				t.Errorf("%s is shown as %s", payload, shown)
			}
		}
	}
	for _, payload := range []string{`{"a":1e131071}`, `{"a":"\u0000"}`, `null`} {
		a := c.send("POST", eventPath, c.px.access, `{"source_system":"his","event_code":"E1","encounter_id":"1","payload_json":`+payload+`}`)
		if a.status != 400 || a.json()["payload_json"] == nil {
			t.Errorf("%s: %d %s", payload, a.status, a.body)
		}
	}
}

func TestSourceSystemFormat(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for _, good := range []string{"his", "HIS-2_new", strings.Repeat("x", 50)} {
		try(c.px.CreateEvent(t.Context(), eventOf("1", from(good)))).ok(t)
	}
	for _, bad := range []string{strings.Repeat("x", 51), "", "a b", "مستشفى", "a.b"} {
		try(c.px.CreateEvent(t.Context(), eventOf("1", from(bad)))).refused(t, 400, "source_system")
	}
}
