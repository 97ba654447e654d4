package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A proxy stands between one process and one Postgres server. It reads the messages of the protocol, so that it can
// cut a connection at a chosen place of a transaction.
type proxy struct {
	owner    string
	node     *node
	listener net.Listener

	mu      sync.Mutex
	trouble *trouble // nil: none
	pairs   map[*pair]bool

	commits atomic.Int64 // seen while a cut was armed
	cuts    atomic.Int64
}

// How a proxy misbehaves.
type mischief int

const (
	cutBefore   mischief = iota // the COMMIT is never sent
	cutDuring                   // the COMMIT is sent, and the connection closed at once
	cutAfter                    // the COMMIT is answered, and the answer is lost
	delayed                     // each message of the client waits
	blackHole                   // nothing is read or written any more, and then the connection is lost
	halfOpen                    // the client's side is closed, the server does not learn of it
	stopReading                 // a long answer is read in part, and the rest waits
)

// longAnswer is where stopReading stops: what a claim of a few hundred events takes.
const longAnswer = 32 << 10

// trouble is a mischief for some time.
type trouble struct {
	mischief mischief
	every    int64         // cuts: one in so many commits
	delay    time.Duration // of each message
	onStop   func()        // stopReading: called once an answer was stopped
	stopOnce sync.Once
	over     chan struct{} // closed when the trouble is over
}

func newProxy(ctx context.Context, n *node, owner string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{owner: owner, node: n, listener: listener, pairs: map[*pair]bool{}}
	context.AfterFunc(ctx, func() {
		listener.Close()
		p.cutAll()
	})
	go p.accept(ctx)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// set makes the proxy misbehave until the returned function is called.
func (p *proxy) set(t *trouble) (over func()) {
	t.over = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = t
	return func() {
		p.mu.Lock()
		if p.trouble == t {
			p.trouble = nil
		}
		p.mu.Unlock()
		close(t.over)
	}
}

func (p *proxy) current() *trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble
}

// cutAll closes every connection.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.close()
	}
}

// backends are the process ids of the Postgres backends that serve the owner.
func (p *proxy) backends() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []uint32
	for c := range p.pairs {
		pids = append(pids, c.backend.Load())
	}
	return pids
}

func (p *proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(ctx, client)
	}
}

func (p *proxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	if t := p.current(); t != nil && t.mischief == blackHole {
		t.wait(ctx)
		return
	}
	server, err := p.node.dial(ctx)
	if err != nil {
		return // the client sees a connection that is closed at once
	}
	defer server.Close()
	c := &pair{proxy: p, client: client, server: server}
	p.mu.Lock()
	p.pairs[c] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, c.close) // also a pair that was added after cutAll
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { c.toServer(ctx); c.close() })
	both.Go(func() { c.toClient(ctx); c.close() })
	both.Wait()
}

// wait returns when the trouble is over.
func (t *trouble) wait(ctx context.Context) {
	select {
	case <-t.over:
	case <-ctx.Done():
	}
}

// A pair is a connection of the client and the one to the server that belongs to it.
type pair struct {
	proxy          *proxy
	client, server net.Conn
	backend        atomic.Uint32 // process id of the server's side
	inTransaction  atomic.Bool
	loseAnswer     atomic.Bool // the answer to a commit is to be lost
	keepServer     atomic.Bool // half-open: the server's side stays
}

func (c *pair) close() {
	c.client.Close()
	if !c.keepServer.Load() {
		c.server.Close()
	}
}

const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102
)

// startUp forwards the first message of a client. It reports whether messages with a type follow.
func (c *pair) startUp(from *bufio.Reader) bool {
	for {
		var header [4]byte
		if _, err := io.ReadFull(from, header[:]); err != nil {
			return false
		}
		size := binary.BigEndian.Uint32(header[:])
		if size < 8 || size > 1<<16 {
			return false
		}
		body := make([]byte, size-4)
		if _, err := io.ReadFull(from, body); err != nil {
			return false
		}
		code := binary.BigEndian.Uint32(body)
		if code == sslRequest || code == gssRequest {
			if _, err := c.client.Write([]byte("N")); err != nil {
				return false
			}
			continue
		}
		_, err := c.server.Write(append(header[:], body...))
		return err == nil && code != cancelRequest
	}
}

