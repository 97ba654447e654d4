package tests

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/worker"
)

const bulkReprocessPath = "/api/integrations/events/bulk_reprocess/"

// What an explanation says of an event that waits is what the worker makes of it, and once it is put in order it says so.
func TestEventsExplained(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template := c.Template(triggeredBy("SEEN"), triggeredBy("DONE"))
	c.exec("UPDATE stage_templates SET requires_physician = true WHERE trigger_event_code = 'SEEN'")
	c.journey(template, "E1")
	send := func(code, encounter, patient string, payload any) client.ID {
		t.Helper()
		return c.create(c.admin.access, "/api/integrations/events/", fields{
			"source_system": "his", "event_code": code, "encounter_id": encounter, "patient_identifier": patient, "payload_json": payload,
		})
	}
	explain := func(id uuid.UUID) map[string]any {
		t.Helper()
		return c.expect(t, http.StatusOK, "GET", "/api/integrations/events/"+id.String()+"/explain/", c.px.access, nil).json()
	}
	events := map[string]client.ID{
		"no_journey":        send("SEEN", "E2", "", fields{}),
		"patient_mismatch":  send("SEEN", "E1", "somebody", fields{}),
		"no_stage":          send("OTHER", "E1", "", fields{}),
		"physician_missing": send("SEEN", "E1", "", fields{"physician_license": "PHY009"}),
		"":                  send("DONE", "E1", "", fields{}),
	}
	predicted := map[string]map[string]any{}
	for reason, id := range events {
		a := explain(id)
		if predicted[reason] = a["now"].(map[string]any); predicted[reason]["reason"] != reason || a["advice"] != "Nothing is to be done: it waits in the queue." {
			t.Errorf("%s, pending: %v", reason, a)
		}
	}
	c.work(worker.DefaultOptions())
	pending := func() int { return value[int](c.system, "SELECT count(*) FROM events WHERE status = 'pending'") }
	dbtest.Eventually(t, "the events are applied", func() bool { return pending() == 0 })
	for reason, id := range events {
		a := explain(id)
		if got := a["recorded"].(map[string]any); jsonText(got) != jsonText(predicted[reason]) {
			t.Errorf("the worker recorded %v, explained was %v", got, predicted[reason])
		}
	}
	advice := func(reason string) string { return explain(events[reason])["advice"].(string) }
	for reason, want := range map[string]string{
		"no_journey":        "Create a journey for the encounter E2",
		"patient_mismatch":  "Correct the patient's MRN",
		"no_stage":          "Add a stage that is triggered by OTHER",
		"physician_missing": "Add the physician PHY009 to ",
		"":                  "Nothing is to be done: it was processed.",
	} {
		if got := advice(reason); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", reason, got)
		}
	}
	c.Physician("PHY009")
	if got := advice("physician_missing"); !strings.HasPrefix(got, "Reprocess it: the physician PHY009 exists since "+time.Now().UTC().Format("2006-01-02")) {
		t.Errorf("with the physician: %q", got)
	}
	checks := explain(events["physician_missing"])["checks"].([]any)
	if last := checks[4].(map[string]any); len(checks) != 6 || last["passed"] != true || !strings.Contains(last["found"].(string), "PHY009") {
		t.Errorf("the checks: %v", checks)
	}
	c.expect(t, http.StatusForbidden, "GET", "/api/integrations/events/"+events[""].String()+"/explain/", c.admin.access, nil)
	c.expect(t, http.StatusNotFound, "GET", "/api/integrations/events/"+wireUnknownID+"/explain/", c.px.access, nil)
}

