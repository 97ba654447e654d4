package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPlanDependsOnTheSeed(t *testing.T) {
	t.Parallel()
	text := func(seed uint64) (all string) {
		for _, f := range newPlan(seed, 10*time.Minute, kinds()) {
			all += f.String() + "\n"
		}
		return all
	}
	if first, second := text(1), text(1); first != second {
		t.Error("two plans of one seed differ")
	}
	if text(1) == text(2) {
		t.Error("the plans of two seeds are the same")
	}
}

func TestPlanHasEveryKind(t *testing.T) {
	t.Parallel()
	plan := newPlan(1, 10*time.Minute, kinds())
	for _, k := range kinds() {
		n := 0
		for _, f := range plan {
			if f.kind.name == k.name {
				n++
			}
		}
		if n == 0 || k.once && n > 1 {
			t.Errorf("%s comes %d times", k.name, n)
		}
	}
	for _, f := range plan {
		if f.at+max(f.length, f.kind.quiet) > 10*time.Minute {
			t.Errorf("%s ends after the run", f)
		}
	}
	plain := options{seed: 1, duration: 10 * time.Minute}
	for _, o := range []options{
		plain, {seed: 1, duration: plain.duration, standby: true}, {seed: 1, duration: plain.duration, disk: "1g"}, {seed: 1, duration: plain.duration, before: "px360"},
	} {
		plan, err := o.faults()
		needs := func(n need) bool { return slices.ContainsFunc(plan, func(f fault) bool { return f.kind.needs == n }) }
		if err != nil || needs(needsStandby) != o.standby || needs(needsDisk) != (o.disk != "") || needs(needsBefore) != (o.before != "") {
			t.Errorf("%+v: a fault is missing, or needs what there is not (%v)", o, err)
		}
	}
}

func TestUnexcused(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	outage := func(begin, end int) happened { return happened{kind{scope: scopeCluster}, at(begin), at(end)} } // excuses 15 s more
	for name, c := range map[string]struct {
		faults []happened
		want   time.Duration
	}{
		"no fault":          {nil, 100 * time.Second},
		"before":            {[]happened{outage(-50, -20)}, 100 * time.Second},
		"reaches into":      {[]happened{outage(-50, 0)}, 85 * time.Second},
		"in the middle":     {[]happened{outage(20, 30)}, 75 * time.Second},
		"two that overlap":  {[]happened{outage(20, 30), outage(25, 40)}, 65 * time.Second},
		"one within one":    {[]happened{outage(20, 60), outage(25, 30)}, 45 * time.Second},
		"over the end":      {[]happened{outage(90, 200)}, 90 * time.Second},
		"after":             {[]happened{outage(150, 200)}, 100 * time.Second},
		"a single process":  {[]happened{{kind{scope: scopeProcess}, at(20), at(90)}}, 85 * time.Second},
		"a poison event":    {[]happened{{kind{scope: scopePoison}, at(20), at(90)}}, 100 * time.Second},
		"longer than twice": {[]happened{outage(-10, 200)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := unexcused(at(0), at(100), c.faults); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// The patches of the self-test apply to the sources as they are.
func TestPatchesApply(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("broken/*.patch")
	if err != nil || len(paths) < leastPatches {
		t.Fatalf("%d patches: %v", len(paths), err)
	}
	for _, path := range paths {
		if _, err := readBroken(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		apply := exec.CommandContext(t.Context(), "git", "apply", "--check", filepath.Join("tests/chaos", path))
		apply.Dir = "../.."
		if out, err := apply.CombinedOutput(); err != nil {
			t.Errorf("%s no longer applies, renew it: %v\n%s", path, err, out)
		}
	}
}

// message is one of the protocol.
func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

// A pairing is a proxied connection whose both ends the test holds.
type pairing struct {
	proxy          *proxy
	client, server net.Conn
}

func newPairing(t *testing.T) *pairing {
	t.Helper()
	client, clientSide := net.Pipe()
	serverSide, server := net.Pipe()
	p := &pairing{&proxy{pairs: map[*pair]bool{}}, client, server}
	c := &pair{proxy: p.proxy, client: clientSide, server: serverSide}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { c.toServer(ctx); c.close(); done <- struct{}{} }()
	go func() { c.toClient(ctx); c.close(); done <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		client.Close()
		server.Close()
		<-done
		<-done
	})
	startUp := append(binary.BigEndian.AppendUint32(nil, 8), 0, 3, 0, 0)
	p.say(t, p.client, startUp)
	p.hear(t, p.server, startUp)
	p.say(t, p.server, message('Z', "I"))
	p.hear(t, p.client, message('Z', "I"))
	return p
}

func (p *pairing) say(t *testing.T, from net.Conn, text []byte) {
	t.Helper()
	if _, err := from.Write(text); err != nil {
		t.Fatal(err)
	}
}

// hear expects the text, or the end of the connection if it is nil.
func (p *pairing) hear(t *testing.T, at net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, max(1, len(want)))
	n, err := io.ReadFull(at, got)
	if !bytes.Equal(got[:n], want) {
		t.Fatalf("got %q (%v), want %q", got[:n], err, want)
	}
}

func TestProxyCuts(t *testing.T) {
	t.Parallel()
	commit, execute, sync, ready := message('Q', "commit\x00"), message('E', "\x00\x00\x00\x00\x00"), message('S', ""), message('Z', "I")
	for name, c := range map[string]struct {
		mischief mischief
		before   [][]byte // forwarded
		last     []byte   // where the transaction is committed
		reaches  bool     // the server
	}{
		"before COMMIT":             {cutBefore, nil, commit, false},
		"during COMMIT":             {cutDuring, nil, commit, true},
		"after COMMIT":              {cutAfter, nil, commit, true},
		"before a single statement": {cutBefore, [][]byte{execute}, sync, false},
		"after a single statement":  {cutAfter, [][]byte{execute}, sync, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPairing(t)
			defer p.proxy.set(&trouble{mischief: c.mischief, every: 1})()
			for _, text := range c.before {
				p.say(t, p.client, text)
				p.hear(t, p.server, text)
			}
			p.say(t, p.client, c.last)
			if c.reaches {
				p.hear(t, p.server, c.last)
			}
			if c.mischief == cutAfter {
				p.say(t, p.server, ready)
			}
			p.hear(t, p.client, nil)
			if p.proxy.cuts.Load() != 1 {
				t.Errorf("%d cuts", p.proxy.cuts.Load())
			}
		})
	}
}

// What is no commit passes: a statement that is only prepared, and one within a transaction.
func TestProxyForwards(t *testing.T) {
	t.Parallel()
	p := newPairing(t)
	defer p.proxy.set(&trouble{mischief: cutBefore, every: 1})()
	for _, text := range [][]byte{message('P', "a\x00SELECT\x00\x00\x00"), message('S', ""), message('Q', "begin\x00")} {
		p.say(t, p.client, text)
		p.hear(t, p.server, text)
	}
	p.say(t, p.server, message('Z', "T"))
	p.hear(t, p.client, message('Z', "T"))
	for _, text := range [][]byte{message('E', "\x00\x00\x00\x00\x00"), message('S', "")} {
		p.say(t, p.client, text)
		p.hear(t, p.server, text)
	}
}
