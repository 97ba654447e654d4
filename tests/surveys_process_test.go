package tests

import (
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/dbtest"
)

// A postOffice is an SMTP server that keeps what it gets.
type postOffice struct {
	mu    sync.Mutex
	mail  []letter
	stage func(stage string) // called at each step of a session, without the lock
}

type letter struct{ id, to, text string }

func (p *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) { return &posting{p, ""}, nil }

type posting struct {
	office *postOffice
	to     string
}

func (s *posting) Reset()        {}
func (s *posting) Logout() error { return nil }

func (s *posting) Mail(string, *smtp.MailOptions) error {
	s.office.reached("mail")
	return nil
}

func (s *posting) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *posting) Data(r io.Reader) error {
	s.office.reached("data")
	message, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(message.Body))
	if err != nil {
		return err
	}
	s.office.mu.Lock()
	s.office.mail = append(s.office.mail, letter{message.Header.Get("Message-ID"), s.to, string(text)})
	s.office.mu.Unlock()
	s.office.reached("accepted")
	return nil
}

func (p *postOffice) reached(stage string) {
	if p.stage != nil {
		p.stage(stage)
	}
}

func (p *postOffice) letters() []letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]letter{}, p.mail...)
}

// open starts the server, and returns its address.
func (p *postOffice) open(t *testing.T) string {
	t.Helper()
	server := smtp.NewServer(p)
	server.Domain = "localhost"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// A deployment is serve and work as processes of their own, on a database of its own.
type deployment struct {
	*system
	program     string
	environment []string
	address     string // of serve
	mu          sync.Mutex
	server      *exec.Cmd
	worker      *exec.Cmd
}

func deploy(t *testing.T, mailServer string, environment ...string) *deployment {
	t.Helper()
	d := &deployment{system: &system{t: t, dbURL: dbtest.New(t), log: &logBuffer{}}, program: builtProgram(t)}
	pool, err := pgxpool.New(t.Context(), d.dbURL)
	must(t, err)
	t.Cleanup(pool.Close)
	d.address = freeAddress(t)
	d.db, d.url = pool, "http://"+d.address
	d.environment = append(os.Environ(), "PX360_DATABASE_URL="+d.dbURL, "PX360_SECRET_KEY="+signingKey, "PX360_PUBLIC_URL="+d.url, "PX360_RATE_LIMITS=off",
		"PX360_SMTP_URL=smtp://"+mailServer+"?starttls=off", "PX360_EMAIL_FROM=px@hospital.example")
	d.environment = append(d.environment, environment...)
	create := exec.CommandContext(t.Context(), d.program, "user", "create-admin", adminName)
	create.Env, create.Stdin = d.environment, strings.NewReader(adminPassword+"\n")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.server = d.start("serve", d.address)
	t.Cleanup(func() { _ = d.server.Process.Signal(os.Interrupt); _ = d.server.Wait() })
	d.awaitReady(d.url)
	d.admin = d.login(adminName, adminPassword)
	d.worker = d.start("work", freeAddress(t))
	t.Cleanup(func() { _ = d.worker.Process.Signal(os.Interrupt); _ = d.worker.Wait() })
	return d
}

func (d *deployment) start(command, address string) *exec.Cmd {
	d.t.Helper()
	process := exec.Command(d.program, command)
	process.Env, process.Stderr = append(d.environment, "PX360_ADDR="+address), d.log
	must(d.t, process.Start())
	return process
}

func (d *deployment) awaitReady(url string) {
	d.t.Helper()
	dbtest.Eventually(d.t, "the process is ready", func() bool {
		res, err := http.Get(url + "/readyz/")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// killWorker ends the worker as kill -9 does, and starts another.
func (d *deployment) killWorker() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.worker.Process.Kill()
	_ = d.worker.Wait()
	d.worker = d.start("work", freeAddress(d.t))
}

// killServer ends the server as kill -9 does, and starts another.
func (d *deployment) killServer() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.server.Process.Kill()
	_ = d.server.Wait()
	d.server = d.start("serve", d.address)
	d.awaitReady(d.url)
}

// asks makes a hospital whose discharge sends a survey at once, at any time of day. It returns its journey template.
func (d *deployment) asks(t *testing.T, language client.Language) (hospital, template uuid.UUID) {
	t.Helper()
	ctx := t.Context()
	hospital = try(d.admin.CreateHospital(ctx, client.HospitalCreate{Name: "AlHammadi", NameAr: client.Ptr("الحمادي"), Code: unique("H")})).ok(t).ID
	never := client.QuietHours{Start: "00:00", End: "00:00"}
	try(d.admin.UpdateHospitalSettings(ctx, hospital, client.HospitalSettingsUpdate{Language: &language, QuietHours: &never})).ok(t)
	questions := []client.SurveyQuestionWrite{{Text: "How was it?", TextAr: client.Ptr("كيف كان؟"), QuestionType: client.QuestionTypeRating, IsRequired: client.Ptr(true)}}
	survey := try(d.admin.CreateSurveyTemplate(ctx, client.SurveyTemplateCreate{Hospital: hospital, Name: "Discharge", Questions: questions})).ok(t).ID
	template = try(d.admin.CreateJourneyTemplate(ctx, client.JourneyTemplateCreate{Hospital: hospital, Name: "Stay", JourneyType: client.JourneyTypeInpatient})).ok(t).ID
	try(d.admin.CreateStageTemplate(ctx, client.StageTemplateCreate{
		JourneyTemplate: template, Name: "Discharge", Code: "OUT", Order: 1, TriggerEventCode: "DISCHARGED", SurveyTemplate: client.Value(survey), AutoSendSurvey: client.Ptr(true),
	})).ok(t)
	return hospital, template
}

// discharge has a patient admitted and discharged.
func (d *deployment) discharge(t *testing.T, hospital, template uuid.UUID, name string) {
	t.Helper()
	ctx := t.Context()
	patient := try(d.admin.CreatePatient(ctx, client.PatientCreate{
		PrimaryHospital: client.Value(hospital), MRN: name, FirstName: name, LastName: "Patient", Email: client.Ptr(name + "@patients.example"),
	})).ok(t).ID
	try(d.admin.CreateJourneyInstance(ctx, client.JourneyInstanceCreate{Hospital: hospital, JourneyTemplate: template, Patient: patient, EncounterID: name})).ok(t)
	try(d.admin.CreateEvent(ctx, client.EventCreate{SourceSystem: "his", EventCode: "DISCHARGED", EncounterID: name})).ok(t)
}

var linkInText = regexp.MustCompile(`http://[^\s]+/s/[A-Za-z0-9_-]{22}`)

// One patient in each language, from the event to the score, through real processes.
func TestSurveyThroughProcesses(t *testing.T) {
	t.Parallel()
	office := &postOffice{}
	d := deploy(t, office.open(t))
	for language, want := range map[client.Language][3]string{
		client.LanguageEn: {`lang="en" dir="ltr"`, "How was it?", "Thank you"}, client.LanguageAr: {`lang="ar" dir="rtl"`, "كيف كان؟", "شكرًا لك"},
	} {
		hospital, template := d.asks(t, language)
		name := unique(string(language))
		d.discharge(t, hospital, template, name)
		var link string
		dbtest.Eventually(t, "the email", func() bool {
			for _, l := range office.letters() {
				if l.to == strings.ToLower(name)+"@patients.example" {
					link = linkInText.FindString(l.text)
				}
			}
			return link != ""
		})
		page := getPage(t, link)
		for _, text := range want[:2] {
			if !strings.Contains(page, text) {
				t.Errorf("%s: no %q in %s", language, text, page)
			}
		}
		question := regexp.MustCompile(`name="(q-[0-9a-f-]+)"`).FindStringSubmatch(page)[1]
		action := regexp.MustCompile(`method="post" action="([^"]+)"`).FindStringSubmatch(page)[1]
		res, err := http.PostForm(d.url+strings.ReplaceAll(action, "&amp;", "&"), url.Values{question: {"4"}, "go": {"finish"}})
		must(t, err)
		thanks, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.Contains(string(thanks), want[2]) {
			t.Errorf("%s: answered %d %s", language, res.StatusCode, thanks)
		}
		list := try(d.admin.ListSurveyInstances(t.Context(), &client.ListSurveyInstancesParams{Hospital: &hospital})).ok(t)
		if s := list.Results[0]; s.Status != client.SurveyStatusCompleted || s.TotalScore == nil || *s.TotalScore != "4.00" || s.Language != string(language) {
			t.Errorf("%s: the survey is %+v", language, s)
		}
		scores := try(d.admin.RetrieveSurveyScores(t.Context(), &client.RetrieveSurveyScoresParams{Hospital: &hospital})).ok(t)
		if len(scores.Results) != 1 || scores.Results[0].Completed != 1 || scores.Results[0].ResponseRate != "1.00" {
			t.Errorf("%s: scores %+v", language, scores)
		}
	}
}

func getPage(t *testing.T, address string) string {
	t.Helper()
	res, err := http.Get(address)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return string(text)
}

// A worker that is killed at any step loses no survey and sends none twice; what it repeats is the same message, with
// the same link.
func TestSurveysSurviveKills(t *testing.T) {
	t.Parallel()
	office := &postOffice{}
	stages := make(chan string)
	office.stage = func(stage string) { stages <- stage }
	d := deploy(t, office.open(t))
	hospital, template := d.asks(t, client.LanguageEn)
	const patients = 8
	for i := range patients {
		d.discharge(t, hospital, template, fmt.Sprintf("kill%d", i))
	}
	kills, done, finished := map[string]int{}, make(chan struct{}), make(chan error, 1)
	go func() { // kills at each stage a few times, the worker that is at it
		steps := 0
		for {
			select {
			case stage := <-stages:
				if steps++; kills[stage] < 2 && steps%2 == 0 {
					kills[stage]++
					d.killWorker()
				}
			case <-done:
				finished <- nil
				return
			}
		}
	}()
	sent := func() bool {
		// Nobody waits two minutes for a worker that is gone.
		d.exec("UPDATE survey_messages SET next_at = now() WHERE status = 'sending' AND next_at < now() + interval '118 seconds'")
		d.exec("UPDATE survey_messages SET next_at = now() WHERE status = 'queued'")
		return value[int](d.system, "SELECT count(*) FROM surveys WHERE status = 'sent'") == patients
	}
	dbtest.Eventually(t, "every survey is sent", sent)
	close(done)
	must(t, <-finished)
	go func() {
		for range stages { // whatever comes later
		}
	}()
	if len(kills) < 3 {
		t.Errorf("killed at %v only", kills)
	}
	if n := value[int](d.system, "SELECT count(*) FROM surveys WHERE status = 'sent'"); n != patients {
		t.Errorf("%d of %d surveys were sent: %s", n, patients, value[string](d.system, "SELECT jsonb_agg(jsonb_build_array(status, reason))::text FROM surveys"))
	}
	if n := value[int](d.system, "SELECT count(*) FROM survey_messages"); n != patients {
		t.Errorf("%d messages for %d surveys", n, patients)
	}
	links, addresses := map[string]string{}, map[string]bool{}
	for _, l := range office.letters() {
		link := linkInText.FindString(l.text)
		if before, found := links[l.id]; found && before != link {
			t.Errorf("the message %s was sent with two links", l.id)
		}
		links[l.id], addresses[l.to] = link, true
	}
	if len(links) != patients || len(addresses) != patients {
		t.Errorf("%d different messages went to %d addresses, of %d patients; %d in all, killed at %v", len(links), len(addresses), patients, len(office.letters()), kills)
	}
	t.Logf("%d messages in all, killed at %v", len(office.letters()), kills)
}
