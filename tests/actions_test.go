package tests

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/worker/actions"
	"github.com/px360/px360/worker/channels"
)

const actionsPath = "/api/actions/"

// An actionWorld is a hospital with a department, its manager and others, and what watches its actions.
type actionWorld struct {
	*clinic
	email                              *mailbox
	service                            *actions.Service
	manager, coordinator, nurse, other person
	department                         uuid.UUID
	database                           *queries.DB
}

func newActionWorld(t *testing.T) *actionWorld {
	t.Helper()
	w := &actionWorld{clinic: startServer(t).clinic(), email: newMailbox("email")}
	w.manager, w.coordinator = w.person(w.hospital, "Department Manager"), w.person(w.hospital, "PX Coordinator")
	w.nurse, w.other = w.person(w.hospital, "Nurse"), w.person(w.hospital, "Nurse")
	w.department = try(w.px.CreateDepartment(t.Context(), client.DepartmentCreate{
		Hospital: w.hospital, Name: "Wards", Code: "W", Manager: client.Value(w.manager.id),
	})).ok(t).ID
	w.exec("UPDATE users SET email = username || '@staff.example', language = 'en'")
	var err error
	w.database, err = queries.Open(t.Context(), w.dbURL, queries.DefaultOptions())
	must(t, err)
	t.Cleanup(w.database.Close)
	o := actions.DefaultOptions()
	o.Email, o.PublicURL = w.email, testPublicURL
	w.service = actions.New(w.database, o)
	return w
}

// open opens an action that is assigned to the nurse.
func (w *actionWorld) open(t *testing.T, priority string) string {
	t.Helper()
	return w.expect(t, http.StatusCreated, "POST", actionsPath, w.coordinator.access, fields{
		"title": "Call back", "hospital": w.hospital, "department": w.department, "assigned_to": w.nurse.id, "priority": priority,
	}).json()["id"].(string)
}

// step asks for a change of status.
func (w *actionWorld) step(t *testing.T, status int, by person, id, to string) map[string]any {
	t.Helper()
	return w.expect(t, status, "POST", actionsPath+id+"/change_status/", by.access, fields{"status": to, "resolution": "We apologised."}).json()
}

// run lets the clock of an action have run for so long, and attends to it.
func (w *actionWorld) run(t *testing.T, id, hours string) map[string]any {
	t.Helper()
	w.exec("UPDATE actions SET running_since = now() - $2::interval, next_at = now() WHERE id = $1", id, hours+" hours")
	must(t, w.service.Step(t.Context()))
	return w.get(t, id)
}

func (w *actionWorld) get(t *testing.T, id string) map[string]any {
	t.Helper()
	return w.expect(t, http.StatusOK, "GET", actionsPath+id+"/", w.nurse.access, nil).json()
}

// log are the kinds of the entries of an action's log, the oldest first.
func (w *actionWorld) log(t *testing.T, id string) (kinds []string) {
	t.Helper()
	for _, entry := range w.expect(t, http.StatusOK, "GET", actionsPath+id+"/log/?page_size=100", w.nurse.access, nil).json()["results"].([]any) {
		kinds = append(kinds, entry.(map[string]any)["kind"].(string))
	}
	slices.Reverse(kinds)
	return kinds
}

// to are who was written to since the last call.
func (m *mailbox) to() (addresses []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, message := range m.messages {
		addresses = append(addresses, message.To)
	}
	m.messages = nil
	slices.Sort(addresses)
	return addresses
}

