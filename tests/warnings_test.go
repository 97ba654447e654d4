package tests

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/worker"
)

const (
	warnsNoZone        = "payload_json.timestamp has no time zone; the time of receipt is used."
	warnsFuture        = "payload_json.timestamp is later than the time of receipt; the time of receipt is used."
	warnsUnreadable    = "payload_json.timestamp cannot be read as a time; the time of receipt is used."
	warnsBeforeJourney = "payload_json.timestamp is more than 30 days before the started_at of the journey; the time of receipt is used."
)

func stating(timestamp any) fields { return fields{"payload_json": fields{"timestamp": timestamp}} }

// What a sender is told at once it is told again with the event, before and after a worker has decided on it, however
// often the event is sent, and whatever becomes of it.
func TestWarningsFromReceiptToOutcome(t *testing.T) {
	t.Parallel()
	s := startServer(t) // the worker comes later
	c := s.clinic()
	c.journey(c.Template(nil), "1")
	want := map[uuid.UUID]string{}
	for stated, warning := range map[any]string{
		"2025-12-14T10:45:00": warnsNoZone, "2999-01-01T00:00:00Z": warnsFuture, 4e15: warnsFuture, "soon": warnsUnreadable,
		true: warnsUnreadable, "2025-12-14T10:45:00Z": "", nil: "", "": "",
	} {
		body := eventOf("1", stating(stated))
		body["source_event_id"] = fmt.Sprint("MSG", stated)
		first := c.expect(t, 201, "POST", eventPath, c.px, body, "Idempotency-Key", fmt.Sprint("K", stated))
		if got := warningsOf(first.json()); got != warning {
			t.Errorf("%v: the receipt warns %q, want %q", stated, got, warning)
		}
		if again := c.expect(t, 200, "POST", eventPath, c.px, body); again.body != first.body {
			t.Errorf("%v: sent again, it is answered with %s", stated, again.body)
		}
		if again := c.expect(t, 201, "POST", eventPath, c.px, body, "Idempotency-Key", fmt.Sprint("K", stated)); again.body != first.body {
			t.Errorf("%v: the replay is %s", stated, again.body)
		}
		want[uuid.MustParse(first.json()["id"].(string))] = warning
	}
	check := func(when string) {
		t.Helper()
		for _, row := range c.expect(t, 200, "GET", eventPath, c.px, nil).json()["results"].([]any) {
			id := uuid.MustParse(row.(fields)["id"].(string))
			detail := c.expect(t, 200, "GET", eventPath+id.String()+"/", c.px, nil).json()
			if warningsOf(row.(fields)) != want[id] || warningsOf(detail) != want[id] {
				t.Errorf("%s: %v, want the warning %q", when, detail, want[id])
			}
		}
	}
	check("before the worker")
	s.work(worker.DefaultOptions())
	s.waitForWorker()
	check("after the worker")
	c.exec("UPDATE events SET status = 'failed', reason = 'internal_error', warnings = '{}', processed_at = now()")
	check("given up")
}

// warningsOf is the one warning of an event or a receipt, blank if there is none.
func warningsOf(of fields) string {
	switch list := of["warnings"].([]any); len(list) {
	case 0:
		return ""
	case 1:
		return list[0].(string)
	default:
		return fmt.Sprint(list)
	}
}

func TestWarningsOfABulk(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	stranger := c.person(c.hospital)
	item := func(id string, timestamp any) fields {
		body := eventOf("1", stating(timestamp))
		body["source_event_id"] = id
		return body
	}
	items := []any{item("A", "2025-12-14T10:45:00Z"), eventOf("", nil), item("B", "soon"), item("C", "2025-12-14T10:45:00")}
	send := func(want int, token string, items []any) string {
		t.Helper()
		a := c.expect(t, want, "POST", eventBulkPath, token, fields{"events": items})
		return fmt.Sprint(a.json()["warnings"])
	}
	both := fmt.Sprint([]any{
		fields{"index": 2, "warnings": []any{warnsUnreadable}}, fields{"index": 3, "warnings": []any{warnsNoZone}},
	})
	for _, want := range []int{201, 200} { // the second time all are duplicates
		if got := send(want, c.admin.access, items); got != both {
			t.Errorf("%d: %s, want %s", want, got, both)
		}
	}
	// What was stored of others is their own business, and what is refused is not used at all.
	if got := send(200, stranger.access, items); got != "[]" {
		t.Errorf("another sender is told %s", got)
	}
	if got := send(400, c.admin.access, []any{item("B", "sooner"), eventOf("", nil)}); got != "[]" {
		t.Errorf("what is refused warns %s", got)
	}
	if got := send(201, c.admin.access, []any{eventOf("1", nil)}); got != "[]" {
		t.Errorf("without a timestamp: %s", got)
	}
}

