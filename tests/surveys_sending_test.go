package tests

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/surveys"
)

func TestSurveyIsSkipped(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	for reason, change := range map[string]string{
		"journey_cancelled": "UPDATE journey_instances SET status = 'cancelled', completed_at = NULL WHERE id = (SELECT journey_instance_id FROM surveys WHERE id = $1)",
		"template_inactive": "UPDATE survey_templates SET is_active = false WHERE id = (SELECT survey_template_id FROM surveys WHERE id = $1)",
		"no_questions":      "UPDATE survey_versions SET questions = '[]' WHERE survey_template_id = (SELECT survey_template_id FROM surveys WHERE id = $1)",
		"too_old":           "UPDATE surveys SET due_at = now() - interval '15 days' WHERE id = $1",
		"patient_inactive":  "UPDATE patients SET status = 'inactive' WHERE id = (SELECT j.patient_id FROM surveys v JOIN journey_instances j ON j.id = v.journey_instance_id WHERE v.id = $1)",
		"patient_opted_out": "UPDATE patients SET survey_opt_out = true WHERE id = (SELECT j.patient_id FROM surveys v JOIN journey_instances j ON j.id = v.journey_instance_id WHERE v.id = $1)",
		"no_contact":        "UPDATE patients SET phone = '12', email = '' WHERE id = (SELECT j.patient_id FROM surveys v JOIN journey_instances j ON j.id = v.journey_instance_id WHERE v.id = $1)",
	} {
		id := w.completed(t, reason)
		w.exec(change, id)
		w.step(t)
		if s := w.survey(t, id); s["status"] != "skipped" || s["reason"] != reason || s["decisions"].([]any)[0].(map[string]any)["outcome"] != "skipped" {
			t.Errorf("%s: %v", reason, s)
		}
	}
	if len(w.sms.messages)+len(w.email.messages) > 0 {
		t.Errorf("%v and %v were sent", w.sms.messages, w.email.messages)
	}
}

func TestSurveyChannels(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	down := errors.New("the gateway is down")
	w.sms.fail = func(channels.Message) error { return down }
	id := w.completed(t, "1")
	w.step(t)
	s := w.survey(t, id)
	if message := s["messages"].([]any)[0].(map[string]any); s["status"] != "pending" || message["status"] != "queued" || message["error"] != down.Error() {
		t.Errorf("after a temporary fault: %v", s)
	}
	for range 5 {
		w.exec("UPDATE survey_messages SET next_at = now()")
		w.step(t)
	}
	s = w.survey(t, id) // six attempts by SMS, then by email
	if messages := s["messages"].([]any); len(messages) != 2 || messages[0].(map[string]any)["status"] != "failed" || jsonText(messages[0].(map[string]any)["attempt"]) != "6" {
		t.Errorf("after six attempts: %v", s)
	}
	w.step(t)
	if s = w.survey(t, id); s["status"] != "sent" || len(w.email.messages) != 1 || w.email.messages[0].To != "patient@example.org" || w.email.messages[0].Unsubscribe == "" {
		t.Errorf("by email: %v, %v", s, w.email.messages)
	}
}

// A link is made from the secret key of its day, which stays known as the previous one.
func TestSurveyLinkOutlivesItsKey(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	id := w.completed(t, "1")
	w.step(t)
	link := w.sms.link(t)
	for _, c := range []struct{ key, previous, want string }{
		{"another-key-of-more-than-32-bytes!!", signingKey, "sent"},
		{"a-third-key-of-more-than-32-bytes!!!", "another-key-of-more-than-32-bytes!!", "failed"},
	} {
		o := w.service.Options
		o.SecretKey, o.SecretKeyPrevious = c.key, c.previous
		w.expect(t, http.StatusOK, "POST", "/api/surveys/instances/"+id.String()+"/resend/", w.admin.access, nil)
		must(t, surveys.New(w.database, o).Step(t.Context()))
		messages := w.survey(t, id)["messages"].([]any)
		if last := messages[len(messages)-1].(map[string]any); last["status"] != c.want || w.sms.link(t) != link {
			t.Errorf("with other keys: %v", last)
		}
	}
	if a := w.send("GET", link, "", nil); a.status != http.StatusOK {
		t.Errorf("the link: %d", a.status)
	}
}

