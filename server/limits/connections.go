package limits

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultConnections is how many connections one address may have open: far more than a browser or an integration
// needs, also where some dozens share an address, and far below what a process may have.
const DefaultConnections = 1000

// Connections bounds how many connections one client address may have open, idle ones included. It closes the ones
// beyond. Proxies that are trusted are not bounded: theirs are everybody's.
type Connections struct {
	most    int
	trusted []netip.Prefix
	refused prometheus.Counter

	mu   sync.Mutex
	open map[string]int // by address
}

// NewConnections bounds them to most, at least 1. Its refusals are counted with those of the budgets.
func NewConnections(most int, trusted []netip.Prefix, budgets *Budgets) *Connections {
	return &Connections{most: most, trusted: trusted, refused: budgets.connections, open: map[string]int{}}
}

// Track is for http.Server.ConnState.
func (c *Connections) Track(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && state != http.StateClosed && state != http.StateHijacked {
		return
	}
	peer, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	ip := peer.AddrPort().Addr().Unmap()
	if slices.ContainsFunc(c.trusted, func(network netip.Prefix) bool { return network.Contains(ip) }) {
		return
	}
	if address := ClientAddress(ip.String()); state == http.StateNew {
		if !c.add(address) {
			c.refused.Inc()
			_ = conn.Close() // which net/http then finds closed
		}
	} else {
		c.remove(address)
	}
}

// add counts a connection, and tells whether it may stay.
func (c *Connections) add(address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[address]++
	return c.open[address] <= c.most
}

func (c *Connections) remove(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[address]--; c.open[address] == 0 {
		delete(c.open, address)
	}
}
