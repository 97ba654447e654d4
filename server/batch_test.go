package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// A cancelled request removes its insert from the queue.
func TestCancelledInsertsAreWithdrawn(t *testing.T) {
	t.Parallel()
	b := &batcher{running: maxStatements} // saturated, so inserts wait
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error)
	for range 3 {
		go func() {
			_, err := b.EventInsert(ctx, db.EventInsertParams{Ids: []uuid.UUID{newID()}})
			errs <- err
		}()
	}
	cancel()
	for range 3 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	late, end := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer end()
	if _, err := b.EventInsert(late, db.EventInsertParams{Ids: []uuid.UUID{newID()}}); !errors.Is(err, queries.ErrBusy) {
		t.Errorf("after the deadline, with nothing sent: %v, want %v", err, queries.ErrBusy)
	}
	if len(b.waiting) != 0 {
		t.Errorf("%d inserts are still queued", len(b.waiting))
	}
}

// A user without a hospital may not send events: their scope is the nil UUID, which in an event
// means a sender of all hospitals.
func TestEventsOfNoHospital(t *testing.T) {
	t.Parallel()
	list := []api.EventCreate{{SourceSystem: "his", EventCode: "E", EncounterID: "1"}}
	hospital := uuid.New()
	for name, test := range map[string]struct {
		principal auth.Principal
		want      uuid.UUID
		err       error
	}{
		"user of none":  {auth.Principal{Kind: auth.KindUser}, uuid.Nil, problem.Forbidden},
		"user":          {auth.Principal{Kind: auth.KindUser, Hospital: &hospital}, hospital, nil},
		"PX Admin":      {auth.Principal{Kind: auth.KindUser, Hospital: &hospital, Roles: []string{auth.RolePXAdmin}}, uuid.Nil, nil},
		"key for one":   {auth.Principal{Kind: auth.KindAPIKey, ConfigID: uuid.New(), Hospital: &hospital}, hospital, nil},
		"key for every": {auth.Principal{Kind: auth.KindAPIKey, ConfigID: uuid.New()}, uuid.Nil, nil},
	} {
		ctx := request{principal: test.principal}.in(context.Background())
		insert, err := insertion(ctx, list)
		if err != test.err && !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		if err == nil && insert.Hospitals[0] != test.want {
			t.Errorf("%s: the events are %v's, want %v", name, insert.Hospitals[0], test.want)
		}
	}
}

// partly stores the first event, and is busy when it is asked for the others.
type partly struct{}

func (partly) EventInsert(_ context.Context, events db.EventInsertParams) ([]db.EventInsertRow, error) {
	return []db.EventInsertRow{{ID: events.Ids[0]}}, nil
}

func (partly) EventStored(context.Context, db.EventStoredParams) ([]db.EventStoredRow, error) {
	return nil, queries.ErrBusy
}

// A request of which some events are committed must not be told that nothing was done.
func TestStoreThatFailsAfterACommit(t *testing.T) {
	t.Parallel()
	ctx := request{principal: auth.Principal{Kind: auth.KindUser, Roles: []string{auth.RolePXAdmin}}}.in(context.Background())
	event := api.EventCreate{SourceSystem: "his", EventCode: "E", EncounterID: "1"}
	insert, err := insertion(ctx, []api.EventCreate{event, event})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store(ctx, partly{}, insert)
	if p := problem.Of(problem.Writing(err)); p.Status != 503 || p.Body.(problem.Detail).Code != problem.CodeOutcomeUnknown {
		t.Errorf("%v is answered %d %v, want outcome_unknown", err, p.Status, p.Body)
	}
}
