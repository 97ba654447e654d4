package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// store is a doer that keeps events as the server does. It refuses those without an encounter.
type store struct {
	t        *testing.T
	sizes    []int // events of each request
	seen     map[string]bool
	maxBytes int64
	answer   func(request int) (*http.Response, error) // nil, nil: as the server does
}

func (s *store) Do(r *http.Request) (*http.Response, error) {
	var body struct{ Events []EventCreate }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		s.t.Error(err)
	}
	if r.ContentLength > 5<<20 || len(body.Events) > 1000 {
		s.t.Errorf("%d events in %d bytes", len(body.Events), r.ContentLength)
	}
	s.sizes = append(s.sizes, len(body.Events))
	if s.maxBytes > 0 && r.ContentLength > s.maxBytes {
		return answer(413, `{"detail": "Request body too large."}`), nil
	}
	if s.answer != nil {
		if response, err := s.answer(len(s.sizes)); response != nil || err != nil {
			return response, err
		}
	}
	var result EventBulkResult
	for i, event := range body.Events {
		switch {
		case event.EncounterID == "":
			result.Failed++
			result.Errors = append(result.Errors, EventBulkError{
				Index: int32(i), Errors: FieldErrors{"encounter_id": []any{"This field may not be blank."}},
			})
		case event.SourceEventID != nil && s.seen[*event.SourceEventID]:
			result.Duplicates++
		default:
			result.Created++
			if event.SourceEventID != nil {
				s.seen[*event.SourceEventID] = true
			}
		}
	}
	status := 201
	if result.Created == 0 {
		status = 200
		if result.Duplicates == 0 {
			status = 400
		}
	}
	text, err := json.Marshal(result)
	return answer(status, string(text)), err
}

func storing(t *testing.T) (*Client, *store) {
	s := &store{t: t, seen: map[string]bool{}}
	api, _, _ := retrying(t)
	api.doer = s
	return api, s
}

func someEvents(n int) []EventCreate {
	events := make([]EventCreate, n)
	for i := range events {
		events[i] = EventCreate{SourceSystem: "his", EventCode: "X", EncounterID: "E1", SourceEventID: Ptr(fmt.Sprint("M", i))}
	}
	return events
}

// wantCount wants these counts of a report: created, duplicates, refused, unknown, unsent.
func wantCount(t *testing.T, r BulkReport, want [5]int) {
	t.Helper()
	if got := [5]int{r.Created, r.Duplicates, r.Refused, r.Unknown, r.Unsent}; got != want {
		t.Errorf("counted %v, want %v", got, want)
	}
	outcomes := map[Outcome]int{}
	for _, e := range r.Events {
		outcomes[e.Outcome]++
		if (e.Outcome == OutcomeRefused) != (len(e.Fields) > 0) {
			t.Errorf("%s for %v", e.Outcome, e.Fields)
		}
	}
	stored := outcomes[OutcomeCreated] + outcomes[OutcomeDuplicate] + outcomes[OutcomeStored]
	if stored != want[0]+want[1] || outcomes[OutcomeRefused] != want[2] || outcomes[OutcomeUnknown] != want[3] || outcomes[OutcomeUnsent] != want[4] {
		t.Errorf("the events are %v", outcomes)
	}
}

