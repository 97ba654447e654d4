package tests

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/dbtest"
)

// everyEvent is all that partners can hear of.
var everyEvent = []client.WebhookEventType{
	client.WebhookEventTypeJourneyCompleted, client.WebhookEventTypeSurveySent, client.WebhookEventTypeSurveyCompleted,
	client.WebhookEventTypeActionCreated, client.WebhookEventTypeActionUpdated, client.WebhookEventTypeSLABreached,
}

// acts makes a hospital as asks does, whose actions are due after so many seconds, with a manager of the wards, and an
// endpoint of a partner.
func (d *deployment) acts(t *testing.T, seconds int32, partner *receiver) (hospital, template, department uuid.UUID) {
	t.Helper()
	ctx := t.Context()
	hospital, template = d.asks(t, client.LanguageEn)
	target := client.SLATarget{Seconds: &seconds, Clock: client.SLAClockCalendar}
	try(d.admin.UpdateHospitalSettings(ctx, hospital, client.HospitalSettingsUpdate{
		ActionSLA: &client.ActionSLA{Low: target, Medium: target, High: target, Urgent: target},
	})).ok(t)
	manager := d.person(hospital, "Department Manager")
	d.exec("UPDATE users SET email = 'manager@staff.example' WHERE id = $1", manager.id)
	department = try(d.admin.CreateDepartment(ctx, client.DepartmentCreate{Hospital: hospital, Name: "Wards", Code: "W", Manager: client.Value(manager.id)})).ok(t).ID
	made := try(d.admin.CreateWebhookEndpoint(ctx, client.WebhookEndpointCreate{Hospital: client.Value(hospital), URL: partner.URL, Events: everyEvent})).ok(t)
	partner.mu.Lock()
	partner.secrets = []string{made.Secret}
	partner.mu.Unlock()
	return hospital, template, department
}

// answerBadly answers the survey behind a link with the worst that there is.
func (d *deployment) answerBadly(t *testing.T, link string) error {
	token := link[strings.LastIndexByte(link, '/')+1:]
	survey, err := d.admin.RetrievePublicSurvey(t.Context(), token)
	if err != nil {
		return err
	}
	_, err = d.admin.AnswerPublicSurvey(t.Context(), token, client.PublicSurveyUpdate{
		Complete: true, Answers: []client.PublicAnswer{{Section: 1, Question: survey.Sections[0].Questions[0].ID, Answer: []string{"1"}}},
	})
	return err
}

// linksTo are the links in the emails to patients.
func (p *postOffice) linksTo() (links []string) {
	for _, l := range p.letters() {
		if link := linkInText.FindString(l.text); link != "" && !slices.Contains(links, link) {
			links = append(links, link)
		}
	}
	return links
}

// One patient, from the event to the webhook of a breached action, through real processes.
func TestActionThroughProcesses(t *testing.T) {
	t.Parallel()
	office, partner := &postOffice{}, newReceiver(t)
	d := deploy(t, office.open(t), "PX360_WEBHOOK_ALLOW=127.0.0.0/8")
	hospital, template, department := d.acts(t, 2, partner)
	d.discharge(t, hospital, template, unique("P"))
	d.exec("UPDATE journey_instances SET department_id = $1", department)
	dbtest.Eventually(t, "the email", func() bool { return len(office.linksTo()) == 1 })
	must(t, d.answerBadly(t, office.linksTo()[0]))

	action := try(d.admin.ListActions(t.Context(), &client.ListActionsParams{Hospital: &hospital})).ok(t).Results[0]
	if action.Priority != client.ActionPriorityHigh || action.SourceType != client.ActionSourceSurvey || *action.Department != department || action.AssignedTo == nil {
		t.Errorf("the action is %+v", action)
	}
	if strings.Contains(action.Title+action.Description, "1") {
		t.Errorf("the action quotes the answer: %q, %q", action.Title, action.Description)
	}
	heard := func() map[string]bool {
		all := map[string]bool{}
		for _, one := range partner.all() {
			switch w := one.webhook.(type) {
			case *client.JourneyCompleted, *client.SurveySent, *client.SurveyCompleted:
				all[fmt.Sprintf("%T", w)] = true
			case *client.ActionCreated:
				all[fmt.Sprintf("%T", w)] = w.Data.ID == action.ID && w.Data.Version == 1
			case *client.SLABreached:
				all[fmt.Sprintf("%T", w)] = w.Data.ID == action.ID && w.Data.Version > 1
			}
		}
		return all
	}
	dbtest.Eventually(t, "the partner hears of it", func() bool { return len(heard()) == 5 })
	for what, right := range heard() {
		if !right {
			t.Errorf("%s is of another object", what)
		}
	}
	late := value[float64](d.system, "SELECT extract(epoch FROM breached_at - due_at)::float8 FROM actions")
	if late < 0 || late > 5 {
		t.Errorf("the breach was noticed after %v s", late)
	}
	dbtest.Eventually(t, "the manager is written to", func() bool {
		return slices.ContainsFunc(office.letters(), func(l letter) bool {
			return l.to == "manager@staff.example" && strings.Contains(l.text, "/api/actions/"+action.ID.String()+"/")
		})
	})
	log := try(d.admin.ListActionLog(t.Context(), action.ID, nil)).ok(t)
	if got := log.Results[len(log.Results)-1].Kind; got != client.ActionLogKindCreated {
		t.Errorf("the log begins with %s", got)
	}
}

