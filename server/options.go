package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/limits"
)

// MinSecretKeyBytes is the least length of Options.SecretKey.
const MinSecretKeyBytes = auth.MinKeyBytes

// The range of Options.MaxPayload, in bytes: the contract promises the lower end, and says the upper one.
const (
	MinMaxPayload = 64 << 10
	MaxMaxPayload = 1 << 20
)

// EventSenders is who may send events, beside API keys: any (every user of a hospital) or staff (PX Admins, Hospital
// Admins and PX Coordinators).
type EventSenders = auth.EventSenders

// Options of a server. Start from DefaultOptions, set PublicURL and SecretKey, and change what else
// you want: New replaces no zero value, it refuses those that make no sense.
type Options struct {
	PublicURL         string         // base of links to other pages, without a slash at the end
	SecretKey         string         // signs tokens and API keys; at least MinSecretKeyBytes
	SecretKeyPrevious string         // still verifies what it signed; may be empty
	AccessLifetime    time.Duration  // of access tokens, at least 1 s
	RefreshLifetime   time.Duration  // of refresh tokens, at least 1 s
	RotateRefresh     bool           // a refresh token can be used once, and is answered with the next
	RateLimits        string         // enforce, report or off
	Limits            limits.Limits  // each needs a quota and a window
	LongestLoginWait  time.Duration  // after wrong passwords of the same name, from 0, which is for tests, to limits.LongestLoginWait
	TrustedProxies    []netip.Prefix // whose X-Forwarded-For is trusted; none if empty
	MaxInFlight       int            // requests that are worked on at once, at least 1; a quarter of them is kept for events
	Connections       int            // that one client address may have open, at least 1
	SlowestClient     Pace           // a client that sends or reads slower is cut off
	PrincipalKept     time.Duration  // a caller whose body takes longer to come is looked up again
	EventSenders      EventSenders   // who may send events, beside API keys
	WebhookNetworks   []netip.Prefix // inner networks that webhook endpoints may be in, there also without TLS; none if empty
	MaxPayload        int            // bytes of an event's payload_json, from MinMaxPayload to MaxMaxPayload
	Log               *slog.Logger
	Registerer        prometheus.Registerer // where metrics are registered; none if nil
}

// DefaultOptions are the options of a server that nobody configured, but for PublicURL and SecretKey,
// which have no default. They enforce the rate limits, and log and register nothing.
func DefaultOptions() Options {
	return Options{
		AccessLifetime:   auth.DefaultAccessLifetime,
		RefreshLifetime:  auth.DefaultRefreshLifetime,
		RateLimits:       limits.ModeEnforce,
		Limits:           limits.DefaultLimits(),
		LongestLoginWait: limits.LongestLoginWait,
		MaxInFlight:      limits.DefaultInFlight,
		Connections:      limits.DefaultConnections,
		SlowestClient:    DefaultPace,
		PrincipalKept:    time.Second,
		EventSenders:     auth.EventSendersAny,
		MaxPayload:       MinMaxPayload,
		Log:              slog.New(slog.DiscardHandler),
	}
}

// validate refuses what New could not work with. Keys, token lifetimes and rate limits are checked by
// what is made of them.
func (o Options) validate() error {
	switch {
	case o.PublicURL == "":
		return errors.New("server options: no PublicURL")
	case o.MaxInFlight < 1:
		return fmt.Errorf("server options: MaxInFlight is %d and must be at least 1", o.MaxInFlight)
	case o.Connections < 1:
		return fmt.Errorf("server options: Connections is %d and must be at least 1", o.Connections)
	case o.SlowestClient.Grace <= 0 || o.SlowestClient.BytesPerSecond < 1:
		return fmt.Errorf("server options: SlowestClient is %v and needs a grace and a byte per second", o.SlowestClient)
	case o.MaxPayload < MinMaxPayload || o.MaxPayload > MaxMaxPayload:
		return fmt.Errorf("server options: MaxPayload is %d and must be from %d to %d", o.MaxPayload, MinMaxPayload, MaxMaxPayload)
	case o.LongestLoginWait < 0 || o.LongestLoginWait > limits.LongestLoginWait:
		return fmt.Errorf("server options: LongestLoginWait is %s and must be from 0 to %s", o.LongestLoginWait, limits.LongestLoginWait)
	case o.Log == nil:
		return errors.New("server options: no Log")
	}
	return nil
}