func TestSendEvents(t *testing.T) {
	t.Parallel()
	api, s := storing(t)
	events := someEvents(2500)
	events[1000].EncounterID, events[2499].EncounterID = "", ""
	events[7].PayloadJSON = json.RawMessage(`{no JSON`)
	report, err := api.SendEvents(t.Context(), events)
	if err != nil || report.Resume() != 2500 {
		t.Fatal(err, report.Resume())
	}
	wantCount(t, report, [5]int{2497, 0, 3, 0, 0})
	if fmt.Sprint(s.sizes) != "[1000 1000 499]" {
		t.Errorf("sent %v", s.sizes)
	}
	if got := report.Events[1000].Fields["encounter_id"]; len(got) != 1 || got[0] != "This field may not be blank." {
		t.Errorf("refused for %v", report.Events[1000].Fields)
	}
	if report.Events[0].Outcome != OutcomeCreated || report.Events[7].Outcome != OutcomeRefused {
		t.Errorf("the events are %v and %v", report.Events[0], report.Events[7])
	}
	again, err := api.SendEvents(t.Context(), append(events[:5], someEvents(5001)[5000], EventCreate{EncounterID: "E"}))
	if err != nil {
		t.Fatal(err)
	}
	wantCount(t, again, [5]int{2, 5, 0, 0, 0})
	if again.Events[0].Outcome != OutcomeStored || again.Events[6].Outcome != OutcomeCreated {
		t.Errorf("the events are %v and %v", again.Events[0], again.Events[6])
	}
	same, err := api.SendEvents(t.Context(), events[:5])
	if err != nil || same.Events[0].Outcome != OutcomeDuplicate {
		t.Errorf("the event is %v: %v", same.Events[0], err)
	}
	none, err := api.SendEvents(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantCount(t, none, [5]int{})
}

// That every event is refused is a 400 of the server, and a report all the same.
func TestSendEventsThatAreAllRefused(t *testing.T) {
	t.Parallel()
	api, _ := storing(t)
	report, err := api.SendEvents(t.Context(), make([]EventCreate, 3))
	if err != nil {
		t.Fatal(err)
	}
	wantCount(t, report, [5]int{0, 0, 3, 0, 0})
	var answer Answer
	result, err := api.BulkCreateEvents(t.Context(), EventBulkCreate{Events: make([]EventCreate, 3)}, WithAnswer(&answer))
	if err != nil || result.Failed != 3 || answer.Status != 400 || answer.Header == nil {
		t.Errorf("got %v with %+v, %v", result, answer, err)
	}
}

func TestSendLargeEvents(t *testing.T) {
	t.Parallel()
	api, s := storing(t)
	events := someEvents(5)
	for i := range events {
		events[i].PayloadJSON = json.RawMessage(`"` + strings.Repeat("x", 2_000_000) + `"`)
	}
	if _, err := api.SendEvents(t.Context(), events); err != nil || fmt.Sprint(s.sizes) != "[2 2 1]" {
		t.Errorf("sent %v: %v", s.sizes, err)
	}
	// A proxy takes less than the server: requests are halved, and an event that is too large by itself is refused.
	api, s = storing(t)
	s.maxBytes = 1500
	events = someEvents(40)
	events[13].PayloadJSON = json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)
	report, err := api.SendEvents(t.Context(), events)
	if err != nil || report.Events[13].Outcome != OutcomeRefused {
		t.Errorf("sent %v: %v", s.sizes, err)
	}
	wantCount(t, report, [5]int{39, 0, 1, 0, 0})
}

func TestSendEventsStops(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  func() (*http.Response, error)
		tries   int
		outcome Outcome
		counts  [5]int
	}{
		"forbidden":    {says(403), 1, OutcomeUnsent, [5]int{1000, 0, 0, 0, 1500}},
		"lost":         {fails(reset), 5, OutcomeUnknown, [5]int{1000, 0, 0, 1000, 500}},
		"uncounted":    {says(201), 1, OutcomeUnknown, [5]int{1000, 0, 0, 1000, 500}},
		"wrong body":   {says(400), 1, OutcomeUnsent, [5]int{1000, 0, 0, 0, 1500}},
		"rate limited": {says(429, "Retry-After", "3600"), 1, OutcomeUnsent, [5]int{1000, 0, 0, 0, 1500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, s := storing(t)
			s.answer = func(request int) (*http.Response, error) {
				if request == 1 {
					return nil, nil
				}
				return test.answer()
			}
			report, err := api.SendEvents(t.Context(), someEvents(2500))
			if _, ok := asError[*Error](err); !ok || !strings.HasPrefix(err.Error(), "send events 1000 to 1999: ") {
				t.Errorf("got %v", err)
			}
			if report.Resume() != 1000 || report.Events[1000].Outcome != test.outcome || len(s.sizes) != 1+test.tries {
				t.Errorf("go on from %d, which is %s, after %d requests", report.Resume(), report.Events[1000].Outcome, len(s.sizes))
			}
			wantCount(t, report, test.counts)
		})
	}
}

func TestSendEventsUnderOwnKey(t *testing.T) {
	t.Parallel()
	counted := func(n int) func() (*http.Response, error) {
		return func() (*http.Response, error) { return answer(201, fmt.Sprintf(`{"created": %d}`, n)), nil }
	}
	api, doer, _ := retrying(t, fails(reset), counted(1000), counted(1))
	if _, err := api.SendEvents(t.Context(), someEvents(1001), WithIdempotencyKey("night")); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(doer.keys); got != "[night/0-999 night/0-999 night/1000-1000]" {
		t.Errorf("sent the keys %s", got)
	}
}

func TestSendEventsWarnings(t *testing.T) {
	t.Parallel()
	warned := func() (*http.Response, error) {
		return answer(201, `{"created": 2, "warnings": [{"index": 1, "warnings": ["The timestamp cannot be read."]}]}`), nil
	}
	api, _, _ := retrying(t, warned)
	report, err := api.SendEvents(t.Context(), someEvents(2))
	if err != nil || len(report.Events[0].Warnings) != 0 || len(report.Events[1].Warnings) != 1 {
		t.Errorf("got %v, %v", report, err)
	}
}

func TestCreateEventTellsDuplicates(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{200: true, 201: false} {
		api, _, _ := retrying(t, says(status))
		event, err := api.CreateEvent(t.Context(), EventCreate{})
		if err != nil || event.Duplicate != want {
			t.Errorf("%d: %v, %v", status, event, err)
		}
	}
	api, _, _ := retrying(t, fails(errors.New("lost")))
	if event, err := api.CreateEvent(t.Context(), EventCreate{}); event != nil || err == nil {
		t.Errorf("got %v, %v", event, err)
	}
}
