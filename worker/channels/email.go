package channels

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// NewEmail is a channel that sends by a mail server: smtp://user:password@host:587, which must offer STARTTLS unless
// the URL ends in ?starttls=off, or smtps:// for TLS from the first byte. from is the address that the messages come from.
func NewEmail(server, from string) (Channel, error) { return newEmail(server, from, nil) }

// newEmail is NewEmail with a TLS configuration; nil for the default.
func newEmail(server, from string, config *tls.Config) (Channel, error) {
	at, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("the mail server's URL cannot be read") // the error quotes the password
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("the address that email comes from: %w", err)
	}
	e := &email{host: at.Hostname(), from: sender}
	e.options = []gomail.Option{gomail.WithTimeout(timeout), gomail.WithoutNoop()}
	port := "587"
	switch starttls := at.Query().Get("starttls"); {
	case at.Scheme == "smtps" && starttls == "":
		port = "465"
		e.options = append(e.options, gomail.WithSSL())
	case at.Scheme == "smtp" && starttls == "":
		e.options = append(e.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case at.Scheme == "smtp" && starttls == "off":
		e.options = append(e.options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, errors.New("the mail server's URL must begin with smtp:// or smtps://, and may only end in ?starttls=off")
	}
	number, err := strconv.Atoi(cmp.Or(at.Port(), port))
	if err != nil || e.host == "" {
		return nil, errors.New("the mail server's URL needs a host, and a number as its port")
	}
	e.options = append(e.options, gomail.WithPort(number))
	if at.User != nil {
		password, _ := at.User.Password()
		e.options = append(e.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(at.User.Username()), gomail.WithPassword(password))
	}
	if config != nil {
		e.options = append(e.options, gomail.WithTLSConfig(config))
	}
	_, err = gomail.NewClient(e.host, e.options...)
	return e, err
}

type email struct {
	host    string
	options []gomail.Option
	from    *mail.Address
}

func (e *email) Address(text string) (string, bool) { return emailAddress(text) }

func (e *email) Open(ctx context.Context) (Session, error) {
	client, err := gomail.NewClient(e.host, e.options...)
	if err != nil {
		return nil, err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return nil, err
	}
	return &emailSession{e.from, client}, nil
}

type emailSession struct {
	from   *mail.Address
	client *gomail.Client
}

func (s *emailSession) Send(_ context.Context, m Message) (string, error) {
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := message.To(m.To); err != nil {
		return "", permanent("the address: %w", err)
	}
	_, domain, _ := strings.Cut(s.from.Address, "@")
	message.FromMailAddress(&mail.Address{Name: m.Sender, Address: s.from.Address})
	message.Subject(m.Subject)
	message.SetMessageIDWithValue(m.ID.String() + "@" + domain)
	message.SetDate()
	message.SetGenHeader(gomail.HeaderContentLang, m.Language)
	message.SetGenHeader(gomail.Header("Auto-Submitted"), "auto-generated") // no vacation notes, please (RFC 3834)
	if m.Unsubscribe != "" {
		message.SetGenHeader(gomail.HeaderListUnsubscribe, "<"+m.Unsubscribe+">")
		message.SetGenHeader(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	}
	message.SetBodyString(gomail.TypeTextPlain, m.Text)
	err := s.client.Send(message)
	if err == nil || message.IsDelivered() {
		return "", nil
	}
	var refused *gomail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() >= 500 {
		return "", permanentError{err}
	}
	return "", err
}

func (s *emailSession) Close() { _ = s.client.Close() }
