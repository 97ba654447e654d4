// Command partner is what a partner does with PX360, with a client by openapi-generator's go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"example.org/partner/client"
)

// tag tells the rows of one run from another's.
var tag = strconv.FormatInt(time.Now().UnixNano(), 36)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key, err := setUp(ctx, os.Getenv("PX360_ADMIN_PASSWORD"))
	if err != nil {
		log.Fatal(err)
	}
	if err := sendEvents(asHospitalSystem(ctx, key), connect()); err != nil {
		log.Fatal(err)
	}
}

func connect() *client.APIClient {
	config := client.NewConfiguration()
	config.Servers = client.ServerConfigurations{{URL: os.Getenv("SERVER_URL")}}
	return client.NewAPIClient(config)
}

// asUser makes calls with the context those of a user.
func asUser(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, client.ContextAccessToken, token)
}

// asHospitalSystem makes calls with the context those of an integration config.
func asHospitalSystem(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, client.ContextAPIKeys, map[string]client.APIKey{"apiKey": {Key: key}})
}

// setUp creates a hospital, patients and an integration config, and returns the config's key.
func setUp(ctx context.Context, password string) (key string, err error) {
	px := connect()
	tokens, _, err := px.AuthenticationAPI.CreateToken(ctx).TokenRequest(client.TokenRequest{Username: "admin", Password: password}).Execute()
	if err != nil {
		return "", err
	}
	ctx = asUser(ctx, tokens.Access)
	me, _, err := px.UsersAPI.RetrieveMe(ctx).Execute()
	if err != nil {
		return "", err
	}
	fmt.Println("logged in as", me.Username)
	hospital, _, err := px.HospitalsAPI.CreateHospital(ctx).HospitalCreate(client.HospitalCreate{Name: "Partner Hospital", Code: "H-" + tag}).Execute()
	if err != nil {
		return "", err
	}
	for _, mrn := range []string{"MRN-1", "MRN-2", "MRN-3"} {
		if _, _, err := px.PatientsAPI.CreatePatient(ctx).PatientCreate(patient(mrn, hospital.Id)).Execute(); err != nil {
			return "", err
		}
	}
	if err := handleRefusals(ctx, px, hospital.Id); err != nil {
		return "", err
	}
	if err := listPatients(ctx, px, hospital.Id); err != nil {
		return "", err
	}
	config, _, err := px.IntegrationConfigsAPI.CreateIntegrationConfig(ctx).IntegrationConfigCreate(client.IntegrationConfigCreate{
		Name: "HIS", SourceSystem: "his", Hospital: *client.NewNullableString(&hospital.Id),
	}).Execute()
	if err != nil {
		return "", err
	}
	return config.GetApiKey(), nil
}

func patient(mrn, hospital string) client.PatientCreate {
	return client.PatientCreate{Mrn: mrn, FirstName: "Sara", LastName: "Al-Otaibi", PrimaryHospital: *client.NewNullableString(&hospital)}
}

func handleRefusals(ctx context.Context, px *client.APIClient, hospital string) error {
	_, answer, err := px.PatientsAPI.CreatePatient(ctx).PatientCreate(patient("MRN-1", hospital)).Execute()
	if err := refusal(answer, err); err != nil {
		return err
	}
	_, answer, err = px.PatientsAPI.RetrievePatient(ctx, "00000000-0000-0000-0000-000000000000").Execute()
	return refusal(answer, err)
}

// refusal prints what a call was refused with. It returns any other error.
func refusal(answer *http.Response, err error) error {
	var failure *client.GenericOpenAPIError
	if !errors.As(err, &failure) {
		return err
	}
	switch refusal := failure.Model().(type) {
	case client.BadRequest:
		fmt.Printf("refused with %d: mrn: %s\n", answer.StatusCode, message(refusal.AdditionalProperties["mrn"]))
	case client.Error:
		fmt.Printf("refused with %d: %s\n", answer.StatusCode, refusal.Detail)
	default:
		return err
	}
	return nil
}

// message is the first of the messages of a field.
func message(field any) any {
	if messages, ok := field.([]any); ok && len(messages) > 0 {
		return messages[0]
	}
	return field
}

func listPatients(ctx context.Context, px *client.APIClient, hospital string) error {
	for page := int32(1); ; page++ {
		list, _, err := px.PatientsAPI.ListPatients(ctx).PrimaryHospital(hospital).Ordering([]string{"last_name", "-mrn"}).
			Page(page).PageSize(2).Execute()
		if err != nil {
			return err
		}
		for _, p := range list.Results {
			fmt.Println("patient", p.Mrn)
		}
		if list.Next.Get() == nil {
			return nil
		}
	}
}

func sendEvents(ctx context.Context, his *client.APIClient) error {
	event := client.NewEventCreate("his", "OPD_VISIT_COMPLETED", "ENC-"+tag)
	event.SetPatientIdentifier("MRN-1")
	event.SetPayloadJson(map[string]any{"physician_license": "PHY001", "timestamp": time.Now()})
	event.SetSourceEventId("MSG-" + tag)
	receipt, _, err := his.EventsAPI.CreateEvent(ctx).EventCreate(*event).Execute()
	if err != nil {
		return err
	}
	fmt.Println("event:", receipt.Status)
	bulk, _, err := his.EventsAPI.BulkCreateEvents(ctx).EventBulkCreate(client.EventBulkCreate{Events: []client.EventBulkItem{
		{SourceSystem: "his", EventCode: "LAB_ORDER_COMPLETED", EncounterId: "ENC-" + tag},
		{SourceSystem: "his", EventCode: "LAB_ORDER_COMPLETED"},
	}}).Execute()
	if err != nil {
		return err
	}
	fmt.Printf("bulk: %d stored, %d refused\n", bulk.Created, bulk.Failed)
	for _, e := range bulk.Errors {
		fmt.Printf("bulk: event %d: encounter_id: %s\n", e.Index, message(e.Errors["encounter_id"]))
	}
	return waitFor(ctx, his, receipt.Id)
}

// waitFor tells what became of an event.
func waitFor(ctx context.Context, his *client.APIClient, id string) error {
	for {
		event, _, err := his.EventsAPI.RetrieveEvent(ctx, id).Execute()
		if err != nil {
			return err
		}
		if event.Status != client.EVENTSTATUS_PENDING {
			fmt.Printf("event: %s, %s\n", event.Status, event.Reason)
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the event is still pending")
		case <-time.After(100 * time.Millisecond):
		}
	}
}
