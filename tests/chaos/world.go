package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

const (
	sourceSystem = "chaos"
	patientMRN   = "MRN-CHAOS"
	// requestTimeout is how long a client waits for an answer: more than the 12 s that the server allows itself, and less
	// than most stops of a process.
	requestTimeout = 15 * time.Second
)

// A world is what the traffic refers to: a hospital, a patient, templates and an API key.
type world struct {
	hospital, patient uuid.UUID
	templates         map[bool]uuid.UUID // whether a stage is completed by hand
	key, token        string
}

// An api has the clients of one server.
type api struct {
	// sender does what the README asks of a partner: it waits, retries, and sends Idempotency-Keys.
	sender *client.Client
	// keyless makes a single request, without an Idempotency-Key; its caller does what the README says.
	keyless *client.Client
	// admin makes single requests as the PX Admin.
	admin *client.Client

	silentAt atomic.Int64 // when it last did not answer, in nanoseconds
}

// withoutKey is a transport that leaves the Idempotency-Key out.
type withoutKey struct{ next http.RoundTripper }

func (t withoutKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Idempotency-Key")
	return t.next.RoundTrip(r)
}

func newAPI(url string, w *world) (*api, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Second}
	plain := client.WithHTTPClient(&http.Client{Timeout: requestTimeout, Transport: transport})
	bare := client.WithHTTPClient(&http.Client{Timeout: requestTimeout, Transport: withoutKey{transport}})
	var a api
	for _, made := range []struct {
		to      **client.Client
		options []client.Option
	}{
		{&a.sender, []client.Option{plain, client.WithAPIKey(w.key), client.WithMaxWait(20 * time.Second), client.WithMaxTries(3)}},
		{&a.keyless, []client.Option{bare, client.WithAPIKey(w.key), client.WithMaxWait(0)}},
		{&a.admin, []client.Option{plain, client.WithToken(w.token), client.WithMaxWait(0)}},
	} {
		c, err := client.New(url, made.options...)
		if err != nil {
			return nil, err
		}
		*made.to = c
	}
	return &a, nil
}

// createWorld sets everything up through the API, before there are faults.
func createWorld(ctx context.Context, url, run string) (*world, error) {
	anonymous, err := client.New(url)
	if err != nil {
		return nil, err
	}
	login, err := anonymous.CreateToken(ctx, client.TokenRequest{Username: adminName, Password: adminPassword})
	if err != nil {
		return nil, err
	}
	admin, err := client.New(url, client.WithToken(login.Access))
	if err != nil {
		return nil, err
	}
	w := &world{token: login.Access, templates: map[bool]uuid.UUID{}}
	hospital, err := admin.CreateHospital(ctx, client.HospitalCreate{Name: "Chaos Hospital", Code: "CHAOS-" + run})
	if err != nil {
		return nil, err
	}
	w.hospital = hospital.ID
	patient, err := admin.CreatePatient(ctx, client.PatientCreate{
		MRN: patientMRN, FirstName: "Sara", LastName: "Ali", PrimaryHospital: client.Value(w.hospital),
	})
	if err != nil {
		return nil, err
	}
	w.patient = patient.ID
	config, err := admin.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{
		Name: "Chaos", SourceSystem: sourceSystem, Hospital: client.Value(w.hospital),
	})
	if err != nil {
		return nil, err
	}
	w.key = config.APIKey
	survey, err := admin.CreateSurveyTemplate(ctx, client.SurveyTemplateCreate{Hospital: w.hospital, Name: surveyName})
	if err != nil {
		return nil, err
	}
	for _, byHand := range []bool{false, true} {
		if w.templates[byHand], err = createTemplate(ctx, admin, w.hospital, survey.ID, byHand); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func createTemplate(ctx context.Context, admin *client.Client, hospital, survey uuid.UUID, byHand bool) (uuid.UUID, error) {
	template, err := admin.CreateJourneyTemplate(ctx, client.JourneyTemplateCreate{
		Hospital: hospital, Name: fmt.Sprintf("Visit, by hand %v", byHand), JourneyType: client.JourneyTypeOPD,
	})
	if err != nil {
		return uuid.Nil, err
	}
	for _, s := range stagesOf(byHand) {
		stage := client.StageTemplateCreate{
			JourneyTemplate: template.ID, Name: s.Name, Code: s.Code, Order: int32(s.Order), TriggerEventCode: s.TriggerEventCode,
			IsOptional: client.Ptr(s.IsOptional),
		}
		if s.AutoSendSurvey {
			stage.SurveyTemplate, stage.AutoSendSurvey = client.Value(survey), client.Ptr(true)
			stage.SurveyDelayHours = client.Ptr(int32(s.SurveyDelayHours))
		}
		if _, err := admin.CreateStageTemplate(ctx, stage); err != nil {
			return uuid.Nil, err
		}
	}
	return template.ID, nil
}

// saysExists tells the refusal of a second journey with an encounter id.
func saysExists(failure *client.Error) bool {
	return failure.Status == http.StatusBadRequest && strings.Contains(failure.Error(), "already exists")
}
