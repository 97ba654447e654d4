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
	"strings"
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

	doer client.HttpRequestDoer // for tests
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
	api      *client.ClientWithResponses
	day      *hospitalday.Day
	plan     hospitalday.Plan
	progress *progress
	summary  *Summary

	hospital client.ID
	journeys *collection[hospitalday.Encounter, client.JourneyInstance]
}

// Run plays the day and returns what came out once every event of it was decided on.
func Run(ctx context.Context, o Options) (*Summary, error) {
	day, err := hospitalday.Load()
	if err != nil {
		return nil, err
	}
	p, err := newPlayer(ctx, o, day)
	if err != nil {
		return nil, explained(err, o.URL)
	}
	if err := p.play(ctx); err != nil {
		return nil, explained(err, o.URL)
	}
	return p.summary, nil
}

func newPlayer(ctx context.Context, o Options, day *hospitalday.Day) (*player, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	progress := newProgress(o.Progress, o.Interactive)
	api, err := client.Connect(ctx, o.URL, o.Username, o.Password, client.WithHTTPClient(&client.Retry{
		Doer:       o.doer,
		Tries:      tries,
		Patience:   patience,
		Repeatable: repeatable,
		OnWait:     progress.waiting,
	}))
	if err != nil {
		return nil, err
	}
	plan := hospitalday.DemoPlan()
	return &player{
		api: api, day: day, plan: plan, progress: progress,
		summary: &Summary{URL: o.URL, Hospital: plan.Hospital.Code},
	}, nil
}

func (p *player) play(ctx context.Context) error {
	defer p.progress.close()
	for _, step := range []func(context.Context) error{p.fillCatalogue, p.send, p.awaitOutcomes, p.countOutcomes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// repeatable tells which POSTs may be made again after a lost connection. Events have an
// Idempotency-Key, and of everything else the second one is refused because the first one exists;
// but two templates may have the same name.
func repeatable(request *http.Request) bool {
	return !strings.Contains(request.URL.Path, "/templates/")
}

// explained adds what to do about an error.
func explained(err error, url string) error {
	if failure, ok := errors.AsType[*client.APIError](err); ok {
		switch failure.StatusCode {
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

// value returns what an answer holds, row being where its JSON was read into.
func value[T any](row *T, response *http.Response, body []byte) (*T, error) {
	if err := client.Check(response, body); err != nil {
		return nil, err
	}
	if row == nil {
		return nil, fmt.Errorf("the answer from %s is no JSON: does the URL lead to PX360?", response.Request.URL.Path)
	}
	return row, nil
}

func ptr[T any](value T) *T { return &value }
