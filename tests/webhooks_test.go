package tests

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/worker/webhooks"
)

func TestWebhookIsVerifiedAndThin(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	endpoint := w.endpoint(t, r)
	id := w.action(t, 1)
	w.step(t)
	got := r.all()
	if len(got) != 2 {
		t.Fatalf("received %d, want 2", len(got))
	}
	created, ok := got[0].webhook.(*client.ActionCreated)
	if !ok || created.Data.ID.String() != id || created.Data.Version != 1 || created.Data.URL != "/api/actions/"+id+"/" || *created.Data.Hospital != w.hospital {
		t.Errorf("received %s", got[0].body)
	}
	if time.Since(created.Timestamp) > time.Minute || got[0].header.Get("Content-Type") != "application/json" {
		t.Errorf("received %s with %v", got[0].body, got[0].header)
	}
	m := w.messages(t)
	if m[0]["status"] != "delivered" || m[0]["id"] != got[0].id || m[0]["delivered_at"] == nil || lastAttempt(m[0])["error"] != "" {
		t.Errorf("the message: %v", m[0])
	}
	if stored := value[string](w.system, "SELECT encode(secret, 'escape') FROM webhook_endpoints"); strings.Contains(stored, r.secrets[0][6:20]) {
		t.Error("the secret is stored as it is")
	}
	if a := w.expect(t, http.StatusOK, "GET", endpointsPath+endpoint+"/", w.admin.access, nil); strings.Contains(a.body, "secret\"") {
		t.Errorf("the secret is shown again: %s", a.body)
	}
}

