package server

import (
	"strings"
	"testing"
	"time"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/limits"
)

// A zero value is an error and not replaced by a default.
func TestInvalidOptions(t *testing.T) {
	t.Parallel()
	database, err := queries.Open(t.Context(), "postgres://nobody@127.0.0.1:1/nothing", queries.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Close)
	for _, test := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.PublicURL = "" }, "PublicURL"},
		{func(o *Options) { o.SecretKey = o.SecretKey[:MinSecretKeyBytes-1] }, "key"},
		{func(o *Options) { o.SecretKeyPrevious = "short" }, "key"},
		{func(o *Options) { o.AccessLifetime = 0 }, "lifetime"},
		{func(o *Options) { o.RefreshLifetime = time.Millisecond }, "lifetime"},
		{func(o *Options) { o.RateLimits = "" }, "rate limits"},
		{func(o *Options) { o.RateLimits = "perhaps" }, "rate limits"},
		{func(o *Options) { o.Limits.Events = limits.Limit{} }, "rate limit of events"},
		{func(o *Options) { o.Limits.Auth = limits.Limit{Quota: -1, Window: time.Hour} }, "rate limit of auth"},
		{func(o *Options) { o.Limits.User = limits.Limit{Quota: 5} }, "rate limit of user"},
		{func(o *Options) { o.MaxInFlight = 0 }, "MaxInFlight"},
		{func(o *Options) { o.MaxPayload = MinMaxPayload - 1 }, "MaxPayload"},
		{func(o *Options) { o.MaxPayload = MaxMaxPayload + 1 }, "MaxPayload"},
		{func(o *Options) { o.LongestLoginWait = limits.LongestLoginWait + 1 }, "LongestLoginWait"},
		{func(o *Options) { o.Connections = 0 }, "Connections"},
		{func(o *Options) { o.EventSenders = "" }, "any or staff"},
		{func(o *Options) { o.LongestLoginWait = -1 }, "LongestLoginWait"},
		{func(o *Options) { o.Log = nil }, "Log"},
	} {
		o := DefaultOptions()
		o.PublicURL, o.SecretKey = "http://localhost", strings.Repeat("k", MinSecretKeyBytes)
		test.change(&o)
		if _, err := New(database, o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want an error about %s", err, test.want)
		}
	}
}
