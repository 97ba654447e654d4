// Package outbound keeps requests that others asked for from reaching what only this machine can: server-side request
// forgery. An address is checked when it is written, as far as it says where it leads, and again when it is dialled, after
// its name is resolved.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrRefused is about an address that nothing is sent to.
var ErrRefused = errors.New("the address must be https and public")

// A Guard decides where requests may go: by https to public addresses, and to those of its networks, there also by http.
type Guard struct {
	networks []netip.Prefix
	public   *ssrf.Guardian
}

// NewGuard is a guard that also lets requests into these networks.
func NewGuard(networks []netip.Prefix) *Guard {
	return &Guard{networks, ssrf.New(ssrf.WithAnyPort())}
}

// CheckURL refuses an address that cannot be one for a webhook, whatever its name resolves to.
func (g *Guard) CheckURL(text string) error {
	at, err := url.Parse(text)
	switch {
	case err != nil, at.Host == "", at.Hostname() == "", at.User != nil, at.Fragment != "", at.Opaque != "", strings.ContainsAny(text, "\\ \t\r\n"):
		return ErrRefused
	case at.Scheme != "https" && (at.Scheme != "http" || len(g.networks) == 0):
		return ErrRefused
	}
	if ip, err := netip.ParseAddr(at.Hostname()); err == nil {
		return g.check(ip, at.Scheme == "https")
	}
	name := strings.ToLower(strings.TrimSuffix(at.Hostname(), "."))
	if inner := name == "localhost" || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".local") || strings.HasSuffix(name, ".internal") ||
		!strings.Contains(name, "."); inner && len(g.networks) == 0 {
		return ErrRefused
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") { // a number, which some resolvers take for an address
		return ErrRefused
	}
	return nil
}

// check decides on an address. Without TLS only the networks are reached.
func (g *Guard) check(ip netip.Addr, secure bool) error {
	ip = ip.Unmap()
	if slices.ContainsFunc(g.networks, func(network netip.Prefix) bool { return network.Contains(ip) }) {
		return nil
	}
	if !secure {
		return ErrRefused
	}
	if err := g.public.SafeAddr(ip); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// Client is an HTTP client that is kept by the guard. It follows no redirect, uses no proxy, and reads little of headers.
func (g *Guard) Client(timeout time.Duration) *http.Client {
	transport := &http.Transport{
		DialContext: g.dial(false, timeout), ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: 16 << 10,
		MaxIdleConns: 1000, MaxIdleConnsPerHost: 10, IdleConnTimeout: 30 * time.Second,
	}
	secure := transport.Clone()
	secure.DialContext = g.dial(true, timeout)
	return &http.Client{
		Transport: byScheme{plain: transport, secure: secure}, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (g *Guard) dial(secure bool, timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return g.check(at.Addr(), secure)
	}}
	return dialer.DialContext
}

// byScheme sends requests without TLS where only the networks are reached.
type byScheme struct{ plain, secure *http.Transport }

func (b byScheme) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return b.secure.RoundTrip(r)
	}
	return b.plain.RoundTrip(r)
}