// Every step that there is is made, and every other refused, whoever asks.
func TestActionSteps(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	statuses := []string{"open", "in_progress", "on_hold", "pending_approval", "approved", "closed", "cancelled"}
	steps := map[string]string{
		"open": "in_progress on_hold pending_approval cancelled", "in_progress": "open on_hold pending_approval cancelled",
		"on_hold": "in_progress cancelled", "pending_approval": "in_progress approved", "approved": "closed in_progress", "closed": "in_progress", "cancelled": "",
	}
	for _, from := range statuses {
		for _, to := range statuses {
			id := w.open(t, "low")
			w.exec("UPDATE actions SET status = $2 WHERE id = $1", id, from)
			want := http.StatusConflict
			for _, allowed := range strings.Fields(steps[from]) {
				if allowed == to {
					want = http.StatusOK
				}
			}
			a := w.step(t, want, w.coordinator, id, to)
			if message := fmt.Sprintf("An action cannot go from %s to %s.", from, to); want == http.StatusConflict && a["detail"] != message {
				t.Errorf("%s to %s: %v", from, to, a)
			}
			if want == http.StatusOK && (a["status"] != to || (a["due_at"] != nil) != (to == "open" || to == "in_progress")) {
				t.Errorf("%s to %s: %v", from, to, a)
			}
		}
	}
}

func TestActionRights(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	id := w.open(t, "low")
	for _, to := range []string{"in_progress", "open", "on_hold", "in_progress", "pending_approval", "in_progress", "pending_approval"} {
		w.step(t, http.StatusForbidden, w.other, id, to)
		w.step(t, http.StatusOK, w.nurse, id, to)
	}
	for _, by := range []person{w.nurse, w.manager} {
		w.step(t, http.StatusForbidden, by, id, "approved")
		w.expect(t, http.StatusForbidden, "POST", actionsPath+id+"/approve/", by.access, nil)
	}
	if a := w.expect(t, http.StatusOK, "POST", actionsPath+id+"/approve/", w.coordinator.access, nil).json(); a["status"] != "approved" {
		t.Errorf("approved: %v", a)
	}
	w.expect(t, http.StatusConflict, "POST", actionsPath+id+"/approve/", w.coordinator.access, nil)
	w.step(t, http.StatusForbidden, w.manager, id, "closed")
	w.step(t, http.StatusForbidden, w.manager, id, "in_progress")
	w.step(t, http.StatusOK, w.coordinator, id, "closed")
	w.step(t, http.StatusForbidden, w.nurse, id, "in_progress")
	w.expect(t, http.StatusConflict, "PATCH", actionsPath+id+"/", w.manager.access, fields{"title": "B"})
	w.expect(t, http.StatusConflict, "PUT", actionsPath+id+"/", w.manager.access, fields{"title": "B", "hospital": w.hospital})
	w.expect(t, http.StatusConflict, "POST", actionsPath+id+"/assign/", w.manager.access, fields{"assigned_to": nil})
	w.expect(t, http.StatusConflict, "POST", actionsPath+id+"/escalate/", w.manager.access, fields{"note": "x"})
	w.expect(t, http.StatusConflict, "DELETE", actionsPath+id+"/", w.manager.access, nil)
	w.step(t, http.StatusOK, w.coordinator, id, "in_progress")

	id = w.open(t, "low")
	w.step(t, http.StatusForbidden, w.nurse, id, "cancelled")
	w.expect(t, http.StatusForbidden, "POST", actionsPath+id+"/add_note/", w.other.access, fields{"note": "x"})
	w.expect(t, http.StatusOK, "POST", actionsPath+id+"/add_note/", w.nurse.access, fields{"note": "x"})
	w.expect(t, http.StatusNotFound, "POST", actionsPath+id+"/add_note/", w.system.clinic().admin.access, fields{"note": "x"})
	w.expect(t, http.StatusForbidden, "POST", actionsPath+id+"/assign/", w.nurse.access, fields{"assigned_to": w.other.id})
	a := w.expect(t, http.StatusBadRequest, "POST", actionsPath+id+"/change_status/", w.nurse.access, fields{"status": "pending_approval"})
	if canonical(t, a.body) != `{"resolution":["State how it was solved."]}` {
		t.Errorf("without a resolution: %s", a.body)
	}
	w.expect(t, http.StatusBadRequest, "POST", actionsPath+id+"/assign/", w.manager.access, fields{"assigned_to": w.system.clinic().admin.id})
	w.expect(t, http.StatusNoContent, "DELETE", actionsPath+id+"/", w.manager.access, nil)
}

