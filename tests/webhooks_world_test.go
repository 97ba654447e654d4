package tests

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/worker/webhooks"
)

const (
	endpointsPath       = "/api/webhooks/endpoints/"
	webhookMessagesPath = "/api/webhooks/messages/"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// A receiver is a partner's server, which verifies what it gets.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	secrets  []string
	received []received
	answer   func(http.ResponseWriter, *http.Request, client.Webhook)
}

type received struct {
	id      string
	webhook client.Webhook
	body    string
	header  http.Header
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	secrets, answer := slices.Clone(r.secrets), r.answer
	r.mu.Unlock()
	webhook, err := client.ParseWebhook(body, request.Header, secrets...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	r.received = append(r.received, received{request.Header.Get("Webhook-Id"), webhook, string(body), request.Header})
	r.mu.Unlock()
	if answer != nil {
		answer(w, request, webhook)
	}
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.received)
}

func (r *receiver) answers(f func(http.ResponseWriter, *http.Request, client.Webhook)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func answerStatus(status int) func(http.ResponseWriter, *http.Request, client.Webhook) {
	return func(w http.ResponseWriter, _ *http.Request, _ client.Webhook) { w.WriteHeader(status) }
}

// objects are the objects of what was received, with their versions, in order.
func (r *receiver) objects() (texts []string) {
	for _, one := range r.all() {
		switch w := one.webhook.(type) {
		case *client.ActionCreated:
			texts = append(texts, fmt.Sprintf("created %d", w.Data.Version))
		case *client.ActionUpdated:
			texts = append(texts, fmt.Sprintf("updated %d", w.Data.Version))
		case *client.SLABreached:
			texts = append(texts, fmt.Sprintf("breached %d", w.Data.Version))
		case *client.WebhookTest:
			texts = append(texts, "test")
		default:
			texts = append(texts, fmt.Sprintf("%T", w))
		}
	}
	return texts
}

// A webhookWorld is a hospital whose webhooks are delivered when its steps are called.
type webhookWorld struct {
	*clinic
	database *queries.DB
	service  *webhooks.Service
}

func newWebhookWorld(t *testing.T) *webhookWorld {
	t.Helper()
	w := &webhookWorld{clinic: startServer(t, func(o *server.Options) { o.WebhookNetworks = loopback }).clinic()}
	var err error
	w.database, err = queries.Open(t.Context(), w.dbURL, queries.DefaultOptions())
	must(t, err)
	t.Cleanup(w.database.Close)
	w.service = w.with(func(*webhooks.Options) {})
	return w
}

func (w *webhookWorld) with(change func(*webhooks.Options)) *webhooks.Service {
	o := webhooks.DefaultOptions()
	o.SecretKey, o.Networks = signingKey, loopback
	change(&o)
	return webhooks.New(w.database, o)
}

// endpoint makes an endpoint at a receiver, which hears of actions.
func (w *webhookWorld) endpoint(t *testing.T, r *receiver) string {
	t.Helper()
	made := w.expect(t, http.StatusCreated, "POST", endpointsPath, w.admin.access, fields{
		"url": r.URL, "hospital": w.hospital, "events": []string{"action.created", "action.updated", "sla.breached"},
	}).json()
	r.secrets = append(r.secrets, made["secret"].(string))
	return made["id"].(string)
}

func (w *webhookWorld) step(t *testing.T) {
	t.Helper()
	w.exec("UPDATE webhook_endpoints SET leased_until = '-infinity'") // no rest
	must(t, w.service.Step(t.Context()))
}

// action opens an action, and changes it so often.
func (w *webhookWorld) action(t *testing.T, changes int) string {
	t.Helper()
	id := w.create(w.admin.access, actionsPath, fields{"title": "A", "hospital": w.hospital}).String()
	for i := range changes {
		w.expect(t, http.StatusOK, "PATCH", actionsPath+id+"/", w.admin.access, fields{"title": fmt.Sprint("A", i)})
	}
	return id
}

// messages are what became of the messages, by their version.
func (w *webhookWorld) messages(t *testing.T) (all []map[string]any) {
	t.Helper()
	for _, m := range w.expect(t, http.StatusOK, "GET", webhookMessagesPath+"?page_size=100", w.admin.access, nil).json()["results"].([]any) {
		all = append(all, m.(map[string]any))
	}
	// Those that were made in the same millisecond come in any order.
	slices.SortStableFunc(all, func(a, b map[string]any) int { return cmp.Compare(a["version"].(float64), b["version"].(float64)) })
	return all
}

// due makes every message that is pending due.
func (w *webhookWorld) due() {
	w.exec("UPDATE webhook_messages SET next_at = now() WHERE status = 'pending'")
}

func lastAttempt(m map[string]any) map[string]any {
	attempts := m["attempts"].([]any)
	return attempts[len(attempts)-1].(map[string]any)
}
