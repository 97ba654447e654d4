package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// A Webhook is what ParseWebhook returns: one of *JourneyCompleted, *SurveySent, *SurveyCompleted, *ActionCreated,
// *ActionUpdated, *SLABreached, *WebhookTest and *UnknownWebhook.
type Webhook interface{ isWebhook() }

func (*JourneyCompleted) isWebhook() {}
func (*SurveySent) isWebhook()       {}
func (*SurveyCompleted) isWebhook()  {}
func (*ActionCreated) isWebhook()    {}
func (*ActionUpdated) isWebhook()    {}
func (*SLABreached) isWebhook()      {}
func (*WebhookTest) isWebhook()      {}
func (*UnknownWebhook) isWebhook()   {}

// An UnknownWebhook is of a type that this version of the client does not know. Answer it with a status of 2xx.
type UnknownWebhook struct {
	Type WebhookMessageType
	Body []byte
}

// ErrWebhook is about a request that is no webhook of PX360, or one that was recorded more than five minutes ago. Answer it
// with 400.
var ErrWebhook = errors.New("no valid webhook")

// ParseWebhook checks the signature of a webhook, with any of the endpoint's secrets (whsec_…), and returns its typed body:
// while a secret is being replaced, give the old one and the new one. A webhook may come more than once, under the same
// header webhook-id, and tells of the object's state no more than its version.
func ParseWebhook(body []byte, header http.Header, secrets ...string) (Webhook, error) {
	if err := verifyWebhook(body, header, secrets); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWebhook, err)
	}
	var envelope struct {
		Type WebhookMessageType `json:"type"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWebhook, err)
	}
	var webhook Webhook
	switch envelope.Type {
	case WebhookMessageTypeJourneyCompleted:
		webhook = new(JourneyCompleted)
	case WebhookMessageTypeSurveySent:
		webhook = new(SurveySent)
	case WebhookMessageTypeSurveyCompleted:
		webhook = new(SurveyCompleted)
	case WebhookMessageTypeActionCreated:
		webhook = new(ActionCreated)
	case WebhookMessageTypeActionUpdated:
		webhook = new(ActionUpdated)
	case WebhookMessageTypeSLABreached:
		webhook = new(SLABreached)
	case WebhookMessageTypeTest:
		webhook = new(WebhookTest)
	default:
		return &UnknownWebhook{envelope.Type, body}, nil
	}
	if err := json.Unmarshal(body, webhook); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWebhook, err)
	}
	return webhook, nil
}

func verifyWebhook(body []byte, header http.Header, secrets []string) error {
	err := errors.New("no secret was given")
	for _, secret := range secrets {
		var key *standardwebhooks.Webhook
		if key, err = standardwebhooks.NewWebhook(secret); err != nil {
			return err
		}
		if err = key.Verify(body, header); err == nil {
			return nil
		}
	}
	return err
}
