package server

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// A request that ended takes its events out of the queue: they are not stored later, and nothing of them stays in memory.
func TestAbandonedInsertsAreWithdrawn(t *testing.T) {
	t.Parallel()
	b := &batcher{running: maxStatements} // all are under way
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan error)
	for range 3 {
		go func() {
			_, err := b.EventInsert(ctx, db.EventInsertParams{Ids: []uuid.UUID{newID()}})
			answered <- err
		}()
	}
	cancel()
	for range 3 {
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if len(b.waiting) != 0 {
		t.Errorf("%d inserts still wait", len(b.waiting))
	}
}

// A user of no hospital has the nil UUID for a scope, which in an event would mean every hospital.
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
