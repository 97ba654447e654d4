package channels

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
)

var message = Message{
	ID: uuid.MustParse("0193c5a0-7a00-7000-8000-000000000033"), To: "patient@example.org", Text: "كيف كانت زيارتك؟ https://px.example/s/x",
	Subject: "كيف كانت زيارتك؟", Sender: "مستشفى الحمادي", Unsubscribe: "https://px.example/s/x/unsubscribe", Language: "ar",
}

// A mailServer is an SMTP server with STARTTLS and AUTH, which fails as its test wants.
type mailServer struct {
	mu       sync.Mutex
	received []*mail.Message
	refuse   func(stage, argument string) error // of rcpt and data
	cut      bool                               // the connection after DATA
}

func (m *mailServer) NewSession(c *smtp.Conn) (smtp.Session, error) { return &mailSession{m, c}, nil }

type mailSession struct {
	server *mailServer
	conn   *smtp.Conn
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "px" || password != "secret" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}
func (s *mailSession) Reset()                               {}
func (s *mailSession) Logout() error                        { return nil }
func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.server.refuse != nil {
		return s.server.refuse("rcpt", to)
	}
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	text, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(text.Body)
	if err != nil {
		return err
	}
	text.Body = strings.NewReader(string(body))
	s.server.mu.Lock()
	s.server.received = append(s.server.received, text)
	s.server.mu.Unlock()
	if s.server.cut {
		return s.conn.Conn().Close()
	}
	return nil
}

