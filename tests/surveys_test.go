package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server"
	"github.com/px360/px360/worker/channels"
	"github.com/px360/px360/worker/surveys"
)

// A mailbox is a channel that keeps what is sent.
type mailbox struct {
	channels.Channel // for its addresses
	mu               sync.Mutex
	messages         []channels.Message
	fail             func(channels.Message) error
}

func newMailbox(name string) *mailbox {
	return &mailbox{Channel: channels.Outbox(name, "SA", "", slog.New(slog.DiscardHandler))}
}

func (m *mailbox) Open(context.Context) (channels.Session, error) { return m, nil }
func (m *mailbox) Close()                                         {}

func (m *mailbox) Send(_ context.Context, message channels.Message) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(message); err != nil {
			return "", err
		}
	}
	m.messages = append(m.messages, message)
	return "provider-" + message.ID.String(), nil
}

// link is the link in the latest message, as a path.
func (m *mailbox) link(t *testing.T) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.messages) == 0 {
		t.Fatal("nothing was sent")
	}
	text := m.messages[len(m.messages)-1].Text
	i := strings.Index(text, "/s/")
	return strings.Fields(text[i:])[0]
}

// A surveyWorld is a clinic whose surveys are sent to mailboxes, when its steps are called.
type surveyWorld struct {
	*clinic
	sms, email *mailbox
	service    *surveys.Service
	database   *queries.DB
}

const testPublicURL = "https://px.example"

func newSurveyWorld(t *testing.T) *surveyWorld {
	t.Helper()
	w := &surveyWorld{clinic: startServer(t).clinic(), sms: newMailbox(channels.SMS), email: newMailbox(channels.Email)}
	o := surveys.DefaultOptions()
	o.Channels = map[string]channels.Channel{channels.SMS: w.sms, channels.Email: w.email}
	o.PublicURL, o.SecretKey = testPublicURL, signingKey
	database, err := queries.Open(t.Context(), w.dbURL, queries.DefaultOptions())
	must(t, err)
	t.Cleanup(database.Close)
	w.service, w.database = surveys.New(database, o), database
	// At no time of day nobody is written to.
	w.exec("UPDATE hospitals SET quiet_hours_start = '00:00', quiet_hours_end = '00:00', language = 'en'")
	return w
}

// completed is a survey about a stage that was completed just now, of a patient with a phone and an email address.
func (w *surveyWorld) completed(t *testing.T, encounter string) uuid.UUID {
	t.Helper()
	template := w.Survey()
	j := w.journey(w.Template(sendsSurvey(template, 0)), encounter)
	w.exec("UPDATE patients SET phone = '0501234567', email = 'Patient@Example.org' WHERE phone = ''")
	j.setStage(1, "completed").ok(t)
	return value[uuid.UUID](w.system, "SELECT id FROM surveys WHERE journey_instance_id = $1", j.id)
}

// step decides on what is due, and sends what follows.
func (w *surveyWorld) step(t *testing.T) {
	t.Helper()
	must(t, w.service.Step(t.Context()))
}

func (w *surveyWorld) survey(t *testing.T, id uuid.UUID) map[string]any {
	t.Helper()
	return w.expect(t, http.StatusOK, "GET", "/api/surveys/instances/"+id.String()+"/", w.admin.access, nil).json()
}