func TestSurveyByHand(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	act := func(status int, id uuid.UUID, action string) map[string]any {
		t.Helper()
		return w.expect(t, status, "POST", "/api/surveys/instances/"+id.String()+"/"+action+"/", w.admin.access, nil).json()
	}
	id := w.completed(t, "1")
	w.exec("UPDATE surveys SET due_at = now() + interval '1 hour'")
	w.step(t)
	if len(w.sms.messages) != 0 {
		t.Fatal("sent before it is due")
	}
	act(http.StatusConflict, id, "resend")
	act(http.StatusOK, id, "send")
	w.step(t)
	act(http.StatusConflict, id, "send")
	act(http.StatusOK, id, "resend")
	w.step(t)
	if len(w.sms.messages) != 2 || w.sms.messages[0].Text != w.sms.messages[1].Text || w.sms.messages[0].ID == w.sms.messages[1].ID {
		t.Errorf("sent: %+v", w.sms.messages)
	}
	if s := act(http.StatusOK, id, "cancel"); s["status"] != "cancelled" {
		t.Errorf("cancelled: %v", s)
	}
	for _, action := range []string{"send", "resend", "cancel"} {
		if a := act(http.StatusConflict, id, action); a["detail"] != "The survey is cancelled." {
			t.Errorf("%s at an end: %v", action, a)
		}
	}
	if a := w.send("GET", w.sms.link(t), "", nil); a.status != http.StatusNotFound {
		t.Errorf("the link of a cancelled survey: %d", a.status)
	}
}

// In quiet hours an invitation, a reminder and a resend wait, and none is forgotten.
func TestSurveyQuietHours(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	id := w.completed(t, "1")
	w.exec("UPDATE survey_templates SET reminder_hours = '{24}'")
	quiet := func(on bool) {
		t.Helper()
		w.exec(`UPDATE hospitals SET timezone = 'Asia/Riyadh', quiet_hours_start = CASE WHEN $1 THEN to_char(now() AT TIME ZONE 'Asia/Riyadh' - interval '1 hour', 'HH24:MI') ELSE '00:00' END,
			quiet_hours_end = CASE WHEN $1 THEN to_char(now() AT TIME ZONE 'Asia/Riyadh' + interval '2 hours', 'HH24:MI') ELSE '00:00' END`, on)
		w.exec("UPDATE surveys SET next_at = now()")
		w.step(t)
	}
	for i, prepare := range []string{
		"SELECT $1::uuid", "UPDATE surveys SET sent_at = now() - interval '25 hours' WHERE id = $1", "UPDATE surveys SET resend = true WHERE id = $1",
	} {
		w.exec(prepare, id)
		quiet(true)
		decisions := w.survey(t, id)["decisions"].([]any)
		last := decisions[len(decisions)-1].(map[string]any)
		if until := instant(last["until"]); last["rule"] != "quiet_hours" || last["outcome"] != "deferred" || until.Before(time.Now().Add(time.Hour)) || until.After(time.Now().Add(2*time.Hour)) {
			t.Errorf("in quiet hours, message %d: %v", i+1, last)
		}
		if len(w.sms.messages) != i {
			t.Errorf("%d messages were sent in quiet hours", len(w.sms.messages)-i)
		}
		quiet(false)
		if len(w.sms.messages) != i+1 {
			t.Fatalf("%d messages after quiet hours, want %d", len(w.sms.messages), i+1)
		}
	}
}

