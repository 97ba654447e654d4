package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/px360/px360/gen/client"
)

// A hospital system tells that a visit is over. It sends with the key of its integration config, and gives its own
// message id, so that the same event is never stored twice. A refusal names the fields that are wrong.
func Example() {
	url, key, messageID := demoServer.URL, "the key", "MSG-000123"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	px, err := client.New(url, client.WithAPIKey(key))
	if err != nil {
		log.Fatal(err)
	}
	event, err := px.CreateEvent(ctx, client.EventCreate{
		SourceSystem:      "his",
		EventCode:         "OPD_VISIT_COMPLETED",
		EncounterID:       "ENC20251214001",
		PatientIdentifier: client.Ptr("MRN123456"),
		PayloadJSON:       json.RawMessage(`{"physician_license": "PHY001", "timestamp": "2025-12-14T10:45:00Z"}`),
		SourceEventID:     &messageID,
	})
	var failure *client.Error
	switch {
	case errors.As(err, &failure) && failure.Status == http.StatusBadRequest:
		fmt.Println("wrong:", failure.Fields)
	case err != nil:
		log.Print(err)
	default:
		fmt.Println("stored as", event.ID, "- before:", event.Duplicate)
	}
	// Output: stored as 0193c5a0-7a00-7000-8000-000000000009 - before: false
}

// A refusal has the messages by field.
func ExampleError() {
	px, err := client.New(demoServer.URL, client.WithPassword("registrar", "its password"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = px.CreatePatient(context.Background(), client.PatientCreate{
		MRN: "MRN123456", FirstName: "Sara", LastName: "Al-Otaibi", Gender: client.Ptr(client.Gender("F")),
	})
	var failure *client.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Status, failure.Field("gender"))
		fmt.Println("done:", failure.MaybeDone, "- for the support:", failure.RequestID)
	}
	// Output:
	// 400 "F" is not a valid choice.
	// done: false - for the support: 0193c5a07a0070008000000000000001
}

// A registrar creates a patient and reads it back.
func ExampleClient_CreatePatient() {
	ctx := context.Background()
	px, err := client.New(demoServer.URL, client.WithPassword("registrar", "its password"))
	if err != nil {
		log.Fatal(err)
	}
	created, err := px.CreatePatient(ctx, client.PatientCreate{
		MRN:         "MRN123456",
		FirstName:   "Sara",
		LastName:    "Al-Otaibi",
		Gender:      client.Ptr(client.GenderFemale),
		DateOfBirth: client.Value("1990-05-17"),
	})
	if err != nil {
		log.Fatal(err)
	}
	patient, err := px.RetrievePatient(ctx, created.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(patient.MRN, patient.FirstName, patient.LastName)
	// Output: MRN123456 Sara Al-Otaibi
}

// A dashboard looks at the active journeys and shows how far each has come.
func ExampleClient_AllJourneyInstances() {
	ctx := context.Background()
	px, err := client.New(demoServer.URL, client.WithPassword("dashboard", "its password"))
	if err != nil {
		log.Fatal(err)
	}
	active := &client.ListJourneyInstancesParams{Status: client.Ptr(client.JourneyStatusActive)}
	for journey, err := range px.AllJourneyInstances(ctx, active) {
		if err != nil {
			log.Fatal(err)
		}
		progress, err := px.RetrieveJourneyProgress(ctx, journey.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %d %%\n", progress.EncounterID, progress.CompletionPercentage)
	}
	// Output:
	// ENC20251214001: 50 %
}

// A night's export is sent as a whole. What is refused is reported by its index.
func ExampleClient_SendEvents() {
	px, err := client.New(demoServer.URL, client.WithAPIKey("the key"), client.WithMaxWait(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	events := []client.EventCreate{
		{SourceSystem: "his", EventCode: "OPD_VISIT_COMPLETED", EncounterID: "ENC20251214001", SourceEventID: client.Ptr("MSG-1")},
		{SourceSystem: "his", EventCode: "OPD_VISIT_COMPLETED", EncounterID: "", SourceEventID: client.Ptr("MSG-2")},
	}
	report, err := px.SendEvents(context.Background(), events)
	if err != nil {
		log.Printf("go on from event %d: %v", report.Resume(), err)
	}
	fmt.Println(report.Created, "created,", report.Duplicates, "sent before,", report.Refused, "refused")
	for i, event := range report.Events {
		if event.Outcome == client.OutcomeRefused {
			fmt.Println(*events[i].SourceEventID, event.Fields)
		}
	}
	// Output:
	// 1 created, 0 sent before, 1 refused
	// MSG-2 map[encounter_id:[This field may not be blank.]]
}

// demoServer gives the answers that the examples are about.
var demoServer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	const id = "0193c5a0-7a00-7000-8000-000000000009"
	const patient = `{"id": "` + id + `", "mrn": "MRN123456", "first_name": "Sara", "last_name": "Al-Otaibi"}`
	answers := map[string]struct {
		status int
		body   string
	}{
		"POST /api/auth/token/":                            {200, `{"access": "a.b.c", "refresh": "d.e.f"}`},
		"POST /api/integrations/events/":                   {201, `{"id": "` + id + `", "status": "pending"}`},
		"POST /api/integrations/events/bulk_create/":       {201, `{"created": 1, "failed": 1, "duplicates": 0, "errors": [{"index": 1, "errors": {"encounter_id": ["This field may not be blank."]}}]}`},
		"POST /api/organizations/patients/":                {201, patient},
		"GET /api/organizations/patients/" + id + "/":      {200, patient},
		"GET /api/journeys/instances/":                     {200, `{"count": 1, "next": null, "previous": null, "results": [{"id": "` + id + `"}]}`},
		"GET /api/journeys/instances/" + id + "/progress/": {200, `{"encounter_id": "ENC20251214001", "completion_percentage": 50}`},
	}
	answer, ok := answers[r.Method+" "+r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	var body struct{ Gender string }
	if _ = json.NewDecoder(r.Body).Decode(&body); body.Gender == "F" {
		answer.status, answer.body = 400, `{"gender": ["\"F\" is not a valid choice."]}`
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-ID", "0193c5a07a0070008000000000000001")
	w.WriteHeader(answer.status)
	fmt.Fprint(w, answer.body)
}))

// A partner's server hears of what happens.
func ExampleParseWebhook() {
	secret := os.Getenv("PX360_WEBHOOK_SECRET") // as the endpoint's creation showed it
	http.HandleFunc("POST /px360", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			return
		}
		webhook, err := client.ParseWebhook(body, r.Header, secret)
		if err != nil {
			http.Error(w, "not from PX360", http.StatusBadRequest)
			return
		}
		switch event := webhook.(type) {
		case *client.SLABreached:
			fmt.Println("too late:", event.Data.URL, "version", event.Data.Version)
		case *client.SurveyCompleted:
			fmt.Println("answered:", event.Data.URL)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