func TestSurveyFromStageToScore(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	id := w.completed(t, "1")
	if s := w.survey(t, id); s["status"] != "pending" || s["sent_at"] != nil {
		t.Fatalf("scheduled: %v", s)
	}
	w.step(t)
	s := w.survey(t, id)
	message := s["messages"].([]any)[0].(map[string]any)
	if s["status"] != "sent" || message["channel"] != "sms" || message["status"] != "sent" || message["provider_id"] != "provider-"+message["id"].(string) {
		t.Fatalf("sent: %v", s)
	}
	if decision := s["decisions"].([]any)[0].(map[string]any); decision["rule"] != "invitation" || decision["outcome"] != "queued" {
		t.Errorf("decided %v", decision)
	}
	if to := w.sms.messages[0].To; to != "+966501234567" {
		t.Errorf("sent to %s", to)
	}

	link := w.sms.link(t)
	token := strings.TrimPrefix(link, "/s/")
	page := w.send("GET", link, "", nil, "Accept", "text/html")
	if page.status != http.StatusOK || !strings.Contains(page.body, "How was it?") || !strings.Contains(page.body, `lang="en" dir="ltr"`) {
		t.Fatalf("the page is %d %s", page.status, page.body)
	}
	if s := w.survey(t, id); s["status"] != "viewed" {
		t.Errorf("after a look it is %v", s["status"])
	}
	arabic := w.send("GET", link+"?lang=ar", "", nil, "Accept", "text/html")
	if !strings.Contains(arabic.body, "كيف كان؟") || !strings.Contains(arabic.body, `lang="ar" dir="rtl"`) {
		t.Errorf("in Arabic: %s", arabic.body)
	}

	public := w.expect(t, http.StatusOK, "GET", "/api/surveys/public/"+token+"/", "", nil).json()
	question := public["sections"].([]any)[0].(map[string]any)["questions"].([]any)[0].(map[string]any)["id"].(string)
	post := func(form string) answer {
		return w.send("POST", link+"?lang=en&page=1", "", form, "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
	}
	if a := post("go=finish"); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "Please answer this question.") {
		t.Errorf("without an answer: %d %s", a.status, a.body)
	}
	if s := w.survey(t, id); s["status"] != "in_progress" {
		t.Errorf("after a POST it is %v", s["status"])
	}
	if a := post("go=finish&q-" + question + "=2"); a.status != http.StatusOK || !strings.Contains(a.body, "Thank you") {
		t.Errorf("completed: %d %s", a.status, a.body)
	}
	again := post("go=finish&q-" + question + "=5")
	if again.status != http.StatusOK || !strings.Contains(again.body, "Thank you") || strings.Contains(again.body, question) {
		t.Errorf("completed twice: %d %s", again.status, again.body)
	}
	s = w.survey(t, id)
	if s["status"] != "completed" || s["total_score"] != "2.00" || s["is_negative"] != true || jsonText(s["answers"].([]any)[0].(map[string]any)["answer"]) != `["2"]` {
		t.Errorf("answered: %v", s)
	}
	nurse := w.person(w.hospital, "Nurse")
	hidden := w.expect(t, http.StatusOK, "GET", "/api/surveys/instances/"+id.String()+"/", nurse.access, nil).json()
	if hidden["total_score"] != nil || hidden["is_negative"] != nil || hidden["answers"] != nil {
		t.Errorf("a nurse sees %v", hidden)
	}
	w.expect(t, http.StatusForbidden, "GET", "/api/surveys/instances/?is_negative=true", nurse.access, nil)
	if list := w.expect(t, http.StatusOK, "GET", "/api/surveys/instances/?is_negative=true&status=completed", w.admin.access, nil).json(); jsonText(list["count"]) != "1" {
		t.Errorf("negative surveys: %v", list)
	}
	w.step(t)
	if len(w.sms.messages) != 1 || len(w.email.messages) != 0 {
		t.Errorf("%d SMS and %d emails were sent", len(w.sms.messages), len(w.email.messages))
	}
}

