// Package demo plays the hospital day against a running PX360, through its public API and with the
// generated client alone, and tells what came out. It may be run again, also after it was interrupted:
// what is there already is found and not made twice.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/hospitalday"
)

// Options says where to play the day. URL, Username and Password are required; the user must be a
// PX Admin, because only they may create a hospital and see what became of events.
type Options struct {
	URL, Username, Password string
	// Progress hears how it goes: a bar that is drawn over and over if Interactive, else lines.
	// Default: nothing.
	Progress    io.Writer
	Interactive bool
	// Outbox is a file with the messages of a px360 without a channel. If there is one, the day's surveys are sent at
	// once, whatever their delay, and simulated patients answer most of them; low scores open actions, some of which are
	// worked on; and a partner on this machine hears of all of it by webhooks.
	Outbox string

	doer client.Doer // for tests
}

const (
	// parallel requests fill the catalogue quickly and leave the server room for others.
	parallel = 8
	// batchSize is the events in a request: few enough that late journeys come between the events of
	// their encounters, many enough that the 1,000 requests an hour and system are far away.
	batchSize = 100
	// patience is for the limits on requests, which a server that enforces them makes the demo feel:
	// at 100 requests a minute the catalogue takes about twenty minutes.
	patience = 2 * time.Hour
	// tries bridge half a minute of a server that restarts.
	tries = 10
	// stall is how long the worker may decide on nothing before the demo gives up on it.
	stall = time.Minute
)

// player plays the day.
type player struct {
	api      *client.Client
	outbox   string
	day      *hospitalday.Day
	plan     hospitalday.Plan
	progress *progress
	summary  *Summary
	partner  *partner // nil: nobody listens

	hospital client.ID
	journeys *collection[hospitalday.Encounter, client.JourneyInstance]
}

// Run plays the day and returns what came out once every event of it was decided on.
func Run(ctx context.Context, o Options) (*Summary, error) {
	day, err := hospitalday.Load()
	if err != nil {
		return nil, err
	}
	p, err := newPlayer(o, day)
	if err != nil {
		return nil, withAdvice(err, o.URL)
	}
	if err := p.play(ctx); err != nil {
		return nil, withAdvice(err, o.URL)
	}
	return p.summary, nil
}

func newPlayer(o Options, day *hospitalday.Day) (*player, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	progress := newProgress(o.Progress, o.Interactive)
	options := []client.Option{
		client.WithPassword(o.Username, o.Password), client.WithMaxTries(tries), client.WithMaxWait(patience),
		client.WithOnWait(progress.waiting),
	}
	if o.doer != nil {
		options = append(options, client.WithHTTPClient(o.doer))
	}
	api, err := client.New(o.URL, options...)
	if err != nil {
		return nil, err
	}
	plan := hospitalday.DemoPlan()
	return &player{
		api: api, outbox: o.Outbox, day: day, plan: plan, progress: progress,
		summary: &Summary{URL: o.URL, Hospital: plan.Hospital.Code},
	}, nil
}

func (p *player) play(ctx context.Context) error {
	defer p.progress.close()
	defer p.stopListening(ctx)
	for _, step := range []func(context.Context) error{p.fillCatalogue, p.listen, p.send, p.awaitOutcomes, p.countOutcomes, p.survey, p.act, p.hear} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// withAdvice adds what to do about an error.
func withAdvice(err error, url string) error {
	if failure, ok := errors.AsType[*client.Error](err); ok {
		switch failure.Status {
		case http.StatusUnauthorized:
			return fmt.Errorf("%w\ngive the right user with --username and the password with --password or PX360_ADMIN_PASSWORD", err)
		case http.StatusForbidden:
			return fmt.Errorf("%w\nthe demo needs a PX Admin: only they may create a hospital and see events", err)
		}
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "dial" {
		return fmt.Errorf("%w\nis PX360 running at %s? `px360 up` starts it; --url tells where it is", err, url)
	}
	return err
}