// A message that fails holds back its own object alone, and comes again under its id.
func TestWebhookOrder(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	w.endpoint(t, r)
	bad := w.action(t, 2)
	w.action(t, 1)
	r.answers(func(rw http.ResponseWriter, _ *http.Request, webhook client.Webhook) {
		if created, ok := webhook.(*client.ActionCreated); ok && created.Data.ID.String() == bad {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.step(t)
	w.due()
	w.step(t)
	if got := fmt.Sprint(r.objects()); strings.Count(got, "created 1") != 3 || strings.Count(got, "updated") != 1 {
		t.Errorf("received %s", got)
	}
	r.answers(nil)
	before := len(r.all())
	w.due()
	w.step(t)
	if got := fmt.Sprint(r.objects()[before:]); got != "[created 1 updated 2 updated 3]" {
		t.Errorf("then received %s", got)
	}
	ids := map[string]bool{}
	for _, one := range r.all() {
		if created, ok := one.webhook.(*client.ActionCreated); ok && created.Data.ID.String() == bad {
			ids[one.id] = true
		}
	}
	if len(ids) != 1 {
		t.Errorf("attempts came under %d ids", len(ids))
	}
}

func TestWebhookReceivers(t *testing.T) {
	t.Parallel()
	w := newWebhookWorld(t)
	inner := newReceiver(t)
	for want, answer := range map[string]func(http.ResponseWriter, *http.Request, client.Webhook){
		"The answer was 302.": func(rw http.ResponseWriter, r *http.Request, _ client.Webhook) {
			http.Redirect(rw, r, inner.URL, http.StatusFound)
		},
		"The answer was 307.": func(rw http.ResponseWriter, r *http.Request, _ client.Webhook) {
			http.Redirect(rw, r, inner.URL, http.StatusTemporaryRedirect)
		},
		"The answer was 500.": answerStatus(http.StatusInternalServerError),
		"There was no answer within 300ms.": func(_ http.ResponseWriter, r *http.Request, _ client.Webhook) {
			<-r.Context().Done() // hangs
		},
		"The connection failed.": func(rw http.ResponseWriter, _ *http.Request, _ client.Webhook) {
			panic(http.ErrAbortHandler)
		},
		"": func(rw http.ResponseWriter, r *http.Request, _ client.Webhook) { // gigabytes, byte by byte
			for r.Context().Err() == nil {
				if _, err := rw.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		},
	} {
		r := newReceiver(t)
		endpoint := w.endpoint(t, r)
		r.answers(answer)
		w.expect(t, http.StatusOK, "POST", endpointsPath+endpoint+"/test/", w.admin.access, nil)
		must(t, w.with(func(o *webhooks.Options) { o.Timeout = 300 * time.Millisecond }).Step(t.Context()))
		list := w.expect(t, http.StatusOK, "GET", webhookMessagesPath+"?endpoint="+endpoint, w.admin.access, nil).json()["results"].([]any)
		if attempt := lastAttempt(list[0].(map[string]any)); attempt["error"] != want {
			t.Errorf("%q: %v", want, attempt)
		}
	}
	if len(inner.all()) > 0 {
		t.Error("a redirect was followed")
	}

	// One that answers a byte at a time, and never comes to an end.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				ticks := time.NewTicker(20 * time.Millisecond)
				defer ticks.Stop()
				for _, char := range []byte("HTTP/1.1 200 OK\r\nX-Slow: " + strings.Repeat("x", 1000)) {
					if _, err := conn.Write([]byte{char}); err != nil {
						return
					}
					<-ticks.C
				}
			}()
		}
	}()
	slow := newReceiver(t)
	endpoint := w.endpoint(t, slow)
	w.exec("UPDATE webhook_endpoints SET url = $2 WHERE id = $1", endpoint, "http://"+listener.Addr().String())
	w.expect(t, http.StatusOK, "POST", endpointsPath+endpoint+"/test/", w.admin.access, nil)
	must(t, w.with(func(o *webhooks.Options) { o.Timeout = 300 * time.Millisecond }).Step(t.Context()))
	list := w.expect(t, http.StatusOK, "GET", webhookMessagesPath+"?endpoint="+endpoint, w.admin.access, nil).json()["results"].([]any)
	if attempt := lastAttempt(list[0].(map[string]any)); attempt["error"] != "There was no answer within 300ms." {
		t.Errorf("byte by byte: %v", attempt)
	}
}

func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	w.endpoint(t, r)
	r.answers(func(rw http.ResponseWriter, _ *http.Request, _ client.Webhook) {
		rw.Header().Set("Retry-After", "7200")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	w.action(t, 0)
	w.step(t)
	if wait := value[float64](w.system, "SELECT extract(epoch FROM next_at - now())::float8 FROM webhook_messages"); wait < 7100 || wait > 7200 {
		t.Errorf("after Retry-After: 7200 it waits %v seconds", wait)
	}
	r.answers(answerStatus(http.StatusBadGateway))
	for _, seconds := range []float64{300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, 0} {
		w.due()
		w.step(t)
		wait := value[float64](w.system, "SELECT coalesce(extract(epoch FROM next_at - now()), 0)::float8 FROM webhook_messages")
		if wait < seconds*0.79 || wait > seconds*1.21 {
			t.Errorf("waits %v seconds, want %v", wait, seconds)
		}
	}
	m := w.messages(t)[0]
	if m["status"] != "failed" || len(m["attempts"].([]any)) != 10 || len(r.all()) != 10 {
		t.Errorf("after ten attempts: %v", m)
	}
	// Whoever mended it asks for it again.
	r.answers(nil)
	w.expect(t, http.StatusOK, "POST", webhookMessagesPath+m["id"].(string)+"/redeliver/", w.admin.access, nil)
	w.step(t)
	if again := r.all()[10]; again.id != m["id"] || again.body != r.all()[0].body {
		t.Errorf("redelivered as %s %s", again.id, again.body)
	}
}

func TestWebhookReplay(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	first := w.endpoint(t, r)
	w.action(t, 1)
	w.step(t)
	replay := func(endpoint string, failed bool) map[string]any {
		return w.expect(t, http.StatusOK, "POST", endpointsPath+endpoint+"/replay/", w.admin.access, fields{"since": since, "only_failed": failed}).json()
	}
	if a := replay(first, true); jsonText(a) != `{"is_complete":true,"queued":0}` {
		t.Errorf("nothing failed: %v", a)
	}
	if a := replay(first, false); jsonText(a) != `{"is_complete":true,"queued":2}` {
		t.Errorf("all: %v", a)
	}
	w.step(t)
	got := r.all()
	if len(got) != 4 || got[0].id != got[2].id || got[1].id != got[3].id {
		t.Errorf("replayed: %v", r.objects())
	}
	// A later endpoint gets what happened before it was there.
	other := newReceiver(t)
	replay(w.endpoint(t, other), false)
	w.step(t)
	if got := fmt.Sprint(other.objects()); got != "[created 1 updated 2]" {
		t.Errorf("a later endpoint received %s", got)
	}
	if a := w.expect(t, http.StatusBadRequest, "POST", endpointsPath+first+"/replay/", w.admin.access, fields{"since": since, "until": since}); canonical(t, a.body) != `{"until":["It must be after since."]}` {
		t.Errorf("no time at all: %s", a.body)
	}
}

func TestWebhookSecretRotation(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	id := w.endpoint(t, r)
	old := r.secrets[0]
	rotate := func(status int) map[string]any {
		return w.expect(t, status, "POST", endpointsPath+id+"/rotate_secret/", w.admin.access, nil).json()
	}
	fresh := rotate(http.StatusOK)["secret"].(string)
	rotate(http.StatusConflict)
	for _, secret := range []string{old, fresh} {
		r.secrets = []string{secret}
		w.action(t, 0)
		w.step(t)
	}
	w.exec("UPDATE webhook_endpoints SET previous_until = now()")
	w.action(t, 0)
	w.step(t)
	if n := len(r.all()); n != 3 {
		t.Errorf("%d of 3 could be verified", n)
	}
	r.secrets = []string{old}
	w.action(t, 0)
	w.step(t)
	if n := len(r.all()); n != 3 {
		t.Error("the old secret still signs")
	}
	r.secrets = []string{fresh}
	// After a change of the secret key its secret can still be opened, and after two, as it was sealed again after the first.
	// One that was not has to be made anew.
	for _, c := range []struct {
		key, previous, want string
	}{
		{"another-key-of-more-than-32-bytes!!", signingKey, ""},
		{"a-third-key-of-more-than-32-bytes!!!", "another-key-of-more-than-32-bytes!!", ""},
		{"a-fourth-key-of-more-than-32-bytes!", "a-fifth-key-of-more-than-32-bytes!!", "The secret was sealed under another secret key: rotate it."},
	} {
		w.exec("DELETE FROM webhook_messages")
		w.action(t, 0)
		must(t, w.service.Step(t.Context())) // fans out, and delivers
		w.exec("UPDATE webhook_endpoints SET leased_until = '-infinity'")
		w.exec("UPDATE webhook_messages SET status = 'pending', next_at = now()")
		must(t, w.with(func(o *webhooks.Options) { o.SecretKey, o.SecretKeyPrevious = c.key, c.previous }).Step(t.Context()))
		w.exec("UPDATE webhook_endpoints SET leased_until = '-infinity'")
		if m := w.messages(t); lastAttempt(m[len(m)-1])["error"] != c.want {
			t.Errorf("under another key: %v", m[len(m)-1])
		}
	}
}

func TestWebhookIsDisabled(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	id := w.endpoint(t, r)
	w.exec("UPDATE users SET email = username || '@staff.example'")
	state := func() string {
		a := w.expect(t, http.StatusOK, "GET", endpointsPath+id+"/", w.admin.access, nil).json()
		return fmt.Sprint(a["status"], " ", a["disabled_reason"])
	}
	r.answers(answerStatus(http.StatusGone))
	w.action(t, 0)
	w.step(t)
	if got := state(); got != "disabled gone" {
		t.Errorf("after 410: %s", got)
	}
	w.expect(t, http.StatusConflict, "POST", endpointsPath+id+"/test/", w.admin.access, nil)
	w.expect(t, http.StatusConflict, "POST", webhookMessagesPath+w.messages(t)[0]["id"].(string)+"/redeliver/", w.admin.access, nil)
	w.due()
	w.step(t)
	if n := len(r.all()); n != 1 {
		t.Errorf("a disabled endpoint got %d messages", n)
	}
	w.expect(t, http.StatusOK, "PATCH", endpointsPath+id+"/", w.admin.access, fields{"status": "active"})
	r.answers(answerStatus(http.StatusBadGateway))
	w.due()
	w.step(t)
	if got := state(); got != "active " {
		t.Errorf("after one failure: %s", got)
	}
	w.exec("UPDATE webhook_endpoints SET failing_since = now() - interval '5 days'")
	w.due()
	w.step(t)
	if got := state(); got != "disabled failing" {
		t.Errorf("after five days: %s", got)
	}
	if n := value[int](w.system, "SELECT count(*) FROM user_messages WHERE kind = 'webhook_disabled' AND user_id = $1", w.admin.id); n != 2 {
		t.Errorf("%d emails to the Hospital Admin", n)
	}
	if n := value[int](w.system, "SELECT count(*) FROM audit_log WHERE operation = 'disableWebhookEndpoint' AND hospital_id = $1", w.hospital); n != 2 {
		t.Errorf("%d audit entries", n)
	}
}

// Addresses are checked when they are written, and when they are dialled.
func TestWebhookAddresses(t *testing.T) {
	t.Parallel()
	w := newWebhookWorld(t)
	strict := startServer(t).clinic() // without inner networks
	for address, ok := range map[string]bool{
		"https://partner.example/x?y=1": true, "https://93.184.216.34:8443/": true, "https://[2606:2800:220:1::1]/": true,
		"http://partner.example/": false, "https://127.0.0.1/": false, "https://10.1.2.3/": false, "https://192.168.0.1/": false, "https://169.254.169.254/": false,
		"https://[::1]/": false, "https://[::ffff:127.0.0.1]/": false, "https://[fd00::1]/": false, "https://[64:ff9b::7f00:1]/": false, "https://localhost/": false, "https://LOCALHOST./": false,
		"https://db.internal/": false, "https://db/": false, "https://0/": false, "https://0x7f.1/": false, "https://127.1/": false, "https://2130706433/": false,
		"https://user@partner.example/": false, "https://partner.example/#x": false, "ftp://partner.example/": false, "partner.example": false, "https:///x": false, "https://a b/": false,
	} {
		a := strict.send("POST", endpointsPath, strict.admin.access, fields{"url": address, "hospital": strict.hospital, "events": []string{"survey.sent"}})
		if (a.status == http.StatusCreated) != ok || !ok && canonical(t, a.body) != `{"url":["The address must be https and public."]}` {
			t.Errorf("%s: %d %s", address, a.status, a.body)
		}
	}
	w.expect(t, http.StatusBadRequest, "POST", endpointsPath, w.admin.access, fields{"url": "http://10.1.2.3/", "hospital": w.hospital, "events": []string{"survey.sent"}})
	w.expect(t, http.StatusBadRequest, "POST", endpointsPath, w.admin.access, fields{"url": "https://a.example/", "events": []string{"survey.sent"}})
	w.expect(t, http.StatusBadRequest, "POST", endpointsPath, w.admin.access, fields{"url": "https://a.example/", "hospital": w.hospital, "events": []string{"survey.sent", "survey.sent"}})

	// A name that leads inside, and an address that changed between two attempts.
	r := newReceiver(t)
	id := w.endpoint(t, r)
	w.exec("UPDATE webhook_endpoints SET url = replace(url, '127.0.0.1', 'localhost') WHERE id = $1", id)
	w.action(t, 0)
	must(t, w.with(func(o *webhooks.Options) { o.Networks = nil }).Step(t.Context()))
	m := w.messages(t)[0]
	if len(r.all()) != 0 || lastAttempt(m)["error"] != "The address must be https and public." {
		t.Errorf("a name that leads inside: %v", m)
	}
	w.due()
	w.step(t) // where loopback is admitted
	if len(r.all()) != 1 {
		t.Errorf("then %v", w.messages(t)[0])
	}
}

// A hospital has so many endpoints and no more, also when two are made at the same time.
func TestWebhookEndpointsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWebhookWorld(t)
	w.exec(`INSERT INTO webhook_endpoints (id, hospital_id, url, events, secret)
		SELECT uuid7(), $1, 'https://partner.example/', '{survey.sent}', '' FROM generate_series(1, 199)`, w.hospital)
	statuses := make(chan int, 4)
	for range 4 {
		go func() {
			statuses <- w.send("POST", endpointsPath, w.admin.access, fields{"url": "https://partner.example/", "hospital": w.hospital, "events": []string{"survey.sent"}}).status
		}()
	}
	made := 0
	for range 4 {
		switch status := <-statuses; status {
		case http.StatusCreated:
			made++
		case http.StatusConflict:
		default:
			t.Errorf("answered %d", status)
		}
	}
	if n := value[int](w.system, "SELECT count(*) FROM webhook_endpoints WHERE hospital_id = $1", w.hospital); made != 1 || n != 200 {
		t.Errorf("%d were made, there are %d", made, n)
	}
}

// Ten requests at a time, and a dead endpoint beside it changes nothing.
func TestWebhookInFlight(t *testing.T) {
	t.Parallel()
	w, dead, live := newWebhookWorld(t), newReceiver(t), newReceiver(t)
	w.endpoint(t, dead)
	w.endpoint(t, live)
	var mu sync.Mutex
	open, most, release := 0, 0, make(chan struct{})
	dead.answers(func(_ http.ResponseWriter, r *http.Request, _ client.Webhook) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		mu.Lock()
		open--
		mu.Unlock()
	})
	for range 30 {
		w.action(t, 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 { // processes
		all.Go(func() { _ = w.with(func(*webhooks.Options) {}).Run(ctx) })
	}
	dbtest.Eventually(t, "the live endpoint has all", func() bool { return len(live.all()) == 30 })
	dbtest.Eventually(t, "ten wait for the dead one", func() bool { mu.Lock(); defer mu.Unlock(); return open == 10 })
	close(release)
	dbtest.Eventually(t, "the other has all", func() bool { return len(dead.all()) == 30 })
	cancel()
	all.Wait()
	if most != 10 {
		t.Errorf("%d requests at a time, want 10", most)
	}
	if n := value[int](w.system, "SELECT count(*) FROM webhook_messages WHERE status = 'delivered'"); n != 60 {
		t.Errorf("%d of 60 are delivered", n)
	}
}

// A process that loses its lease cannot write what became of its attempts.
func TestWebhookLease(t *testing.T) {
	t.Parallel()
	w, r := newWebhookWorld(t), newReceiver(t)
	w.endpoint(t, r)
	w.action(t, 0)
	r.answers(func(http.ResponseWriter, *http.Request, client.Webhook) {
		w.exec("UPDATE webhook_endpoints SET owner = $1", uuid.New()) // it was away for too long
	})
	w.step(t)
	if m := w.messages(t)[0]; m["status"] != "pending" || len(m["attempts"].([]any)) != 0 {
		t.Errorf("written by a former owner: %v", m)
	}
	r.answers(nil)
	w.step(t)
	if got := r.all(); len(got) != 2 || got[0].id != got[1].id {
		t.Errorf("the next owner: %v", got)
	}
}