func TestSurveyLink(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	id := w.completed(t, "1")
	w.step(t)
	link := w.sms.link(t)
	page := w.send("GET", link, "", nil)
	for header, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"Referrer-Policy":         "no-referrer", "Cache-Control": "no-store", "X-Robots-Tag": "noindex", "Set-Cookie": "",
	} {
		if got := page.header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	// What is wrong, malformed or expired cannot be told apart.
	w.exec("UPDATE surveys SET expires_at = now() - interval '1 second' WHERE id = $1", id)
	wrong := []answer{w.send("GET", link, "", nil), w.send("GET", "/s/AAAAAAAAAAAAAAAAAAAAAA", "", nil), w.send("GET", "/s/x", "", nil), w.send("GET", link[:len(link)-1], "", nil)}
	for _, a := range wrong {
		if a.status != http.StatusNotFound || a.body != wrong[0].body || !strings.Contains(a.body, "<html") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	w.expect(t, http.StatusNotFound, "GET", strings.Replace(link, "/s/", "/api/surveys/public/", 1)+"/", "", nil)

	// Whoever opens a link opts nobody out; the button does, also of an expired survey, and by one POST of a mail program.
	if a := w.send("GET", link+"/unsubscribe", "", nil); a.status != http.StatusOK || value[bool](w.system, "SELECT bool_or(survey_opt_out) FROM patients") {
		t.Errorf("a look at the page of opting out: %d %s", a.status, a.body)
	}
	multipart := "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n"
	a := w.send("POST", link+"/unsubscribe", "", multipart, "Content-Type", "multipart/form-data; boundary=x")
	if suppressed := value[string](w.system, "SELECT string_agg(address, ' ') FROM survey_suppressions"); a.status != http.StatusOK || suppressed != "+966501234567" {
		t.Errorf("opting out: %d %s, suppressed %s", a.status, a.body, suppressed)
	}
	if !value[bool](w.system, "SELECT bool_or(survey_opt_out) FROM patients") {
		t.Error("the patient did not opt out")
	}
	if again := w.send("POST", link+"/unsubscribe", "", "List-Unsubscribe=One-Click", "Content-Type", "application/x-www-form-urlencoded"); again.status != http.StatusOK {
		t.Errorf("opting out twice: %d %s", again.status, again.body)
	}
	// Another patient with the same phone gets nothing there.
	w.exec("UPDATE patients SET survey_opt_out = false")
	other := w.completed(t, "2")
	w.exec("UPDATE patients SET email = ''")
	w.step(t)
	if s := w.survey(t, other); s["reason"] != "no_contact" {
		t.Errorf("a suppressed address: %v", s)
	}
}

// A wrong link costs something, so that nobody can try many; a right one goes on working from the same address.
func TestWrongLinksAreLimited(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(o *server.Options) { o.RateLimits = "enforce" })
	var last answer
	for i := range 11 {
		last = s.send("GET", fmt.Sprintf("/s/AAAAAAAAAAAAAAAAAAAA%02d", 10+i), "", nil)
	}
	if last.status != http.StatusTooManyRequests || !strings.Contains(last.body, "<html") || last.header.Get("Retry-After") == "" {
		t.Errorf("the eleventh wrong link: %d %s", last.status, last.body)
	}
	token := rules.NewLinkToken([]byte(signingKey), uuid.Nil)
	hash, _ := rules.LinkTokenHash(token)
	c := s.clinic()
	j := c.journey(c.Template(sendsSurvey(c.Survey(), 0)), "1")
	j.setStage(1, "completed").ok(t)
	c.exec("UPDATE surveys SET status = 'completed', token_hash = $1", hash)
	if a := s.send("GET", "/s/"+token, "", nil); a.status != http.StatusOK {
		t.Errorf("a right link from the same address: %d %s", a.status, a.body)
	}
}

