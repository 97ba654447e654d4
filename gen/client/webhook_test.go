package client

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func signedWebhook(t *testing.T, secret, body string, at time.Time) http.Header {
	t.Helper()
	key, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign("msg", at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Webhook-Id": {"msg"}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signature}}
}

func TestParseWebhook(t *testing.T) {
	t.Parallel()
	secret, other := "whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32)), "whsec_"+base64.StdEncoding.EncodeToString([]byte("another"))
	body := func(kind string) string {
		return `{"type":"` + kind + `","timestamp":"2026-01-05T06:01:02Z","data":{"id":"0193c5a0-7a00-7000-8000-000000000040","hospital":null,"url":"/api/actions/0193c5a0-7a00-7000-8000-000000000040/","version":3}}`
	}
	for kind, want := range map[string]string{
		"journey.completed": "*client.JourneyCompleted", "survey.sent": "*client.SurveySent", "survey.completed": "*client.SurveyCompleted",
		"action.created": "*client.ActionCreated", "action.updated": "*client.ActionUpdated", "sla.breached": "*client.SLABreached",
		"webhook.test": "*client.WebhookTest", "patient.cured": "*client.UnknownWebhook",
	} {
		got, err := ParseWebhook([]byte(body(kind)), signedWebhook(t, secret, body(kind), time.Now()), other, secret)
		if err != nil || fmt.Sprintf("%T", got) != want {
			t.Errorf("%s: %T, %v; want %s", kind, got, err, want)
		}
		if breach, ok := got.(*SLABreached); ok && (breach.Data.Version != 3 || breach.Timestamp.Year() != 2026) {
			t.Errorf("%s: %+v", kind, breach)
		}
	}
	sent := body("sla.breached")
	good := signedWebhook(t, secret, sent, time.Now())
	for what, c := range map[string]struct {
		body    string
		header  http.Header
		secrets []string
	}{
		"another secret":      {sent, good, []string{other}},
		"no secret":           {sent, good, nil},
		"a secret that isn't": {sent, good, []string{"whsec_%"}},
		"a changed body":      {sent + " ", good, []string{secret}},
		"no header":           {sent, http.Header{}, []string{secret}},
		"an old one":          {sent, signedWebhook(t, secret, sent, time.Now().Add(-6*time.Minute)), []string{secret}},
		"no JSON":             {"{", signedWebhook(t, secret, "{", time.Now()), []string{secret}},
	} {
		if got, err := ParseWebhook([]byte(c.body), c.header, c.secrets...); !errors.Is(err, ErrWebhook) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}