// The clock: a reminder at three quarters, one breach, the levels after it, and nobody twice.
func TestActionDeadlines(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	px := w.px.username + "@staff.example"
	at := func(p person) string { return p.username + "@staff.example" }
	id := w.open(t, "high") // 24 hours
	for _, c := range []struct {
		hours   string
		level   string
		overdue bool
		to      []string
	}{
		{"17.9", "0", false, nil},
		{"18.1", "0", false, []string{at(w.nurse)}},
		{"18.2", "0", false, nil},
		{"24.1", "1", true, []string{at(w.manager)}},
		{"31.9", "1", true, nil},
		{"32.1", "2", true, []string{at(w.admin)}},
		{"48.1", "3", true, []string{px}},
		{"480", "3", true, nil},
	} {
		a := w.run(t, id, c.hours)
		to := w.email.to()
		if level := jsonText(a["escalation_level"]); level != c.level || a["is_overdue"] != c.overdue || !slices.Contains(to, px) && fmt.Sprint(to) != fmt.Sprint(c.to) {
			t.Errorf("after %s hours: level %s, overdue %v, written to %v; want %+v", c.hours, level, a["is_overdue"], to, c)
		}
		if a["assigned_to"] != w.nurse.id.String() {
			t.Errorf("after %s hours it is %v's", c.hours, a["assigned_to_name"])
		}
	}
	if got, want := fmt.Sprint(w.log(t, id)), "[created reminded breached escalated escalated escalated]"; got != want {
		t.Errorf("the log is %s, want %s", got, want)
	}
	// Solved and taken up again, it starts anew.
	w.step(t, http.StatusOK, w.nurse, id, "pending_approval")
	w.step(t, http.StatusOK, w.coordinator, id, "approved")
	if a := w.step(t, http.StatusOK, w.coordinator, id, "in_progress"); jsonText(a["escalation_level"]) != "0" || a["is_overdue"] != false {
		t.Errorf("taken up again: %v", a)
	}
	if a := w.run(t, id, "24.1"); a["escalated_to"] != "department_manager" {
		t.Errorf("breached again: %v", a)
	}
}

// The clock stands while an action is on hold or waits for approval, and goes on with what was left.
func TestActionClockStands(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	id := w.open(t, "high")
	w.exec("UPDATE actions SET running_since = now() - interval '23 hours' WHERE id = $1", id)
	if a := w.step(t, http.StatusOK, w.nurse, id, "on_hold"); a["due_at"] != nil {
		t.Errorf("on hold: %v", a)
	}
	w.exec("UPDATE actions SET next_at = now() WHERE id = $1", id) // attended to for no reason
	must(t, w.service.Step(t.Context()))
	if a := w.get(t, id); a["is_overdue"] != false || jsonText(a["escalation_level"]) != "0" {
		t.Errorf("on hold: %v", a)
	}
	w.step(t, http.StatusOK, w.nurse, id, "in_progress")
	left := value[float64](w.system, "SELECT extract(epoch FROM due_at - now())::float8 FROM actions WHERE id = $1", id)
	if left < 3500 || left > 3600 {
		t.Errorf("%v seconds are left, want an hour", left)
	}
	// Another priority is reckoned from the start less the pauses: urgent was due 19 hours ago.
	w.expect(t, http.StatusOK, "PATCH", actionsPath+id+"/", w.coordinator.access, fields{"priority": "urgent"})
	must(t, w.service.Step(t.Context()))
	if a := w.get(t, id); a["is_overdue"] != true || jsonText(a["escalation_level"]) != "2" { // 19 hours after the breach
		t.Errorf("urgent: %v", a)
	}
	// A breach before it stands stays one.
	w.step(t, http.StatusOK, w.nurse, id, "pending_approval")
	if a := w.get(t, id); a["is_overdue"] != true || a["due_at"] == nil {
		t.Errorf("overdue, waiting for approval: %v", a)
	}
}

