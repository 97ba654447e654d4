package server

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// An eventStore is where events go: a transaction, or the intake.
type eventStore interface {
	EventInsert(context.Context, db.EventInsertParams) ([]db.EventInsertRow, error)
	EventStored(context.Context, db.EventStoredParams) ([]db.EventStoredRow, error)
}

// An intake stores the events of requests that come at the same time together, so that one statement and
// one wait for the disk serve them all. Nobody waits for others to come: an event goes at once unless
// statements are under way already, and what gathers meanwhile goes with the next. Each request learns
// of its own events only; one that cannot be stored takes no other with it.
type intake struct {
	db      *queries.DB
	mu      sync.Mutex
	waiting []*parcel
	running int
}

const (
	// intakeRuns is how many statements are under way at a time: while one waits for the disk, another works.
	intakeRuns = 2
	// intakeParcels is how many requests one statement serves at most, and intakeRows from how many events on a
	// request has one to itself.
	intakeParcels, intakeRows = 64, 50
)

// A parcel is the events of one request on their way.
type parcel struct {
	insert db.EventInsertParams
	stored []db.EventInsertRow
	err    error
	done   chan struct{} // closed when stored and err are known
}

// EventInsert stores the events of one request.
func (in *intake) EventInsert(ctx context.Context, insert db.EventInsertParams) ([]db.EventInsertRow, error) {
	if len(insert.Ids) >= intakeRows {
		return in.insert(ctx, insert)
	}
	p := &parcel{insert: insert, done: make(chan struct{})}
	in.mu.Lock()
	in.waiting = append(in.waiting, p)
	if in.running < intakeRuns {
		in.running++
		go in.run()
	}
	in.mu.Unlock()
	select {
	case <-p.done:
		return p.stored, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// EventStored looks up what was stored before.
func (in *intake) EventStored(ctx context.Context, sent db.EventStoredParams) (rows []db.EventStoredRow, err error) {
	err = in.db.Read(ctx, func(q *db.Queries) error {
		rows, err = q.EventStored(ctx, sent)
		return err
	})
	return rows, err
}

func (in *intake) insert(ctx context.Context, insert db.EventInsertParams) (rows []db.EventInsertRow, err error) {
	err = in.db.Read(ctx, func(q *db.Queries) error {
		rows, err = q.EventInsert(ctx, insert)
		return err
	})
	return rows, err
}

// run stores what is waiting until nothing is.
func (in *intake) run() {
	for {
		in.mu.Lock()
		n := min(len(in.waiting), intakeParcels)
		if n == 0 {
			in.running--
			in.mu.Unlock()
			return
		}
		parcels := in.waiting[:n:n]
		in.waiting = in.waiting[n:]
		in.mu.Unlock()
		in.store(parcels)
		for _, p := range parcels {
			close(p.done)
		}
	}
}

// store stores parcels together or, if the database refuses that, each by itself. What it says of a
// connection that was lost, or was not to be had, it says of all.
func (in *intake) store(parcels []*parcel) {
	// Of several requests none can be the one whose end ends the statement.
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	stored, err := in.insert(ctx, joined(parcels))
	if err != nil && len(parcels) > 1 && !queries.Lost(err) && !errors.Is(err, queries.ErrBusy) && ctx.Err() == nil {
		for _, p := range parcels {
			p.stored, p.err = in.insert(ctx, p.insert)
		}
		return
	}
	of := map[uuid.UUID]*parcel{}
	for _, p := range parcels {
		p.err = err
		for _, id := range p.insert.Ids {
			of[id] = p
		}
	}
	for _, row := range stored {
		of[row.ID].stored = append(of[row.ID].stored, row)
	}
}

// joined is all parcels in one.
func joined(parcels []*parcel) db.EventInsertParams {
	if len(parcels) == 1 {
		return parcels[0].insert
	}
	var all db.EventInsertParams
	for i, p := range parcels {
		one := p.insert
		all.Ids = append(all.Ids, one.Ids...)
		all.SourceSystems = append(all.SourceSystems, one.SourceSystems...)
		all.EventCodes = append(all.EventCodes, one.EventCodes...)
		all.EncounterIds = append(all.EncounterIds, one.EncounterIds...)
		all.PatientIdentifiers = append(all.PatientIdentifiers, one.PatientIdentifiers...)
		all.Payloads = append(all.Payloads, one.Payloads...)
		all.SourceEventIds = append(all.SourceEventIds, one.SourceEventIds...)
		for range one.Ids {
			all.Requests = append(all.Requests, int32(i+1))
		}
		all.Hospitals = append(all.Hospitals, one.Hospitals...)
		all.SenderKinds = append(all.SenderKinds, one.SenderKinds...)
		all.SenderIds = append(all.SenderIds, one.SenderIds...)
		all.ClientIps = append(all.ClientIps, one.ClientIps...)
		all.RequestIds = append(all.RequestIds, one.RequestIds...)
	}
	return all
}
