package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/px360/px360/gen/client"
)

// A partner is a server on this machine that hears what happens, and verifies it.
type partner struct {
	server   *http.Server
	endpoint client.ID
	secret   string
	mu       sync.Mutex
	heard    map[string]int // by type
	seen     map[string]bool
	wrong    int // that could not be verified
}

// listen makes an endpoint at a server of the demo's own. A px360 that delivers to none on this machine does without.
func (p *player) listen(ctx context.Context) error {
	if p.outbox == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	one := &partner{heard: map[string]int{}, seen: map[string]bool{}}
	one.server = &http.Server{Handler: one, ReadHeaderTimeout: 5 * time.Second}
	made, err := p.api.CreateWebhookEndpoint(ctx, client.WebhookEndpointCreate{
		Hospital: client.Value(p.hospital), URL: "http://" + listener.Addr().String() + "/", Description: client.Ptr("The demo's own"),
		Events: []client.WebhookEventType{
			client.WebhookEventTypeJourneyCompleted, client.WebhookEventTypeSurveySent, client.WebhookEventTypeSurveyCompleted,
			client.WebhookEventTypeActionCreated, client.WebhookEventTypeActionUpdated, client.WebhookEventTypeSLABreached,
		},
	})
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == http.StatusBadRequest {
		return listener.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make a webhook endpoint: %w", err), listener.Close())
	}
	one.endpoint, one.secret = made.ID, made.Secret
	p.partner = one
	go func() { _ = one.server.Serve(listener) }()
	return nil
}

func (one *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	webhook, err := client.ParseWebhook(body, r.Header, one.secret)
	if err != nil {
		one.wrong++
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if id := r.Header.Get("Webhook-Id"); !one.seen[id] {
		one.seen[id] = true
		one.heard[typeOf(webhook)]++
	}
	w.WriteHeader(http.StatusNoContent)
}

func typeOf(webhook client.Webhook) string {
	switch w := webhook.(type) {
	case *client.JourneyCompleted:
		return string(w.Type)
	case *client.SurveySent:
		return string(w.Type)
	case *client.SurveyCompleted:
		return string(w.Type)
	case *client.ActionCreated:
		return string(w.Type)
	case *client.ActionUpdated:
		return string(w.Type)
	case *client.SLABreached:
		return string(w.Type)
	}
	return fmt.Sprintf("%T", webhook)
}

// hear waits until all is delivered, and takes the endpoint away again.
func (p *player) hear(ctx context.Context) error {
	if p.partner == nil {
		return nil
	}
	pending := &client.ListWebhookMessagesParams{
		Endpoint: &p.partner.endpoint, Status: client.Ptr(client.WebhookMessageStatusPending), PageSize: client.Ptr(client.PageSize(1)),
	}
	empty := 0
	err := p.await(ctx, func() (bool, error) {
		list, err := p.api.ListWebhookMessages(ctx, pending)
		if empty++; err != nil || list.Count > 0 {
			empty = 0
		}
		return empty > 5, err // also what is fanned out within a second
	})
	p.partner.mu.Lock()
	p.summary.Webhooks, p.summary.WrongWebhooks = p.partner.heard, p.partner.wrong
	p.partner.mu.Unlock()
	return err
}

// stopListening ends the server, and takes its endpoint away.
func (p *player) stopListening(ctx context.Context) {
	if p.partner != nil {
		_ = p.api.DeleteWebhookEndpoint(context.WithoutCancel(ctx), p.partner.endpoint)
		_ = p.partner.server.Close()
	}
}