// What patients write is text wherever it is shown, and what no form can send is a clean refusal.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	w.completed(t, "1")
	w.exec(`UPDATE survey_versions SET questions = questions || '[{"id": "0193c5a0-7a00-7000-8000-0000000000aa", "text": "<b>Why?</b>", "question_type": "text"}]'`)
	w.exec("UPDATE hospitals SET name = '<script>alert(1)</script>'")
	w.step(t)
	link := w.sms.link(t)
	post := func(body string, contentType string) answer {
		return w.send("POST", link+"?page=1&lang=en", "", body, "Content-Type", contentType)
	}
	const form, question = "application/x-www-form-urlencoded", "q-0193c5a0-7a00-7000-8000-0000000000aa"
	for body, status := range map[string]int{
		question + "=" + url.QueryEscape(`"><script>alert(2)</script>`) + "&go=next": http.StatusUnprocessableEntity,
		question + "=%00%ff&go=back":                           http.StatusOK,
		question + "=" + strings.Repeat("x", 501) + "&go=back": http.StatusOK,
		"q-no-uuid=1&q-" + unknownID.String() + "=1&go=back":   http.StatusOK,
		"%zz": http.StatusBadRequest,
		question + "=" + strings.Repeat("x", 300_000): http.StatusRequestEntityTooLarge,
	} {
		if a := post(body, form); a.status != status || !strings.Contains(a.body, "<html") {
			t.Errorf("%.60s: %d %s", body, a.status, a.body)
		}
	}
	for _, page := range []string{link, link + "?page=99999999999999999999", link + "?page=-1&lang=<x>", link + "/unsubscribe?lang=%22%3E"} {
		if a := w.send("GET", page, "", nil); a.status != http.StatusOK || strings.Contains(a.body, "<script") || strings.Contains(a.body, "<b>") {
			t.Errorf("%s: %d %s", page, a.status, a.body)
		}
	}
	if a := w.send("DELETE", link, "", nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", a.status)
	}
	if text := w.log.String(); strings.Contains(text, strings.TrimPrefix(link, "/s/")) {
		t.Error("the log has the token of a link")
	}
}

