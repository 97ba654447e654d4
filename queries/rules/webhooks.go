package rules

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// webhookWaits are how long after an attempt that failed the next one is made, as Standard Webhooks recommends.
var webhookWaits = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// WebhookRetryAfter is how long after this attempt, from 1, the next one is made; false for the last one. luck, from 0 up
// to 1, spreads it by a fifth to either side. A receiver that asked for a later time gets that, within a day.
func WebhookRetryAfter(attempt int, luck float64, asked time.Duration) (time.Duration, bool) {
	if attempt < 1 || attempt > len(webhookWaits) {
		return 0, false
	}
	wait := time.Duration(float64(webhookWaits[attempt-1]) * (0.8 + 0.4*luck))
	return max(wait, min(asked, 24*time.Hour)), true
}

// RetryAfterHeader reads the header Retry-After: seconds or a date (RFC 9110, 10.2.3); 0 if it is neither, or over.
func RetryAfterHeader(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// WebhookFailingTime is how long an endpoint may fail, without a success, until it is disabled.
const WebhookFailingTime = 5 * 24 * time.Hour

// A WebhookPayload is what a message says: the schemas of x-webhooks in the contract.
type WebhookPayload struct {
	Type      string        `json:"type"`
	Timestamp time.Time     `json:"timestamp"`
	Data      WebhookObject `json:"data"`
}

// A WebhookObject is WebhookObject of the contract.
type WebhookObject struct {
	ID       uuid.UUID  `json:"id"`
	Hospital *uuid.UUID `json:"hospital"`
	URL      string     `json:"url"`
	Version  int32      `json:"version"`
}

// webhookPaths are where the objects of each type are read.
var webhookPaths = map[string]string{
	"journey.completed": "/api/journeys/instances/", "survey.sent": "/api/surveys/instances/", "survey.completed": "/api/surveys/instances/",
	"action.created": "/api/actions/", "action.updated": "/api/actions/", "sla.breached": "/api/actions/", "webhook.test": "/api/webhooks/endpoints/",
}

// WebhookBody is the body of a message, the same to the byte in every attempt.
func WebhookBody(kind string, at time.Time, object uuid.UUID, hospital *uuid.UUID, version int32) ([]byte, error) {
	return json.Marshal(WebhookPayload{kind, at.UTC(), WebhookObject{object, hospital, webhookPaths[kind] + object.String() + "/", version}})
}
