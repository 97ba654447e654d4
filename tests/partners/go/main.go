// Command partner is a partner's program, in a module of its own: it goes through what partners do with the client, and
// prints what came of it. It must be given a PX Admin of a PX360 that has no hospital with its code yet.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/px360/px360/gen/client"
)

func main() {
	log.SetFlags(0)
	url := flag.String("url", "http://127.0.0.1:8000", "where PX360 is")
	username := flag.String("username", "admin", "a PX Admin")
	password := flag.String("password", "", "the PX Admin's password")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	px, err := client.New(*url, client.WithPassword(*username, *password), client.WithUserAgent("partner/1.0"))
	if err != nil {
		log.Fatal(err)
	}
	key, err := setUp(ctx, px)
	if err != nil {
		log.Fatal(err)
	}
	his, err := client.New(*url, client.WithAPIKey(key), client.WithUserAgent("partner-his/1.0"))
	if err != nil {
		log.Fatal(err)
	}
	if err := sendEvents(ctx, his); err != nil {
		log.Fatal(err)
	}
}

// setUp creates a hospital, a patient and an integration config, and returns the config's key.
func setUp(ctx context.Context, px *client.Client) (key string, err error) {
	me, err := px.RetrieveMe(ctx)
	if err != nil {
		return "", err
	}
	fmt.Println("logged in as", me.Username)
	hospital, err := px.CreateHospital(ctx, client.HospitalCreate{Name: "Partner Hospital", Code: "PARTNER"})
	if err != nil {
		return "", err
	}
	if err := refused(ctx, px, hospital.ID); err != nil {
		return "", err
	}
	for i := range 3 {
		_, err := px.CreatePatient(ctx, client.PatientCreate{
			MRN: fmt.Sprintf("MRN-%d", i), FirstName: "Sara", LastName: "Al-Otaibi",
			Gender: client.Ptr(client.GenderFemale), PrimaryHospital: client.Value(hospital.ID),
		})
		if err != nil {
			return "", err
		}
	}
	mine := &client.ListPatientsParams{
		PrimaryHospital: &hospital.ID, PageSize: client.Ptr(client.PageSize(2)), Ordering: []client.ListPatientsParamsOrdering{"mrn"},
	}
	for patient, err := range px.AllPatients(ctx, mine) {
		if err != nil {
			return "", err
		}
		fmt.Println("patient", patient.MRN)
	}
	config, err := px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{
		Name: "HIS", SourceSystem: "his", Hospital: client.Value(hospital.ID),
	})
	if err != nil {
		return "", err
	}
	return config.APIKey, nil
}

// refused creates a patient that the server refuses, and looks for one that is not there.
func refused(ctx context.Context, px *client.Client, hospital client.ID) error {
	var failure *client.Error
	_, err := px.CreatePatient(ctx, client.PatientCreate{
		MRN: "MRN-0", FirstName: "Sara", LastName: "Al-Otaibi",
		Gender: client.Ptr(client.Gender("F")), PrimaryHospital: client.Value(hospital),
	})
	if !errors.As(err, &failure) || failure.Status != http.StatusBadRequest {
		return fmt.Errorf("expected a refusal: %w", err)
	}
	fmt.Println("refused:", failure.Field("gender"))
	_, err = px.RetrievePatient(ctx, client.ID{})
	if !errors.As(err, &failure) || failure.Status != http.StatusNotFound {
		return fmt.Errorf("expected no patient: %w", err)
	}
	fmt.Println("refused:", failure.Detail)
	return nil
}

func sendEvents(ctx context.Context, his *client.Client) error {
	event := client.EventCreate{
		SourceSystem: "his", EventCode: "OPD_VISIT_COMPLETED", EncounterID: "ENC-1", SourceEventID: client.Ptr("MSG-0"),
		PayloadJSON: json.RawMessage(`{"timestamp": "2025-12-14T10:45:00Z"}`),
	}
	for range 2 {
		stored, err := his.CreateEvent(ctx, event)
		if err != nil {
			return err
		}
		fmt.Println("event stored, duplicate:", stored.Duplicate)
	}
	events := []client.EventCreate{event}
	for i := 1; i < 1500; i++ {
		event.SourceEventID = client.Ptr(fmt.Sprintf("MSG-%d", i))
		events = append(events, event)
	}
	events[1200].EncounterID = ""
	report, err := his.SendEvents(ctx, events)
	if err != nil {
		return err
	}
	fmt.Println("bulk:", report.Created, "created,", report.Duplicates, "duplicates,", report.Refused, "refused")
	fmt.Println("event 1200:", report.Events[1200].Outcome, report.Events[1200].Fields)
	return nil
}