func TestBulkReprocess(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for i := range 12 {
		c.create(c.admin.access, "/api/integrations/events/", fields{"source_system": oneOf(i, "his", "lab"), "event_code": oneOf(i/2, "A", "B", "C"), "encounter_id": fmt.Sprint("E", i)})
	}
	c.exec(`UPDATE events e SET status = CASE WHEN n.i % 4 = 3 THEN 'ignored' ELSE 'failed' END, reason = CASE WHEN n.i % 4 = 3 THEN 'no_journey' ELSE 'physician_missing' END,
			processed_at = now(), received_at = '2026-01-01T00:00:00Z'::timestamptz + n.i * interval '1 day'
		FROM (SELECT id, row_number() OVER (ORDER BY seq) - 1 AS i FROM events) n WHERE n.id = e.id`)
	ask := func(filter fields, dry bool) string {
		t.Helper()
		return canonical(t, c.expect(t, http.StatusOK, "POST", bulkReprocessPath, c.px.access, fields{"filter": filter, "dry_run": dry}).body)
	}
	all := fields{"status": "failed", "received_after": "2026-01-01T00:00:00Z"}
	for _, filter := range []struct {
		fields
		want int
	}{
		{all, 9},
		{fields{"status": "ignored", "received_after": "2026-01-01T00:00:00Z"}, 3},
		{fields{"status": "failed", "received_after": "2026-01-03T00:00:00Z", "received_before": "2026-01-07T00:00:00Z"}, 3},
		{fields{"status": "failed", "received_after": "2026-01-01T00:00:00Z", "reason": "no_journey"}, 0},
		{fields{"status": "failed", "received_after": "2026-01-01T00:00:00Z", "source_system": "lab"}, 3},
		{fields{"status": "failed", "received_after": "2026-01-01T00:00:00Z", "event_code": "A"}, 3},
	} {
		if got, want := ask(filter.fields, true), fmt.Sprintf(`{"matched":%d,"remaining":0,"reprocessed":0}`, filter.want); got != want {
			t.Errorf("%v: %s, want %s", filter.fields, got, want)
		}
	}
	if n := value[int](c.system, "SELECT count(*) FROM events WHERE status = 'pending'"); n != 0 {
		t.Errorf("a dry run queued %d events", n)
	}
	if got := ask(all, false); got != `{"matched":9,"remaining":0,"reprocessed":9}` {
		t.Errorf("all that failed: %s", got)
	}
	if n := value[int](c.system, "SELECT count(*) FROM events WHERE status = 'pending' AND reason = '' AND processed_at IS NULL"); n != 9 {
		t.Errorf("%d are queued", n)
	}
	if n := value[int](c.system, "SELECT count(*) FROM audit_log WHERE operation = 'bulkReprocessEvents'"); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	for body, want := range map[string]string{
		`{"filter":{"status":"failed"}}`:                                            `{"filter":{"received_after":["This field is required."]}}`,
		`{"filter":{"status":"processed","received_after":"2026-01-01T00:00:00Z"}}`: `{"filter":{"status":["\"processed\" is not a valid choice."]}}`,
		`{}`: `{"filter":["This field is required."]}`,
	} {
		if a := c.expect(t, http.StatusBadRequest, "POST", bulkReprocessPath, c.px.access, body); canonical(t, a.body) != want {
			t.Errorf("%s: %s, want %s", body, a.body, want)
		}
	}
	// At most 10,000 a call, the oldest first.
	c.exec(`INSERT INTO events (id, hospital_id, source_system, event_code, encounter_id, sender_kind, sender_id, status, reason, processed_at, received_at)
		SELECT uuid7(), $1, 'his', 'A', 'X' || i, 'user', $2, 'failed', 'no_journey', now(), '2026-02-01T00:00:00Z'::timestamptz + i * interval '1 second' FROM generate_series(1, 10010) i`,
		c.hospital, c.admin.id)
	if got := ask(all, false); got != `{"matched":10010,"remaining":10,"reprocessed":10000}` {
		t.Errorf("many: %s", got)
	}
	if n := value[int](c.system, "SELECT count(*) FROM events WHERE status = 'failed' AND received_at > '2026-02-01T02:46:40Z'"); n != 10 {
		t.Errorf("%d of those left are the latest", n)
	}
}
