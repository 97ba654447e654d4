package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/valyala/fasthttp"
)

// secretKey is shared by all processes under test, so that a token of one is valid for all.
const secretKey = "the-bench-keeps-no-secret-from-anyone"

// unreachableLimits are counted, but never refuse.
var unreachableLimits = []string{
	"PX360_RATE_LIMITS=enforce", "PX360_RATE_LIMIT_USER=100000000/m", "PX360_RATE_LIMIT_EVENTS=100000000/h",
}

// layered is an operation whose overhead is measured by layer. The slices have one value per round.
type layered struct {
	name          string
	method, path  string
	body          func(connection int) []byte // nil: no body
	without, with *process                    // processes without and with rate limits; a third one runs the worker
	users         []string                    // the token of each connection

	free, counted         []float64 // requests per second, without and with limits
	credential, principal []float64 // shares of the request time, with limits
}

// prepareLayers gives each connection a user and a source system of its own: concurrent calls of one limit
// queue for its row lock, and a sender of thousands of events a second would not have such a limit.
func (b *bench) prepareLayers(without, with *process) error {
	users := make([]string, b.connections)
	for i := range users {
		name := fmt.Sprint("bench-", i)
		_, err := b.api.create("/api/auth/users/", object{
			"username": name, "email": name + "@example.com", "password": password, "password_confirm": password, "hospital": b.api.hospital,
		})
		if err != nil {
			return err
		}
		if users[i], err = b.api.logIn(name); err != nil {
			return err
		}
	}
	event := func(connection int) object {
		o := b.api.event(0, 0)
		o["event_code"], o["source_system"] = "NO_STAGE", fmt.Sprint("his-", connection)
		return o
	}
	one, many := make([][]byte, b.connections), make([][]byte, b.connections)
	for i := range b.connections {
		list := make([]object, bulk)
		for j := range list {
			list[j] = event(i)
		}
		one[i], many[i] = text(event(i)), text(object{"events": list})
	}
	for _, l := range []layered{
		{name: "layers: users/me", method: "GET", path: "/api/auth/users/me/"},
		{name: "layers: one event", method: "POST", path: "/api/integrations/events/", body: func(i int) []byte { return one[i] }},
		{name: "layers: bulk of 1,000 events", method: "POST", path: "/api/integrations/events/bulk_create/", body: func(i int) []byte { return many[i] }},
	} {
		l.without, l.with, l.users = without, with, users
		b.layered = append(b.layered, &l)
	}
	return nil
}

func text(o object) []byte {
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err) // cannot happen for strings and numbers
	}
	return raw
}

// measureLayers measures one round. The order alternates between rounds, since tables grow
// meanwhile.
func (b *bench) measureLayers(l *layered) error {
	steps := []func(*layered) error{b.measureWithout, b.measureWith}
	if len(l.free)%2 == 1 {
		slices.Reverse(steps)
	}
	for _, measure := range steps {
		if err := measure(l); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureWithout(l *layered) error {
	rate, err := b.measureRate(l, l.without)
	l.free = append(l.free, rate)
	return err
}

func (b *bench) measureWith(l *layered) error {
	before, err := l.with.readMetrics()
	if err != nil {
		return err
	}
	rate, err := b.measureRate(l, l.with)
	if err != nil {
		return err
	}
	after, err := l.with.readMetrics()
	if err != nil {
		return err
	}
	all := after.requests - before.requests
	l.counted = append(l.counted, rate)
	l.credential = append(l.credential, (after.credential-before.credential)/all)
	l.principal = append(l.principal, (after.principal-before.principal)/all)
	return nil
}

// measureRate is the request rate of a process, each connection with its own user.
func (b *bench) measureRate(l *layered, p *process) (float64, error) {
	users := make([]*api, len(l.users))
	for i, token := range l.users {
		users[i] = b.api.as(p.url, token)
	}
	rate, err := b.rate(func(connection, _ int) error {
		var body any
		if l.body != nil {
			body = l.body(connection)
		}
		return users[connection].call(l.method, l.path, body, nil)
	})
	return rate, errors.Join(err, b.waitForWorker())
}

// seconds are the cumulated times of a process.
type seconds struct{ requests, credential, principal float64 }

// readMetrics reads the metrics of a process.
func (p *process) readMetrics() (s seconds, err error) {
	status, page, err := fasthttp.Get(nil, p.metrics)
	if err != nil || status != fasthttp.StatusOK {
		return s, fmt.Errorf("%s: %d %w", p.metrics, status, err)
	}
	for line := range bytes.Lines(page) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		number, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			continue // comment line
		}
		switch {
		case bytes.HasPrefix(name, []byte("px360_http_request_seconds_sum")):
			s.requests += number
		case string(name) == `px360_admission_seconds_sum{step="credential"}`:
			s.credential = number
		case string(name) == `px360_admission_seconds_sum{step="principal"}`:
			s.principal = number
		}
	}
	return s, nil
}

func (b *bench) printLayers(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\tlimits off /s\tenforced /s\tlimits cost\ttoken\tprincipal and limits\t\n")
	for _, l := range b.layered {
		if len(l.free) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f %%\t%.0f %%\t%.0f %%\t\n", l.name, median(l.free), median(l.counted),
			100*(1-median(l.counted)/median(l.free)), 100*median(l.credential), 100*median(l.principal))
	}
	w.Flush()
	fmt.Fprintln(out, "\nlimits cost: of the rate; token, and principal with limits, which is one round trip: of a request's time; requests a second")
}
