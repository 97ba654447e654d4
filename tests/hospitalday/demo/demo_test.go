package demo

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const address = "http://px360.test"

// run runs the day against the fake server.
func run(t *testing.T, f *fake) *Summary {
	t.Helper()
	summary, err := Run(t.Context(), Options{URL: address, Username: "admin", Password: "secret", doer: f})
	if err != nil {
		t.Fatal(err)
	}
	return summary
}

// wantDay checks the counts of the day's README.
func wantDay(t *testing.T, f *fake) {
	t.Helper()
	for path, want := range map[string]int{
		"/api/organizations/hospitals/":   1,
		"/api/organizations/departments/": 9,
		"/api/organizations/physicians/":  18,
		"/api/organizations/patients/":    1028,
		"/api/surveys/templates/":         2,
		"/api/journeys/templates/":        3,
		"/api/journeys/stage-templates/":  14,
		"/api/journeys/instances/":        1014,
		eventsPath:                        6355 - 973,
	} {
		if got := len(f.rows[path]); got != want {
			t.Errorf("%s has %d rows, want %d", path, got, want)
		}
	}
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	first := run(t, f)
	wantDay(t, f)
	if first.Accepted != 5382 || first.Duplicates != 10 || first.Refused != 981 {
		t.Errorf("first: %d accepted, %d duplicates, %d refused", first.Accepted, first.Duplicates, first.Refused)
	}
	if got := first.RefusedFor["encounter_id: This field may not be blank."]; got != 981 {
		t.Errorf("refused for %v", first.RefusedFor)
	}
	if first.Outcomes[Outcome{"processed", ""}] != 5382 || first.Journeys["active"] != 1014 {
		t.Errorf("outcomes %v, journeys %v", first.Outcomes, first.Journeys)
	}

	posts := maps.Clone(f.made)
	second := run(t, f)
	wantDay(t, f)
	if second.Accepted != 0 || second.Duplicates != 5392 || second.Refused != 981 {
		t.Errorf("second: %d accepted, %d duplicates, %d refused", second.Accepted, second.Duplicates, second.Refused)
	}
	for _, made := range second.Catalogue {
		if made.Created != 0 {
			t.Errorf("second: %d %s created", made.Created, made.Noun)
		}
	}
	delete(f.made, eventsPath)
	delete(posts, eventsPath)
	if !maps.Equal(f.made, posts) {
		t.Errorf("second: asked to create what is there: %v, then %v", posts, f.made)
	}
}

// One in ten answers is lost after the row was stored, except for templates, whose creation is not
// idempotent and so not retried.
func TestRunWithLostAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, count := newFake(t), 0
		f.lose = func(path string) bool {
			count++
			return count%10 == 0 && !strings.Contains(path, "/templates/")
		}
		run(t, f)
		wantDay(t, f)
	})
}

func TestRunReportsWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, refused := newFake(t), false
		f.refuse = func(path string) bool {
			first := !refused && strings.Contains(path, "bulk_create")
			refused = refused || first
			return first
		}
		var out bytes.Buffer
		_, err := Run(t.Context(), Options{URL: address, Username: "admin", Password: "secret", Progress: &out, doer: f})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"patients: 1028 created, 0 there before\n",
			"events (the server's rate limit asks to wait 37s, until ",
			"events: 5382 accepted, 10 sent before, 981 refused\n",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in:\n%s", want, out.String())
			}
		}
	})
}

func TestNoWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.workerStopped = true
		_, err := Run(t.Context(), Options{URL: address, Username: "admin", Password: "secret", doer: f})
		if err == nil || !strings.Contains(err.Error(), "is a worker running?") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	err := withAdvice(dialError(t, server.URL), server.URL)
	if !strings.Contains(err.Error(), "is PX360 running at "+server.URL) {
		t.Errorf("got %v", err)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	summary := Summary{
		URL: "http://127.0.0.1:8000", Hospital: "DEMO",
		Catalogue: []Made{{"patients", 1000, 28}, {"journeys", 507, 0}},
		Accepted:  5382, Duplicates: 10, Refused: 981,
		RefusedFor: map[string]int{"encounter_id: This field may not be blank.": 981},
		Outcomes: map[Outcome]int{
			{"processed", ""}: 2298, {"ignored", "no_stage"}: 653, {"ignored", "stage_done"}: 2395, {"failed", "department_missing"}: 10,
		},
		Journeys: map[string]int{"active": 537, "completed": 477},
		Surveys:  574,
		Actions:  map[string]int{"open": 121, "closed": 1}, Breached: 1, Webhooks: map[string]int{"survey.sent": 542, "sla.breached": 1}, WrongWebhooks: 2,
		CatalogueTime: 9 * time.Second, SendTime: 2 * time.Second, ApplyTime: 4 * time.Second,
	}
	var out strings.Builder
	if err := summary.Write(&out); err != nil {
		t.Fatal(err)
	}
	const want = `A hospital day at http://127.0.0.1:8000, hospital DEMO

set up      created  there before
  patients  1000     28
  journeys  507      0

events sent  6373
  accepted   5382
  duplicate  10   stored before, known by the source_event_id
  refused    981  encounter_id: This field may not be blank.

what became of them  5356
  ignored            2395  stage_done
  processed          2298  
  ignored            653   no_stage
  failed             10    department_missing

journeys           1014
  active           537
  completed        477
surveys scheduled  574

actions             122
  open              121
  closed            1
  of them breached  1
webhooks verified   543
  survey.sent       542
  sla.breached      1
webhooks refused    2

setting up             9.0 s
sending                2.0 s  2691 events accepted per second
until all was applied  4.0 s  1346 events applied per second
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func dialError(t *testing.T, url string) error {
	t.Helper()
	response, err := http.Get(url)
	if err == nil {
		response.Body.Close()
		t.Fatal("something answers")
	}
	return err
}
