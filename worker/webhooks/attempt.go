package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/rules/outbound"
)

// maxAnswer is how much of an answer is read, in bytes, so that the connection can be used again. Nothing of it is kept.
const maxAnswer = 16 << 10

// A message that this process delivers.
type message db.WebhookClaimRow

// A result is what became of an attempt.
type result struct {
	message    message
	made       bool // else it was not begun, or cancelled, and is made by the next owner
	began      time.Time
	took       time.Duration
	status     int // of the answer; 0 for none
	problem    string
	retryAfter time.Duration
}

func (one result) statusCode() *int {
	if one.status == 0 {
		return nil
	}
	return &one.status
}

// gone tells whether the receiver wants no more.
func (one result) gone() bool { return one.status == http.StatusGone }

// attempt posts a message.
func (r *runner) attempt(ctx context.Context, m message) result {
	one := result{message: m, made: true, began: time.Now()}
	if r.stopped.Load() || r.lost.Load() {
		one.made = false
		return one
	}
	one.status, one.retryAfter, one.problem = r.post(ctx, m, one.began)
	one.took = time.Since(one.began)
	if ctx.Err() != nil && one.status == 0 {
		one.made = false
		return one
	}
	status := "failed"
	if one.problem == "" {
		status = "delivered"
	}
	r.Service.results.WithLabelValues(status).Inc()
	r.took.Observe(one.took.Seconds())
	return one
}

func (r *runner) post(ctx context.Context, m message, now time.Time) (status int, retryAfter time.Duration, problem string) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	to := r.target.Load()
	if len(to.secrets) == 0 {
		return 0, 0, "The secret was sealed under another secret key: rotate it."
	}
	body, err := rules.WebhookBody(m.Type, m.Timestamp, m.EventObject, m.Hospital, m.Version)
	if err != nil {
		return 0, 0, err.Error()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(body))
	if err != nil {
		return 0, 0, "The address cannot be read."
	}
	signatures, err := sign(m, to.secrets, now, body)
	if err != nil {
		return 0, 0, err.Error()
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "PX360-Webhooks/1.0")
	request.Header.Set(standardwebhooks.HeaderWebhookID, m.ID.String())
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	answer, err := r.client.Do(request)
	if err != nil {
		return 0, 0, explain(err, r.Timeout)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	if answer.StatusCode/100 == 2 {
		return answer.StatusCode, 0, ""
	}
	return answer.StatusCode, rules.RetryAfterHeader(answer.Header, now), fmt.Sprintf("The answer was %d.", answer.StatusCode)
}

// sign signs a message with each of its endpoint's secrets.
func sign(m message, secrets [][]byte, now time.Time, body []byte) (string, error) {
	var signatures []string
	for _, secret := range secrets {
		key, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			return "", err
		}
		signature, err := key.Sign(m.ID.String(), now, body)
		if err != nil {
			return "", err
		}
		signatures = append(signatures, signature)
	}
	return strings.Join(signatures, " "), nil
}

// explain says why there was no answer. Those who read it must not learn from it what answers within the network.
func explain(err error, timeout time.Duration) string {
	var name *net.DNSError
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.Is(err, outbound.ErrRefused):
		return "The address must be https and public."
	case errors.As(err, &name):
		return "The name of the host was not found."
	case errors.As(err, &certificate), errors.As(err, &authority):
		return "The certificate of the host is not valid."
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Sprintf("There was no answer within %v.", timeout)
	}
	return "The connection failed."
}