// A start that nobody stated bounds nothing, and one that was sent back as it was read is still not stated.
func TestOnlyAStatedStartBoundsItsEvents(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	template := c.Template(nil, nil, nil, nil)
	long := stating("2025-10-01T00:00:00Z")
	send := func(j journey, code, want string) uuid.UUID {
		t.Helper()
		id := j.event(code, long)
		o := c.outcome(id)
		if got := warningsOf(o); got != want || o["status"] != "processed" {
			t.Errorf("%s: %v warns %q, want %q", code, o["status"], got, want)
		}
		return id
	}
	j := c.journey(template, "1")
	send(j, "E1", "")
	now := j.now()
	c.expect(t, 200, "PATCH", j.path(), c.px, fields{"started_at": now["started_at"]})
	send(j, "E2", "")
	c.expect(t, 200, "PATCH", j.path(), c.px, fields{"started_at": "2025-12-14T09:00:00Z"})
	bounded := c.outcome(send(j, "E3", warnsBeforeJourney))
	if stage := j.stages()[2]; stage["completed_at"] != bounded["received_at"] {
		t.Errorf("the stage was completed at %v, want %v", stage["completed_at"], bounded["received_at"])
	}
	c.expect(t, 200, "PATCH", j.path(), c.px, fields{"started_at": "2025-10-30T00:00:00Z"})
	send(j, "E4", "")

	// A journey that is created with its start, and an event that came first: reprocessing says what is so by then.
	body := eventOf("2", long)
	receipt := c.expect(t, 201, "POST", eventPath, c.px, body).json()
	id := uuid.MustParse(receipt["id"].(string))
	if o := c.outcome(id); warningsOf(receipt) != "" || warningsOf(o) != "" || o["reason"] != "no_journey" {
		t.Errorf("without a journey: %v", o)
	}
	k := c.create(c.px, journeyPath, fields{
		"journey_template": template, "patient": c.Patient("MRN-STATED"), "hospital": c.hospital, "encounter_id": "2",
		"started_at": "2025-12-14T09:00:00Z",
	})
	if o := c.outcome(id); warningsOf(o) != warnsBeforeJourney || o["journey_instance"] != k.String() {
		t.Errorf("with its journey: %v", o)
	}
}

// An answer that the version before has stored, which knew no warnings, is replayed with none.
func TestReplayOfAnAnswerWithoutWarnings(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for path, body := range map[string]fields{eventPath: eventOf("1", nil), eventBulkPath: {"events": []any{eventOf("1", nil)}}} {
		first := c.expect(t, 201, "POST", path, c.px, body, "Idempotency-Key", "K")
		c.exec("UPDATE idempotency_keys SET answer = answer - 'warnings'")
		if again := c.expect(t, 201, "POST", path, c.px, body, "Idempotency-Key", "K"); again.body != first.body {
			t.Errorf("the replay is %s, the answer was %s", again.body, first.body)
		}
	}
}

// A key sees what its own config sent, and what became of it; of what others sent it learns nothing.
func TestSendersSeeTheirOwnEvents(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	c.journey(c.Template(nil), "1")
	key := func() []string {
		body := fields{"name": unique("His"), "source_system": "his", "hospital": c.hospital}
		return []string{"X-API-Key", c.expect(t, 201, "POST", configPath, c.px, body).json()["api_key"].(string)}
	}
	mine, other := key(), key()
	body := eventOf("1", stating("soon"))
	body["source_event_id"] = "MSG-1"
	receipt := c.expect(t, 201, "POST", eventPath, "", body, mine...)
	path := eventPath + receipt.json()["id"].(string) + "/"
	c.outcome(uuid.MustParse(receipt.json()["id"].(string)))
	c.expect(t, 201, "POST", eventPath, c.px, eventOf("1", nil))
	c.expect(t, 201, "POST", eventPath, "", eventOf("1", nil), other...)
	c.waitForWorker()

	detail := c.expect(t, 200, "GET", path, "", nil, mine...)
	if o := detail.json(); o["status"] != "processed" || warningsOf(o) != warnsUnreadable {
		t.Errorf("its own event: %s", detail.body)
	}
	if seen := c.expect(t, 200, "GET", path, c.px, nil); seen.body != detail.body {
		t.Errorf("a PX Admin sees %s, the sender %s", seen.body, detail.body)
	}
	list := c.expect(t, 200, "GET", eventPath+"?status=processed", "", nil, mine...).json()
	if list["count"] != 1.0 || list["results"].([]any)[0].(fields)["id"] != receipt.json()["id"] {
		t.Errorf("its list: %v", list)
	}
	c.expect(t, 404, "GET", path, "", nil, other...)
	if list := c.expect(t, 200, "GET", eventPath, "", nil, other...).json(); list["count"] != 1.0 {
		t.Errorf("another's list: %v", list)
	}
	if list := c.expect(t, 200, "GET", eventPath+"?status=processed", "", nil, other...).json(); list["count"] != 0.0 {
		t.Errorf("another's list of what is processed: %v", list)
	}

	// Sent again by itself, the event says how it stands; by another sender, that it was received.
	again := c.expect(t, 200, "POST", eventPath, "", body, mine...).json()
	if again["id"] != receipt.json()["id"] || again["status"] != "processed" || warningsOf(again) != warnsUnreadable {
		t.Errorf("sent again: %v", again)
	}
	for name, repeated := range map[string]answer{
		"key": c.expect(t, 200, "POST", eventPath, "", body, other...), "user": c.expect(t, 200, "POST", eventPath, c.admin.access, body),
	} {
		r := repeated.json()
		if r["id"] != receipt.json()["id"] || r["received_at"] != receipt.json()["received_at"] || r["status"] != "pending" || warningsOf(r) != "" {
			t.Errorf("sent again by another %s: %s", name, repeated.body)
		}
	}
}