// Changed settings reach only clocks that start later.
func TestActionSettings(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	before := w.open(t, "urgent")
	target := fields{"hours": 1, "clock": "calendar"}
	w.expect(t, http.StatusOK, "PATCH", "/api/organizations/hospitals/"+w.hospital.String()+"/settings/", w.admin.access,
		fields{"action_sla": fields{"low": target, "medium": target, "high": target, "urgent": target}, "business_hours": fields{}})
	after := w.open(t, "urgent")
	hours := func(id string) float64 {
		return value[float64](w.system, "SELECT extract(epoch FROM due_at - created_at)::float8 / 3600 FROM actions WHERE id = $1", id)
	}
	w.expect(t, http.StatusOK, "PATCH", actionsPath+before+"/", w.admin.access, fields{"priority": "high"})
	if b, a := hours(before), hours(after); b < 23.9 || b > 24.1 || a < 0.9 || a > 1.1 {
		t.Errorf("high under the old settings: %v hours, urgent under the new ones: %v", b, a)
	}
}

// Any number of workers notice a breach once.
func TestActionBreachIsNoticedOnce(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	for range 50 {
		w.open(t, "urgent")
	}
	w.exec("UPDATE actions SET running_since = now() - interval '5 hours', next_at = now()")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := actions.New(w.database, w.service.Options).Step(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := value[int](w.system, "SELECT count(*) FROM action_log WHERE kind = 'breached'"); n != 50 {
		t.Errorf("%d breaches were noticed", n)
	}
	if n := len(w.email.to()); n != 50 {
		t.Errorf("%d emails", n)
	}
}

// An email that breaks the connection to the mail server costs the others of its batch nothing.
func TestActionEmailsAfterABrokenConnection(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	flaky := &flakyMailbox{mailbox: w.email}
	o := w.service.Options
	o.Email = flaky
	for range 3 {
		w.open(t, "urgent")
	}
	w.exec("UPDATE actions SET running_since = now() - interval '5 hours', next_at = now()")
	must(t, actions.New(w.database, o).Step(t.Context()))
	if sent, sessions := len(w.email.to()), flaky.sessions; sent != 2 || sessions != 2 {
		t.Errorf("%d of the other two emails were sent, over %d connections", sent, sessions)
	}
}

// A flakyMailbox has a first connection that breaks at once.
type flakyMailbox struct {
	*mailbox
	sessions int
}

func (m *flakyMailbox) Open(context.Context) (channels.Session, error) {
	m.sessions++
	return flakySession{m.mailbox, m.sessions == 1}, nil
}

type flakySession struct {
	*mailbox
	broken bool
}

func (s flakySession) Send(ctx context.Context, m channels.Message) (string, error) {
	if s.broken {
		return "", errors.New("connection reset by peer")
	}
	return s.mailbox.Send(ctx, m)
}

// An action whose clock cannot be read holds up no other.
func TestActionWithoutClock(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	broken, sound := w.open(t, "urgent"), w.open(t, "urgent")
	w.exec("UPDATE actions SET running_since = now() - interval '5 hours', next_at = now() - interval '1 hour' WHERE id = $1", sound)
	w.exec(`UPDATE actions SET sla = jsonb_set(sla, '{timezone}', '"Mars/Olympus"'), next_at = now() - interval '2 hours' WHERE id = $1`, broken)
	must(t, w.service.Step(t.Context()))
	if a, b := w.get(t, sound), w.get(t, broken); jsonText(a["escalation_level"]) != "1" || jsonText(b["escalation_level"]) != "0" {
		t.Errorf("the sound one: %v, the other: %v", a, b)
	}
}

// Filters of a user's own.
func TestActionsOfMe(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t)
	id := w.open(t, "low")
	w.expect(t, http.StatusOK, "POST", actionsPath+w.open(t, "low")+"/assign/", w.manager.access, fields{"assigned_to": w.other.id})
	mine := w.expect(t, http.StatusOK, "GET", actionsPath+"?assigned_to=me", w.nurse.access, nil).json()["results"].([]any)
	if len(mine) != 1 || mine[0].(map[string]any)["id"] != id {
		t.Errorf("mine: %v", mine)
	}
	if a := w.expect(t, http.StatusBadRequest, "GET", actionsPath+"?assigned_to=you", w.nurse.access, nil); canonical(t, a.body) != `{"assigned_to":["Enter me, or the id of a user."]}` {
		t.Errorf("you: %s", a.body)
	}
}
