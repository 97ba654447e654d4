// Package channels sends messages to people: by email over SMTP, and by SMS through a gateway that is asked over HTTP. It
// knows neither surveys nor the database.
package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nyaruka/phonenumbers"
)

// The names of channels: Channel of the contract.
const (
	SMS   = "sms"
	Email = "email"
)

// A Message to one person. Subject, Sender, and Unsubscribe are for email only.
type Message struct {
	ID          uuid.UUID // stays the same when it is sent again
	To          string    // as Address gave it
	Text        string
	Subject     string
	Sender      string // the name that the message comes from
	Unsubscribe string // the URL that a POST unsubscribes at (RFC 8058); blank for none
	Language    string
}

// A Channel is a way to reach people.
type Channel interface {
	// Address is an address as the channel takes it, in its one spelling. It is false for what is none.
	Address(text string) (string, bool)
	// Open prepares for sending a few messages one after the other.
	Open(ctx context.Context) (Session, error)
}

// A Session sends messages, until it is closed.
type Session interface {
	// Send returns what the provider calls the message, if it says so. An error that IsPermanent will come again.
	Send(ctx context.Context, m Message) (providerID string, err error)
	Close()
}

// A Sender sends messages one after the other, over one session as long as that works.
type Sender struct {
	Channel Channel
	session Session
}

// Send is the session's. After an error the next message has a new one: the old one may be broken.
func (s *Sender) Send(ctx context.Context, m Message) (providerID string, err error) {
	if s.session == nil {
		if s.session, err = s.Channel.Open(ctx); err != nil {
			s.session = nil
			return "", err
		}
	}
	if providerID, err = s.session.Send(ctx, m); err != nil {
		s.Close()
	}
	return providerID, err
}

// Close ends the session, if there is one.
func (s *Sender) Close() {
	if s.session != nil {
		s.session.Close()
		s.session = nil
	}
}

// timeout is how long a provider may take for one message.
const timeout = 20 * time.Second

// permanentError is a refusal that repeating the message does not mend.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent is a refusal that repeating the message does not mend.
func Permanent(text string) error { return permanentError{errors.New(text)} }

// Storable is a provider's text as Postgres can store it, of 500 characters at most: what is not written down is sent
// again.
func Storable(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
	if letters := []rune(text); len(letters) > 500 {
		text = string(letters[:500])
	}
	return text
}

func permanent(format string, values ...any) error {
	return permanentError{fmt.Errorf(format, values...)}
}

// IsPermanent tells whether an error will come again if the message is sent again.
func IsPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}

// phoneAddress is a phone number in E.164, such as +966501234567. A number without a country is one of the region.
func phoneAddress(text, region string) (string, bool) {
	number, err := phonenumbers.Parse(text, region)
	if err != nil || !phonenumbers.IsValidNumber(number) {
		return "", false
	}
	return phonenumbers.Format(number, phonenumbers.E164), true
}

// emailAddress is an email address without a name, in lower case: no server that matters tells cases apart, and a
// suppressed address must be found again.
func emailAddress(text string) (string, bool) {
	address, err := mail.ParseAddress(text)
	if err != nil || address.Name != "" {
		return "", false
	}
	return strings.ToLower(address.Address), true
}

// Outbox is a channel for development, which delivers nothing: it writes each message to the log, and appends it as a line
// of JSON to a file that only its owner can read.
func Outbox(name, region, file string, log *slog.Logger) Channel {
	return outbox{name, region, file, log}
}

type outbox struct {
	name, region, file string
	log                *slog.Logger
}

func (c outbox) Address(text string) (string, bool) {
	if c.name == SMS {
		return phoneAddress(text, c.region)
	}
	return emailAddress(text)
}

func (c outbox) Open(context.Context) (Session, error) { return c, nil }

func (c outbox) Send(ctx context.Context, m Message) (string, error) {
	line, err := json.Marshal(OutboxMessage{m.ID, c.name, m.To, m.Subject, m.Text})
	if err != nil {
		return "", permanentError{err}
	}
	file, err := os.OpenFile(c.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = file.Write(append(line, '\n'))
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	c.log.InfoContext(ctx, "message, not delivered as no channel is configured", "channel", c.name, "to", m.To, "text", m.Text)
	return "", nil
}

func (outbox) Close() {}

// An OutboxMessage is a line of an outbox.
type OutboxMessage struct {
	ID      uuid.UUID `json:"id"`
	Channel string    `json:"channel"`
	To      string    `json:"to"`
	Subject string    `json:"subject,omitempty"`
	Text    string    `json:"text"`
}