func TestSurveyReminders(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	id := w.completed(t, "1")
	w.exec("UPDATE survey_templates SET reminder_hours = '{24,48}', expires_after_days = 3")
	w.step(t)
	later := func(hours int) {
		w.exec("UPDATE surveys SET sent_at = now() - $1 * interval '1 hour', next_at = now(), expires_at = now() + (72 - $1) * interval '1 hour' WHERE id = $2", hours, id)
		w.step(t)
	}
	later(23)
	if len(w.sms.messages) != 1 {
		t.Errorf("%d messages before the first reminder", len(w.sms.messages))
	}
	later(25)
	later(26)
	later(49)
	later(71)
	if len(w.sms.messages) != 3 || w.sms.messages[2].Text != w.sms.messages[0].Text {
		t.Errorf("%d messages with both reminders", len(w.sms.messages))
	}
	later(73)
	if s := w.survey(t, id); s["status"] != "expired" || len(s["messages"].([]any)) != 3 {
		t.Errorf("in the end: %v", s)
	}
}

func TestSurveyContactCap(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	var ids []uuid.UUID
	for _, encounter := range []string{"1", "2", "3", "4", "5"} {
		ids = append(ids, w.completed(t, encounter))
	}
	w.exec("UPDATE journey_instances SET patient_id = (SELECT min(patient_id::text)::uuid FROM journey_instances)")
	var both sync.WaitGroup // two processes decide at the same time
	for range 2 {
		both.Go(func() { _ = w.service.Step(context.Background()) })
	}
	both.Wait()
	w.step(t)
	skipped := 0
	for _, id := range ids {
		if w.survey(t, id)["reason"] == "contact_cap" {
			skipped++
		}
	}
	if skipped != 2 || len(w.sms.messages) != 3 {
		t.Errorf("%d were skipped and %d sent, the cap is 3", skipped, len(w.sms.messages))
	}
}

// A message that nobody is to get any more, or that comes late out of the queue, is not sent; what its provider says is
// kept, whatever it says; and what always ends without an outcome is given up.
func TestSurveyMessageOutOfTheQueue(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	queued := func(encounter string) uuid.UUID {
		t.Helper()
		w.sms.fail = func(channels.Message) error { return errors.New("down\x00\xff") }
		id := w.completed(t, encounter)
		w.step(t)
		if s := w.survey(t, id); s["messages"].([]any)[0].(map[string]any)["error"] != "down??" {
			t.Fatalf("queued again: %v", s)
		}
		w.sms.fail = nil
		w.exec("UPDATE survey_messages SET next_at = now() WHERE survey_id = $1", id)
		return id
	}
	last := func(id uuid.UUID) map[string]any {
		messages := w.survey(t, id)["messages"].([]any)
		return messages[len(messages)-1].(map[string]any)
	}

	id := queued("quiet")
	w.exec("UPDATE hospitals SET timezone = 'UTC', quiet_hours_start = to_char(now() - interval '1 hour', 'HH24:MI'), quiet_hours_end = to_char(now() + interval '2 hours', 'HH24:MI')")
	w.step(t)
	if m := last(id); m["status"] != "queued" || jsonText(m["attempt"]) != "1" {
		t.Errorf("in quiet hours: %v", m)
	}
	w.exec("UPDATE hospitals SET quiet_hours_start = '00:00', quiet_hours_end = '00:00'")
	w.exec("UPDATE survey_messages SET next_at = now(), attempt = 20")
	w.step(t)
	if s := w.survey(t, id); s["status"] != "pending" || len(s["messages"].([]any)) != 2 { // by email, after the SMS was given up
		t.Errorf("after too many attempts: %v", s)
	}
	w.step(t)
	if s := w.survey(t, id); s["status"] != "sent" || len(w.sms.messages) != 0 || len(w.email.messages) != 1 {
		t.Errorf("by email: %v", s)
	}

	id = queued("opted out")
	w.exec("UPDATE patients SET survey_opt_out = true")
	w.step(t)
	if s := w.survey(t, id); s["status"] != "skipped" || s["reason"] != "patient_opted_out" || last(id)["status"] != "cancelled" {
		t.Errorf("opted out meanwhile: %v", s)
	}
}
