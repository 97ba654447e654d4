package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/px360/px360/gen/client"
)

// A hospital system sends an event. It authenticates with the API key of its integration config, and
// sets source_event_id, so that the event may be sent again when the answer was lost.
func Example_sendEvent() {
	ctx := context.Background()
	api, err := client.NewClientWithResponses(demoServer.URL, client.WithAPIKey("the key"), client.WithHTTPClient(&client.Retry{
		Repeatable: func(*http.Request) bool { return true }, // every event below has a source_event_id
		OnWait:     func(wait time.Duration, _ int) { log.Printf("waiting %v", wait) },
	}))
	if err != nil {
		log.Fatal(err)
	}

	payload := json.RawMessage(`{"physician_license": "PHY001", "timestamp": "2025-12-14T10:45:00Z"}`)
	patient, message := "MRN123456", "MSG-000123"
	sent, err := api.CreateEventWithResponse(ctx, nil, client.EventCreate{
		SourceSystem:      "his",
		EventCode:         "OPD_VISIT_COMPLETED",
		EncounterID:       "ENC20251214001",
		PatientIdentifier: &patient,
		PayloadJSON:       &payload,
		SourceEventID:     &message,
	})
	if err == nil {
		err = client.Check(sent.HTTPResponse, sent.Body)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored, or stored before:", sent.StatusCode())
	// Output: stored, or stored before: 201
}

// A dashboard finds a journey by its encounter id and shows its progress.
func Example_readProgress() {
	ctx := context.Background()
	api, err := client.Connect(ctx, demoServer.URL, "dashboard", "its password")
	if err != nil {
		log.Fatal(err)
	}

	visit := "ENC20251214001"
	journeys := client.All(ctx, func(ctx context.Context, page *client.Page) (*client.ListJourneyInstancesResponse, error) {
		return api.ListJourneyInstancesWithResponse(ctx, &client.ListJourneyInstancesParams{Page: page, Search: &visit})
	})
	for journey, err := range journeys {
		if err != nil {
			log.Fatal(err)
		}
		answer, err := api.RetrieveJourneyProgressWithResponse(ctx, journey.ID)
		if err == nil {
			err = client.Check(answer.HTTPResponse, answer.Body)
		}
		if err != nil {
			log.Fatal(err)
		}
		progress := answer.JSON200
		fmt.Printf("%s: %d %%\n", progress.EncounterID, progress.CompletionPercentage)
		for _, stage := range progress.Stages {
			fmt.Printf("%d. %s: %s\n", stage.Order, stage.Name, stage.Status)
		}
	}
	// Output:
	// ENC20251214001: 50 %
	// 1. MD Consultation: completed
	// 2. Laboratory: pending
}

// demoServer returns the canned answers of the examples.
var demoServer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	const id = "0193c5a0-7a00-7000-8000-000000000009"
	answers := map[string]struct {
		status int
		body   string
	}{
		"POST /api/auth/token/":          {200, `{"access": "a.b.c", "refresh": "d.e.f"}`},
		"POST /api/integrations/events/": {201, `{"id": "` + id + `", "status": "pending"}`},
		"GET /api/journeys/instances/":   {200, `{"count": 1, "next": null, "previous": null, "results": [{"id": "` + id + `"}]}`},
		"GET /api/journeys/instances/" + id + "/progress/": {200, `{"encounter_id": "ENC20251214001", "completion_percentage": 50,
			"stages": [{"name": "MD Consultation", "order": 1, "status": "completed"}, {"name": "Laboratory", "order": 2, "status": "pending"}]}`},
	}
	answer, ok := answers[r.Method+" "+r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	fmt.Fprint(w, answer.body)
}))
