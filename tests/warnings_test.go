package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/worker"
)

const (
	warnsNoZone        = "payload_json.timestamp has no time zone; the time of receipt is used."
	warnsFuture        = "payload_json.timestamp is later than the time of receipt; the time of receipt is used."
	warnsUnreadable    = "payload_json.timestamp cannot be read as a time; the time of receipt is used."
	warnsBeforeJourney = "payload_json.timestamp is more than 30 days before the started_at of the journey; the time of receipt is used."
)

// stating sets the time that an event states.
func stating(timestamp any) func(*client.EventCreate) {
	return withPayload(fields{"timestamp": timestamp})
}

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
		body := eventOf("1", stating(stated), withSourceID(fmt.Sprint("MSG", stated)))
		first := c.expect(t, 201, "POST", eventPath, c.px.access, body, "Idempotency-Key", fmt.Sprint("K", stated))
		var receipt client.EventReceipt
		must(t, json.Unmarshal([]byte(first.body), &receipt))
		if got := warningOf(receipt.Warnings); got != warning {
			t.Errorf("%v: the receipt warns %q, want %q", stated, got, warning)
		}
		if again := c.expect(t, 200, "POST", eventPath, c.px.access, body); again.body != first.body {
			t.Errorf("%v: sent again, it is answered with %s", stated, again.body)
		}
		if again := c.expect(t, 201, "POST", eventPath, c.px.access, body, "Idempotency-Key", fmt.Sprint("K", stated)); again.body != first.body {
			t.Errorf("%v: the replay is %s", stated, again.body)
		}
		want[receipt.ID] = warning
	}
	check := func(when string) {
		t.Helper()
		for row, err := range c.px.AllEvents(t.Context(), nil) {
			must(t, err)
			detail := try(c.px.RetrieveEvent(t.Context(), row.ID)).ok(t)
			if warningOf(row.Warnings) != want[row.ID] || warningOf(detail.Warnings) != want[row.ID] {
				t.Errorf("%s: %s, want the warning %q", when, jsonText(detail), want[row.ID])
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

// warningOf is the one warning of an event or a receipt, blank if there is none.
func warningOf(warnings []string) string {
	switch len(warnings) {
	case 0:
		return ""
	case 1:
		return warnings[0]
	default:
		return fmt.Sprint(warnings)
	}
}

func TestWarningsOfABulk(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	stranger := c.person(c.hospital)
	item := func(id, timestamp string) client.EventCreate {
		return eventOf("1", stating(timestamp), withSourceID(id))
	}
	items := []client.EventCreate{item("A", "2025-12-14T10:45:00Z"), eventOf(""), item("B", "soon"), item("C", "2025-12-14T10:45:00")}
	send := func(status int, sender person, items ...client.EventCreate) string {
		t.Helper()
		var answered client.Answer
		result, err := sender.BulkCreateEvents(t.Context(), client.EventBulkCreate{Events: items}, client.WithAnswer(&answered))
		must(t, err)
		if refused := int(result.Failed) == len(items); answered.Status != status || refused != (status == http.StatusBadRequest) {
			t.Errorf("answered %d %s, want %d", answered.Status, jsonText(result), status)
		}
		return jsonText(result.Warnings)
	}
	both := jsonText([]client.EventBulkWarning{{Index: 2, Warnings: []string{warnsUnreadable}}, {Index: 3, Warnings: []string{warnsNoZone}}})
	for _, status := range []int{201, 200} { // the second time all are duplicates
		if got := send(status, c.admin, items...); got != both {
			t.Errorf("%d: %s, want %s", status, got, both)
		}
	}
	// What was stored of others is their own business, and what is refused is not used at all.
	if got := send(200, stranger, items...); got != "[]" {
		t.Errorf("another sender is told %s", got)
	}
	if got := send(http.StatusBadRequest, c.admin, item("B", "sooner"), eventOf("")); got != "[]" {
		t.Errorf("what is refused warns %s", got)
	}
	if got := send(201, c.admin, eventOf("1")); got != "[]" {
		t.Errorf("without a timestamp: %s", got)
	}
}

// A start that nobody stated bounds nothing, and one that was sent back as it was read is still not stated.
func TestOnlyAStatedStartBoundsItsEvents(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	template := c.Template(nil, nil, nil, nil)
	long := stating("2025-10-01T00:00:00Z")
	send := func(j journey, code, want string) *client.Event {
		t.Helper()
		o := c.outcome(j.event(code, long))
		if got := warningOf(o.Warnings); got != want || o.Status != client.EventStatusProcessed {
			t.Errorf("%s: %v warns %q, want %q", code, o.Status, got, want)
		}
		return o
	}
	j := c.journey(template, "1")
	begin := func(at time.Time) {
		t.Helper()
		j.change(client.JourneyInstanceUpdate{StartedAt: &at}).ok(t)
	}
	send(j, "E1", "")
	begin(j.now().StartedAt)
	send(j, "E2", "")
	begin(at(t, "2025-12-14T09:00:00Z"))
	bounded := send(j, "E3", warnsBeforeJourney)
	if stage := j.stages()[2]; !is(stage.CompletedAt, bounded.ReceivedAt) {
		t.Errorf("the stage was completed at %v, want %v", stage.CompletedAt, bounded.ReceivedAt)
	}
	begin(at(t, "2025-10-30T00:00:00Z"))
	send(j, "E4", "")

	// A journey that is created with its start, and an event that came first: reprocessing says what is so by then.
	receipt := try(c.px.CreateEvent(t.Context(), eventOf("2", long))).ok(t)
	if o := c.outcome(receipt.ID); warningOf(receipt.Warnings) != "" || warningOf(o.Warnings) != "" || o.Reason != "no_journey" {
		t.Errorf("without a journey: %s", jsonText(o))
	}
	k := try(c.px.CreateJourneyInstance(t.Context(), client.JourneyInstanceCreate{
		JourneyTemplate: template, Patient: c.Patient("MRN-STATED"), Hospital: c.hospital, EncounterID: "2",
		StartedAt: client.Ptr(at(t, "2025-12-14T09:00:00Z")),
	})).ok(t)
	if o := c.outcome(receipt.ID); warningOf(o.Warnings) != warnsBeforeJourney || !is(o.JourneyInstance, k.ID) {
		t.Errorf("with its journey: %s", jsonText(o))
	}
}

// An answer that the version before has stored, which knew no warnings, is replayed with none.
func TestReplayOfAnAnswerWithoutWarnings(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for path, body := range map[string]any{eventPath: eventOf("1"), eventBulkPath: fields{"events": []any{eventOf("1")}}} {
		first := c.expect(t, 201, "POST", path, c.px.access, body, "Idempotency-Key", "K")
		c.exec("UPDATE idempotency_keys SET answer = answer - 'warnings'")
		if again := c.expect(t, 201, "POST", path, c.px.access, body, "Idempotency-Key", "K"); again.body != first.body {
			t.Errorf("the replay is %s, the answer was %s", again.body, first.body)
		}
	}
}

// A key sees what its own config sent, and what became of it; of what others sent it learns nothing.
func TestSendersSeeTheirOwnEvents(t *testing.T) {
	t.Parallel()
	c := start(t).clinic()
	c.journey(c.Template(nil), "1")
	key := func() *client.Client {
		t.Helper()
		body := client.IntegrationConfigCreate{Name: unique("His"), SourceSystem: "his", Hospital: client.Value(c.hospital)}
		return c.client(client.WithAPIKey(try(c.px.CreateIntegrationConfig(t.Context(), body)).ok(t).APIKey))
	}
	mine, other, ctx := key(), key(), t.Context()
	body := eventOf("1", stating("soon"), withSourceID("MSG-1"))
	receipt := try(mine.CreateEvent(ctx, body)).ok(t)
	c.outcome(receipt.ID)
	try(c.px.CreateEvent(ctx, eventOf("1"))).ok(t)
	try(other.CreateEvent(ctx, eventOf("1"))).ok(t)
	c.waitForWorker()

	detail := try(mine.RetrieveEvent(ctx, receipt.ID)).ok(t)
	if detail.Status != client.EventStatusProcessed || warningOf(detail.Warnings) != warnsUnreadable {
		t.Errorf("its own event: %s", jsonText(detail))
	}
	if seen := try(c.px.RetrieveEvent(ctx, receipt.ID)).ok(t); jsonText(seen) != jsonText(detail) {
		t.Errorf("a PX Admin sees %s, the sender %s", jsonText(seen), jsonText(detail))
	}
	processed := &client.ListEventsParams{Status: client.Ptr(client.EventStatusProcessed)}
	if list := try(mine.ListEvents(ctx, processed)).ok(t); list.Count != 1 || list.Results[0].ID != receipt.ID {
		t.Errorf("its list: %s", jsonText(list))
	}
	try(other.RetrieveEvent(ctx, receipt.ID)).refused(t, 404)
	if list := try(other.ListEvents(ctx, nil)).ok(t); list.Count != 1 {
		t.Errorf("another's list: %s", jsonText(list))
	}
	if list := try(other.ListEvents(ctx, processed)).ok(t); list.Count != 0 {
		t.Errorf("another's list of what is processed: %s", jsonText(list))
	}

	// Sent again by itself, the event says how it stands; by another sender, that it was received.
	again := try(mine.CreateEvent(ctx, body)).ok(t)
	if !again.Duplicate || again.ID != receipt.ID || again.Status != client.EventStatusProcessed || warningOf(again.Warnings) != warnsUnreadable {
		t.Errorf("sent again: %s", jsonText(again))
	}
	r := try(other.CreateEvent(ctx, body)).ok(t)
	if !r.Duplicate || r.ID != receipt.ID || r.ReceivedAt != receipt.ReceivedAt || r.Status != client.EventStatusPending || warningOf(r.Warnings) != "" {
		t.Errorf("sent again by another key: %s", jsonText(r))
	}
}
