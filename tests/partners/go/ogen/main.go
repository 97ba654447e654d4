// Command partner is what a partner does with PX360, with a client by ogen.
//
//go:generate go tool ogen -config ogen.yaml -target client -package client -clean openapi.yaml
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"example.org/partner/client"
	"github.com/go-faster/jx"
	"github.com/google/uuid"
	"github.com/ogen-go/ogen/ogenerrors"
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
	if err := sendEvents(ctx, key); err != nil {
		log.Fatal(err)
	}
}

// credentials are an access token or an API key.
type credentials struct{ token, key string }

func (c credentials) BearerAuth(context.Context, client.OperationName) (client.BearerAuth, error) {
	if c.token == "" {
		return client.BearerAuth{}, ogenerrors.ErrSkipClientSecurity
	}
	return client.BearerAuth{Token: c.token}, nil
}

func (c credentials) ApiKey(context.Context, client.OperationName) (client.ApiKey, error) {
	if c.key == "" {
		return client.ApiKey{}, ogenerrors.ErrSkipClientSecurity
	}
	return client.ApiKey{APIKey: c.key}, nil
}

func connect(c credentials) (*client.Client, error) {
	return client.NewClient(os.Getenv("SERVER_URL"), c)
}

// expect returns the answer of a call if it is what the caller wants: a refusal is an answer, too, and no error.
func expect[T any](answer any, err error) (wanted T, _ error) {
	if err != nil {
		return wanted, err
	}
	wanted, ok := answer.(T)
	if !ok {
		return wanted, fmt.Errorf("refused: %+v", answer)
	}
	return wanted, nil
}

// setUp creates a hospital, patients and an integration config, and returns the config's key.
func setUp(ctx context.Context, password string) (key string, err error) {
	anonymous, err := connect(credentials{})
	if err != nil {
		return "", err
	}
	tokens, err := expect[*client.TokenPairHeaders](anonymous.CreateToken(ctx, &client.TokenRequest{Username: "admin", Password: password}))
	if err != nil {
		return "", err
	}
	px, err := connect(credentials{token: tokens.Response.Access})
	if err != nil {
		return "", err
	}
	me, err := expect[*client.UserHeaders](px.RetrieveMe(ctx))
	if err != nil {
		return "", err
	}
	fmt.Println("logged in as", me.Response.Username)
	hospital, err := expect[*client.HospitalHeaders](px.CreateHospital(ctx, &client.HospitalCreate{Name: "Partner Hospital", Code: "H-" + tag}))
	if err != nil {
		return "", err
	}
	for _, mrn := range []string{"MRN-1", "MRN-2", "MRN-3"} {
		if _, err := expect[*client.PatientHeaders](px.CreatePatient(ctx, patient(mrn, hospital.Response.ID))); err != nil {
			return "", err
		}
	}
	if err := handleRefusals(ctx, px, hospital.Response.ID); err != nil {
		return "", err
	}
	if err := listPatients(ctx, px, hospital.Response.ID); err != nil {
		return "", err
	}
	config, err := expect[*client.IntegrationConfigCreatedHeaders](px.CreateIntegrationConfig(ctx, &client.IntegrationConfigCreate{
		Name: "HIS", SourceSystem: "his", Hospital: client.NewOptNilUUID(hospital.Response.ID),
	}))
	if err != nil {
		return "", err
	}
	return config.Response.APIKey.Value, nil
}

func patient(mrn string, hospital uuid.UUID) *client.PatientCreate {
	return &client.PatientCreate{Mrn: mrn, FirstName: "Sara", LastName: "Al-Otaibi", PrimaryHospital: client.NewOptNilUUID(hospital)}
}

func handleRefusals(ctx context.Context, px *client.Client, hospital uuid.UUID) error {
	wrong, err := expect[*client.BadRequestHeaders](px.CreatePatient(ctx, patient("MRN-1", hospital)))
	if err != nil {
		return err
	}
	fmt.Println("refused with 400: mrn:", message(wrong.Response.AdditionalProps["mrn"]))
	missing, err := expect[*client.NotFoundHeaders](px.RetrievePatient(ctx, client.RetrievePatientParams{}))
	if err != nil {
		return err
	}
	fmt.Println("refused with 404:", missing.Response.Detail)
	return nil
}

// message is the first of the messages of a field.
func message(field jx.Raw) string {
	var messages []string
	if err := json.Unmarshal(field, &messages); err != nil || len(messages) == 0 {
		return string(field)
	}
	return messages[0]
}

func listPatients(ctx context.Context, px *client.Client, hospital uuid.UUID) error {
	params := client.ListPatientsParams{
		PrimaryHospital: client.NewOptUUID(hospital),
		Ordering:        []client.ListPatientsOrderingItem{client.ListPatientsOrderingItemLastName, client.ListPatientsOrderingItemMinusMrn},
		PageSize:        client.NewOptInt(2),
	}
	for page := int32(1); ; page++ {
		params.Page = client.NewOptInt32(page)
		list, err := expect[*client.PatientListHeaders](px.ListPatients(ctx, params))
		if err != nil {
			return err
		}
		for _, p := range list.Response.Results {
			fmt.Println("patient", p.Mrn)
		}
		if list.Response.Next.Null {
			return nil
		}
	}
}

func sendEvents(ctx context.Context, key string) error {
	his, err := connect(credentials{key: key})
	if err != nil {
		return err
	}
	event, err := expect[*client.CreateEventCreated](his.CreateEvent(ctx, &client.EventCreate{
		SourceSystem:      "his",
		EventCode:         "OPD_VISIT_COMPLETED",
		EncounterID:       "ENC-" + tag,
		PatientIdentifier: client.NewOptString("MRN-1"),
		PayloadJSON:       jx.Raw(fmt.Sprintf(`{"physician_license": "PHY001", "timestamp": %q}`, time.Now().Format(time.RFC3339))),
		SourceEventID:     client.NewOptString("MSG-" + tag),
	}, client.CreateEventParams{}))
	if err != nil {
		return err
	}
	fmt.Println("event:", event.Response.Status)
	bulk, err := expect[*client.BulkCreateEventsCreated](his.BulkCreateEvents(ctx, &client.EventBulkCreate{Events: []client.EventBulkItem{
		{SourceSystem: jx.Raw(`"his"`), EventCode: jx.Raw(`"LAB_ORDER_COMPLETED"`), EncounterID: jx.Raw(strconv.Quote("ENC-" + tag))},
		{SourceSystem: jx.Raw(`"his"`), EventCode: jx.Raw(`"LAB_ORDER_COMPLETED"`)},
	}}, client.BulkCreateEventsParams{}))
	if err != nil {
		return err
	}
	fmt.Printf("bulk: %d stored, %d refused\n", bulk.Response.Created, bulk.Response.Failed)
	for _, e := range bulk.Response.Errors {
		fmt.Printf("bulk: event %d: encounter_id: %s\n", e.Index, message(e.Errors["encounter_id"]))
	}
	return waitFor(ctx, his, event.Response.ID)
}

// waitFor tells what became of an event.
func waitFor(ctx context.Context, his *client.Client, id uuid.UUID) error {
	for {
		event, err := expect[*client.EventHeaders](his.RetrieveEvent(ctx, client.RetrieveEventParams{ID: id}))
		if err != nil {
			return err
		}
		if event.Response.Status != client.EventStatusPending {
			fmt.Printf("event: %s, %s\n", event.Response.Status, event.Response.Reason)
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the event is still pending")
		case <-time.After(100 * time.Millisecond):
		}
	}
}