// readMessage reads a message with its header into a buffer, which it may grow.
func readMessage(from *bufio.Reader, buffer []byte) ([]byte, error) {
	buffer = append(buffer[:0], 0, 0, 0, 0, 0)
	if _, err := io.ReadFull(from, buffer); err != nil {
		return buffer, err
	}
	size := int(binary.BigEndian.Uint32(buffer[1:]))
	if size < 4 || size > 1<<30 {
		return buffer, io.ErrUnexpectedEOF
	}
	buffer = slices.Grow(buffer, size+1-len(buffer))[:size+1]
	_, err := io.ReadFull(from, buffer[5:])
	return buffer, err
}

// toServer forwards what the client says.
func (c *pair) toServer(ctx context.Context) {
	from := bufio.NewReader(c.client)
	if !c.startUp(from) {
		return
	}
	var message []byte
	executed := false
	for {
		var err error
		if message, err = readMessage(from, message); err != nil {
			return
		}
		commits := message[0] == 'S' && executed && !c.inTransaction.Load() ||
			message[0] == 'Q' && strings.HasPrefix(strings.ToLower(string(message[5:])), "commit")
		executed = message[0] == 'E' || executed && message[0] != 'S'
		if !c.forward(ctx, message, commits) {
			return
		}
	}
}

// forward sends a message to the server, or does what the proxy's trouble is. It reports whether to go on.
func (c *pair) forward(ctx context.Context, message []byte, commits bool) bool {
	t := c.proxy.current()
	if t == nil {
		return c.send(message)
	}
	cut := t.mischief <= cutAfter && commits && c.proxy.commits.Add(1)%t.every == 0
	if cut {
		c.proxy.cuts.Add(1)
	}
	switch {
	case cut && t.mischief == cutBefore:
		return false
	case cut && t.mischief == cutDuring:
		c.send(message)
		return false
	case cut && t.mischief == cutAfter:
		c.loseAnswer.Store(true)
	case t.mischief == delayed:
		sleep(ctx, t.delay)
	case t.mischief == blackHole:
		t.wait(ctx)
		return false
	case t.mischief == halfOpen:
		c.keepServer.Store(true)
		c.client.Close()
		t.wait(ctx)
		c.keepServer.Store(false)
		return false
	}
	return c.send(message)
}

func (c *pair) send(message []byte) bool {
	_, err := c.server.Write(message)
	return err == nil
}

// toClient forwards what the server answers.
func (c *pair) toClient(ctx context.Context) {
	from, to := bufio.NewReader(c.server), bufio.NewWriter(c.client)
	var message []byte
	answered := 0 // bytes since the server was last ready for a query
	for {
		var err error
		if message, err = readMessage(from, message); err != nil {
			return
		}
		answered += len(message)
		switch {
		case message[0] == 'K':
			c.backend.Store(binary.BigEndian.Uint32(message[5:]))
		case message[0] == 'Z':
			answered = 0
			c.inTransaction.Store(message[5] != 'I')
			if c.loseAnswer.Load() {
				return
			}
		}
		if t := c.proxy.current(); t != nil {
			switch {
			case t.mischief == blackHole:
				t.wait(ctx)
				return
			case t.mischief == stopReading && answered > longAnswer:
				to.Flush()
				t.stopOnce.Do(t.onStop)
				t.wait(ctx)
			}
		}
		if c.loseAnswer.Load() && message[0] != 'Z' {
			continue
		}
		if _, err := to.Write(message); err != nil {
			return
		}
		if from.Buffered() == 0 {
			if err := to.Flush(); err != nil {
				return
			}
		}
	}
}