// start runs the server, and returns a channel that uses it.
func (m *mailServer) start(t *testing.T, scheme, userinfo string, withTLS bool) Channel {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	parsed, _ := x509.ParseCertificate(certificate)
	roots.AddCert(parsed)
	server := smtp.NewServer(m)
	server.Domain, server.AllowInsecureAuth, server.ReadTimeout, server.WriteTimeout = "localhost", false, 5*time.Second, 5*time.Second
	if withTLS {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if scheme == "smtps" {
		listener = tls.NewListener(listener, server.TLSConfig)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	channel, err := newEmail(fmt.Sprintf("%s://%slocalhost:%s", scheme, userinfo, port), "px@hospital.example", &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return channel
}

func send(t *testing.T, c Channel, m Message) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	session, err := c.Open(ctx)
	if err != nil {
		return "", err
	}
	defer session.Close()
	return session.Send(ctx, m)
}

func TestEmail(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"smtp", "smtps"} {
		server := &mailServer{}
		if _, err := send(t, server.start(t, scheme, "px:secret@", true), message); err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		got := server.received[0].Header
		for header, want := range map[string]string{
			"Message-ID": "<0193c5a0-7a00-7000-8000-000000000033@hospital.example>", "List-Unsubscribe": "<https://px.example/s/x/unsubscribe>",
			"List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "To": "<patient@example.org>", "Auto-Submitted": "auto-generated", "Content-Language": "ar",
		} {
			if got.Get(header) != want {
				t.Errorf("%s: %s is %q, want %q", scheme, header, got.Get(header), want)
			}
		}
		from, err := got.AddressList("From")
		if err != nil || from[0].Name != "مستشفى الحمادي" || from[0].Address != "px@hospital.example" {
			t.Errorf("%s: from %v, %v", scheme, from, err)
		}
	}
}

func TestEmailFaults(t *testing.T) {
	t.Parallel()
	refusal := func(code int) func(string, string) error {
		return func(string, string) error { return &smtp.SMTPError{Code: code, Message: "no"} }
	}
	for name, c := range map[string]struct {
		server    *mailServer
		userinfo  string
		withTLS   bool
		permanent bool
	}{
		"temporary refusal":             {server: &mailServer{refuse: refusal(451)}, userinfo: "px:secret@", withTLS: true},
		"permanent refusal":             {server: &mailServer{refuse: refusal(550)}, userinfo: "px:secret@", withTLS: true, permanent: true},
		"connection cut after DATA":     {server: &mailServer{cut: true}, userinfo: "px:secret@", withTLS: true},
		"wrong password, which is ours": {server: &mailServer{}, userinfo: "px:wrong@", withTLS: true},
		"no STARTTLS":                   {server: &mailServer{}},
	} {
		_, err := send(t, c.server.start(t, "smtp", c.userinfo, c.withTLS), message)
		if err == nil || IsPermanent(err) != c.permanent {
			t.Errorf("%s: %v, permanent %v", name, err, IsPermanent(err))
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
	for _, url := range []string{"http://mail.example", "smtp://", "smtp://mail.example:x", "smtp://mail.example?starttls=maybe", "smtp://u:sec ret@\x7f"} {
		if _, err := NewEmail(url, "px@hospital.example"); err == nil || strings.Contains(err.Error(), "sec ret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := NewEmail("smtp://mail.example", "no address"); err == nil {
		t.Error("no address is taken for one")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	sms, email := Outbox(SMS, "SA", "", nil), Outbox(Email, "SA", "", nil)
	for _, c := range []struct {
		channel    Channel
		text, want string
	}{
		{sms, "0501234567", "+966501234567"}, {sms, "+966 50 123 4567", "+966501234567"}, {sms, "00966501234567", "+966501234567"},
		{sms, "٠٥٠١٢٣٤٥٦٧", "+966501234567"}, {sms, "+44 7400 123456", "+447400123456"}, {sms, "12", ""}, {sms, "", ""}, {sms, "phone", ""},
		{email, "Patient@Example.ORG", "patient@example.org"}, {email, "x", ""}, {email, "", ""}, {email, "A <a@example.org>", ""}, {email, "a@example.org\r\nBcc: b@example.org", ""},
	} {
		if got, ok := c.channel.Address(c.text); got != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", c.text, got, ok, c.want)
		}
	}
}

func TestSMS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status    int
		answer    string
		permanent bool
		fails     bool
	}{
		"taken":                   {200, `{"success": true, "data": {"ids": ["", 4711]}}`, false, false},
		"refused with 200":        {200, `{"success": false, "error": "blocked"}`, true, true},
		"200 that says nothing":   {200, `{}`, true, true},
		"200 that is no JSON":     {200, `OK`, false, true},
		"a bad number":            {422, `{}`, true, true},
		"a redirect":              {302, ``, true, true},
		"too many":                {429, `{}`, false, true},
		"a fault of the gateway":  {503, `{}`, false, true},
		"an endless answer":       {200, `{"success": true, "x": "` + strings.Repeat("a", 1<<20) + `"}`, false, true},
		"success that is no flag": {200, `{"success": {"a": true}}`, true, true},
	} {
		var body map[string]string
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewDecoder(r.Body).Decode(&body)
			if r.Header.Get("Authorization") != "Bearer key" || r.Method != http.MethodPost {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.answer)
		}))
		channel, err := NewSMS(Gateway{
			URL: gateway.URL, Headers: `{"Authorization": "Bearer key"}`, Body: `{"to": {{json .To}}, "text": {{json .Text}}, "ref": "{{.ID}}", "from": {{json .Sender}}}`,
			To: "digits", Sender: `Al"Hammadi`, Success: "/success", ProviderID: "/data/ids/1", Region: "SA",
		})
		if err != nil {
			t.Fatal(err)
		}
		m := message
		m.To = "+966501234567"
		id, err := send(t, channel, m)
		if (err != nil) != c.fails || IsPermanent(err) != c.permanent || !c.fails && id != "4711" {
			t.Errorf("%s: %q, %v, permanent %v", name, id, err, IsPermanent(err))
		}
		if body["to"] != "966501234567" || body["text"] != m.Text || body["from"] != `Al"Hammadi` || body["ref"] != m.ID.String() {
			t.Errorf("%s: sent %v", name, body)
		}
		gateway.Close()
		if _, err := send(t, channel, m); err == nil || IsPermanent(err) || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s, gateway away: %v", name, err)
		}
	}
	for name, g := range map[string]Gateway{
		"URL": {URL: "ftp://x", To: "e164"}, "template": {URL: "https://x", Body: "{{.Nothing}}", To: "e164"}, "headers": {URL: "https://x", Headers: "a: b", To: "e164"},
		"numbers": {URL: "https://x", To: "local"}, "pointer": {URL: "https://x", To: "e164", Success: "success"},
	} {
		if _, err := NewSMS(g); err == nil {
			t.Errorf("a wrong %s is taken", name)
		}
	}
}