// Processes that are killed at every step neither lose an action nor double one, and repeat a delivery only under its id.
func TestActionsSurviveKills(t *testing.T) {
	t.Parallel()
	office, partner := &postOffice{}, newReceiver(t)
	// The worker is killed in the middle of a delivery of each kind, and of an email, once every survey is sent.
	var d *deployment
	var mu sync.Mutex
	armed, kills := false, map[string]int{}
	kill := func(step string) {
		mu.Lock()
		defer mu.Unlock()
		if !armed {
			return
		}
		if kills[step]++; kills[step] == 1 {
			d.killWorker()
		}
	}
	office.stage = kill
	partner.answer = func(_ http.ResponseWriter, _ *http.Request, w client.Webhook) { kill(fmt.Sprintf("%T", w)) }
	d = deploy(t, office.open(t), "PX360_WEBHOOK_ALLOW=127.0.0.0/8")
	hospital, template, department := d.acts(t, 3, partner)
	const patients = 6
	for i := range patients {
		d.discharge(t, hospital, template, fmt.Sprintf("act%d", i))
	}
	d.exec("UPDATE journey_instances SET department_id = $1", department)
	dbtest.Eventually(t, "every survey is sent", func() bool { return len(office.linksTo()) == patients })

	mu.Lock()
	armed = true
	mu.Unlock()
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for range 3 {
			d.killServer()
		}
	}()
	for _, link := range office.linksTo() { // a phone tries again
		dbtest.Eventually(t, "the survey is answered", func() bool { return d.answerBadly(t, link) == nil || d.answered(t, link) })
	}
	<-killed
	breached := func() bool {
		// Nobody waits for the leases and claims of a worker that is gone.
		d.exec("UPDATE webhook_endpoints SET leased_until = now() WHERE leased_until < now() + interval '28 seconds'")
		d.exec("UPDATE user_messages SET next_at = now() WHERE status = 'sending' AND next_at < now() + interval '298 seconds'")
		return value[int](d.system, "SELECT count(*) FROM actions WHERE breached_at IS NOT NULL") == patients &&
			value[int](d.system, "SELECT count(*) FROM webhook_events WHERE NOT fanned_out")+value[int](d.system, "SELECT count(*) FROM webhook_messages WHERE status = 'pending'") == 0 &&
			value[int](d.system, "SELECT count(*) FROM user_messages WHERE status <> 'sent'") == 0
	}
	dbtest.Eventually(t, "every action is breached, and all is told", breached)
	if n := value[int](d.system, "SELECT count(*) FROM actions"); n != patients {
		t.Errorf("%d actions of %d surveys", n, patients)
	}
	if n := value[int](d.system, "SELECT count(*) FROM action_log WHERE kind = 'breached'"); n != patients {
		t.Errorf("%d breaches of %d actions", n, patients)
	}
	bodies, seen := map[string]string{}, map[string]bool{}
	for _, one := range partner.all() {
		if before, found := bodies[one.id]; found && before != one.body {
			t.Errorf("%s came as %s and %s", one.id, before, one.body)
		} else if !found && seen[one.body] {
			t.Errorf("%s came under two ids", one.body)
		}
		bodies[one.id], seen[one.body] = one.body, true
	}
	if want := value[int](d.system, "SELECT count(*) FROM webhook_events"); len(bodies) != want || want < 5*patients {
		t.Errorf("%d of %d events were delivered, of %d patients", len(bodies), want, patients)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(kills) < 6 {
		t.Errorf("killed at %v only", kills)
	}
	t.Logf("%d deliveries of %d messages, killed at %v", len(partner.all()), len(bodies), kills)
}

// answered tells whether a survey is completed, whatever its answer was told.
func (d *deployment) answered(t *testing.T, link string) bool {
	survey, err := d.admin.RetrievePublicSurvey(t.Context(), link[strings.LastIndexByte(link, '/')+1:])
	return err == nil && survey.Status == client.PublicSurveyStatusCompleted
}
