// Package released runs a client of the last release against the server as it is now: the client is
// generated from openapi/released/, as a partner would, with oapi-codegen's own templates and defaults.
// `make released` runs it.
package released

import (
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/px360/px360/tests/released/client"
)

// TestFlow does what a partner does: log in, create, list, send events and read what became of them.
func TestFlow(t *testing.T) {
	ctx := t.Context()
	public := connect(t, nil)
	login, err := public.CreateTokenWithResponse(ctx, client.TokenRequest{Username: "admin", Password: environment(t, "PX360_ADMIN_PASSWORD")})
	noError(t, err)
	if login.JSON200 == nil {
		t.Fatalf("log in: %d %s", login.StatusCode(), login.Body)
	}
	admin := connect(t, http.Header{"Authorization": {"Bearer " + login.JSON200.Access}})

	created, err := admin.CreateHospitalWithResponse(ctx, client.HospitalCreate{Name: "Released", Code: "RELEASED"})
	noError(t, err)
	if created.JSON201 == nil {
		t.Fatalf("create a hospital: %d %s", created.StatusCode(), created.Body)
	}
	again, err := admin.CreateHospitalWithResponse(ctx, client.HospitalCreate{Name: "Released", Code: "RELEASED"})
	noError(t, err)
	if again.StatusCode() != http.StatusBadRequest {
		t.Errorf("the same hospital again: %d %s, want 400", again.StatusCode(), again.Body)
	}
	search := "RELEASED"
	list, err := admin.ListHospitalsWithResponse(ctx, &client.ListHospitalsParams{Search: &search})
	noError(t, err)
	if list.JSON200 == nil || list.JSON200.Count == nil || *list.JSON200.Count != 1 || list.JSON200.Results[0].Id != created.JSON201.Id {
		t.Fatalf("list hospitals: %d %s, want the one that was created", list.StatusCode(), list.Body)
	}

	config, err := admin.CreateIntegrationConfigWithResponse(ctx, client.IntegrationConfigCreate{Name: "Released", SourceSystem: "released"})
	noError(t, err)
	if config.JSON201 == nil {
		t.Fatalf("create an integration config: %d %s", config.StatusCode(), config.Body)
	}
	sender := connect(t, http.Header{"X-Api-Key": {config.JSON201.ApiKey}})
	event := client.EventCreate{SourceSystem: "released", EventCode: "OPD_VISIT_COMPLETED", EncounterId: "ENC-RELEASED"}
	sent, err := sender.CreateEventWithResponse(ctx, nil, event)
	noError(t, err)
	if sent.JSON201 == nil {
		t.Fatalf("send an event: %d %s", sent.StatusCode(), sent.Body)
	}
	bulk, err := sender.BulkCreateEventsWithResponse(ctx, nil, client.EventBulkCreate{Events: []client.EventCreate{event, event}})
	noError(t, err)
	if bulk.JSON201 == nil || bulk.JSON201.Created != 2 {
		t.Errorf("send a bulk of two events: %d %s", bulk.StatusCode(), bulk.Body)
	}
	stored, err := admin.RetrieveEventWithResponse(ctx, sent.JSON201.Id)
	noError(t, err)
	if stored.JSON200 == nil || stored.JSON200.EncounterId != event.EncounterId {
		t.Errorf("retrieve the event: %d %s", stored.StatusCode(), stored.Body)
	}
}

// connect makes a client that sends these headers.
func connect(t *testing.T, headers http.Header) *client.ClientWithResponses {
	t.Helper()
	api, err := client.NewClientWithResponses(environment(t, "SERVER_URL"), client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		for name, values := range headers {
			r.Header[name] = values
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run 'make released', which starts a server", name)
	}
	return value
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