func TestSurveyScores(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	w.exec("UPDATE hospitals SET contact_cap_surveys = 100")
	scores := func(query string) map[string]any {
		t.Helper()
		results := w.expect(t, http.StatusOK, "GET", "/api/surveys/scores/"+query, w.admin.access, nil).json()["results"].([]any)
		if len(results) != 1 {
			t.Fatalf("%s: %v", query, results)
		}
		return results[0].(map[string]any)
	}
	complete := func(encounter, value string) {
		w.completed(t, encounter)
		w.step(t)
		path := strings.Replace(w.sms.link(t), "/s/", "/api/surveys/public/", 1) + "/"
		var public struct {
			Sections []struct{ Questions []struct{ ID string } }
		}
		must(t, json.Unmarshal([]byte(w.send("GET", path, "", nil).body), &public))
		a := w.expect(t, http.StatusOK, "POST", path, "", fields{"complete": true, "answers": []fields{{"section": 1, "question": public.Sections[0].Questions[0].ID, "answer": []string{value}}}})
		if done := a.json(); done["status"] != "completed" || len(done["sections"].([]any)) != 0 {
			t.Errorf("completed: %v", done)
		}
	}
	for i, value := range []string{"5", "4", "2", "5"} {
		complete(string(rune('a'+i)), value)
	}
	w.completed(t, "unanswered")
	w.step(t)
	if s := scores(""); jsonText(s["sent"]) != "5" || jsonText(s["completed"]) != "4" || s["response_rate"] != "0.80" || s["average"] != nil {
		t.Errorf("of four: %v", s)
	}
	complete("z", "3")
	s := scores("?group_by=hospital")
	if s["csat"] != "0.60" || s["top_box"] != "0.40" || s["average"] != "3.80" || s["nps"] != nil || s["group"] != w.hospital.String() {
		t.Errorf("of five: %v", s)
	}
	for _, by := range []string{"day", "month", "journey_type"} {
		if s := scores("?group_by=" + by); jsonText(s["completed"]) != "5" || s["group"] == "" {
			t.Errorf("by %s: %v", by, s)
		}
	}
	for query, answer := range map[string]string{
		"?from=2026-01-02&to=2026-01-01": `{"to":["It must not be before from."]}`,
		"?from=2020-01-01&to=2026-01-01": `{"from":["Ask for at most 731 days."]}`,
		"?from=yesterday":                `{"from":["Enter a valid date."]}`,
	} {
		if a := w.expect(t, http.StatusBadRequest, "GET", "/api/surveys/scores/"+query, w.admin.access, nil); canonical(t, a.body) != answer {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}

// One survey about the whole visit has a section for each completed stage with an active template, and then its own.
func TestSurveyOfVisit(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	doctor, lab, retired, visit := w.Survey(), w.Survey(), w.Survey(), w.Survey()
	w.exec("UPDATE survey_templates SET is_active = false WHERE id = $1", retired)
	template := w.Template(sendsSurvey(doctor, 0), sendsSurvey(lab, 5), sendsSurvey(retired, 0), func(s *stageTemplate) { optional(s); sendsSurvey(doctor, 0)(s) })
	path := "/api/journeys/templates/" + template.String() + "/"
	a := w.expect(t, http.StatusBadRequest, "PATCH", path, w.admin.access, fields{"send_post_discharge_survey": true})
	if canonical(t, a.body) != `{"post_discharge_survey_template":["This field is required."]}` {
		t.Errorf("without a template: %s", a.body)
	}
	w.expect(t, http.StatusOK, "PATCH", path, w.admin.access, fields{"send_post_discharge_survey": true, "post_discharge_survey_template": visit})
	j := w.journey(template, "1")
	w.exec("UPDATE patients SET phone = '0501234567'")
	w.expect(t, http.StatusOK, "PATCH", path, w.admin.access, fields{"send_post_discharge_survey": false}) // the journey has begun
	for stage := 1; stage <= 2; stage++ {
		j.setStage(stage, "completed").ok(t)
	}
	if n := value[int](w.system, "SELECT count(*) FROM surveys"); n != 0 {
		t.Errorf("%d surveys are scheduled before the visit is over", n)
	}
	j.setStage(3, "completed").ok(t)
	id := value[uuid.UUID](w.system, "SELECT id FROM surveys WHERE stage_instance_id IS NULL")
	w.step(t)
	for i, stage := range j.stages() {
		if want := i < 2; stage.SurveySent != want {
			t.Errorf("stage %d: survey sent %v, want %v", i+1, stage.SurveySent, want)
		}
	}
	link := w.sms.link(t)
	sections := func() []any {
		return w.expect(t, http.StatusOK, "GET", strings.Replace(link, "/s/", "/api/surveys/public/", 1)+"/", "", nil).json()["sections"].([]any)
	}
	if n := len(sections()); n != 3 {
		t.Fatalf("%d sections, want one for each stage with an active template and one for the visit", n)
	}
	post := func(page int, values, button string) answer {
		question := sections()[page-1].(map[string]any)["questions"].([]any)[0].(map[string]any)["id"].(string)
		form := url.Values{"go": {button}}
		if values != "" {
			form.Set("q-"+question, values)
		}
		return w.send("POST", fmt.Sprintf("%s?lang=en&page=%d", link, page), "", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	if a := post(1, "", "next"); a.status != http.StatusUnprocessableEntity {
		t.Errorf("the first page without an answer: %d", a.status)
	}
	if a := post(1, "5", "next"); !strings.Contains(a.body, "2 / 3") {
		t.Errorf("after the first page: %d %s", a.status, a.body)
	}
	if a := post(2, "1", "back"); !strings.Contains(a.body, "1 / 3") {
		t.Errorf("back: %d %s", a.status, a.body)
	}
	// On another device it goes on where something is missing.
	if a := w.send("GET", link, "", nil); !strings.Contains(a.body, "3 / 3") {
		t.Errorf("resumed at %s", a.body)
	}
	if a := post(3, "3", "finish"); a.status != http.StatusOK || !strings.Contains(a.body, "Thank you") {
		t.Errorf("finished: %d %s", a.status, a.body)
	}
	if s := w.survey(t, id); s["total_score"] != "3.00" || len(s["answers"].([]any)) != 3 || s["stage_instance"] != nil {
		t.Errorf("completed: %v", s)
	}
}
