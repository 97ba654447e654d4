// Package demo runs the hospital day against a running PX360, using only its public API through the
// generated client, and reports the results. It is idempotent: a further run finds the existing rows
// and does not create them again.
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

// Options configure a run. URL, Username and Password are required; the user must be a PX Admin,
// because only they may create a hospital and read events.
type Options struct {
	URL, Username, Password string
	// Progress receives the progress: a bar that is redrawn if Interactive, else lines. Default:
	// nothing.
	Progress    io.Writer
	Interactive bool

	doer client.HttpRequestDoer // for tests
}

const (
	// parallel is the number of concurrent requests that create the catalogue.
	parallel = 8
	// batchSize is the number of events in a request: few enough that late journeys are created
	// between the events of their encounters, many enough to stay far below the rate limit of 1,000
	// requests an hour and system.
	batchSize = 100
	// maxWait allows for rate limits: at 100 requests a minute the catalogue takes about twenty
	// minutes.
	maxWait = 2 * time.Hour
	// tries with backoff bridge a server restart of half a minute.
	tries = 10
	// stallTimeout is how long the worker may process nothing before the demo fails.
	stallTimeout = time.Minute
)

// runner runs the day.
type runner struct {
	api      *client.ClientWithResponses
	day      *hospitalday.Day
	plan     hospitalday.Plan
	progress *progress
	summary  *Summary

	hospital client.ID
	journeys *collection[hospitalday.Encounter, client.JourneyInstance]
}

// Run runs the day, waits until all events are processed, and returns the results.
func Run(ctx context.Context, o Options) (*Summary, error) {
	day, err := hospitalday.Load()
	if err != nil {
		return nil, err
	}
	p, err := newRunner(ctx, o, day)
	if err != nil {
		return nil, withAdvice(err, o.URL)
	}
	if err := p.run(ctx); err != nil {
		return nil, withAdvice(err, o.URL)
	}
	return p.summary, nil
}

func newRunner(ctx context.Context, o Options, day *hospitalday.Day) (*runner, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	progress := newProgress(o.Progress, o.Interactive)
	api, err := client.Connect(ctx, o.URL, o.Username, o.Password, client.WithHTTPClient(&client.Retry{
		Doer:       o.doer,
		Tries:      tries,
		Patience:   maxWait,
		Repeatable: repeatable,
		OnWait:     progress.waiting,
	}))
	if err != nil {
		return nil, err
	}
	plan := hospitalday.DemoPlan()
	return &runner{
		api: api, day: day, plan: plan, progress: progress,
		summary: &Summary{URL: o.URL, Hospital: plan.Hospital.Code},
	}, nil
}

func (p *runner) run(ctx context.Context) error {
	defer p.progress.close()
	for _, step := range []func(context.Context) error{p.createCatalogue, p.send, p.awaitOutcomes, p.countOutcomes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// repeatable reports which POSTs are idempotent. Events have an Idempotency-Key, and most other
// rows a unique key, so that a repeated request is refused; but templates may have equal names.
func repeatable(request *http.Request) bool {
	return !strings.Contains(request.URL.Path, "/templates/")
}

// withAdvice adds advice to an error.
func withAdvice(err error, url string) error {
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

// value returns the decoded body of a successful answer.
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
