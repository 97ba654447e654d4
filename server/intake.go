package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
// of its own events only, and goes alone as soon as company would cost it anything: when it is large, when
// the statement was refused on account of one of them, and past statements that take long.
type intake struct {
	db      *queries.DB
	mu      sync.Mutex
	waiting []*parcel
	running int
}

const (
	// intakeRuns is how many statements are under way at a time, those that take longer than intakePatience
	// not counted: while one waits for the disk, another works.
	intakeRuns     = 2
	intakePatience = 50 * time.Millisecond
	// intakeParcels is how many requests one statement serves at most, and intakeRows and intakeBytes from what
	// size on a request has one to itself.
	intakeParcels, intakeRows, intakeBytes = 64, 50, 32 << 10
)

// A parcel is the events of one request on their way.
type parcel struct {
	ctx    context.Context
	insert db.EventInsertParams
	stored []db.EventInsertRow
	err    error
	done   chan struct{} // closed when stored and err are known
}

// errAlone says that a parcel could not go with others, and nothing was stored.
var errAlone = errors.New("to be stored alone")

// EventInsert stores the events of one request.
func (in *intake) EventInsert(ctx context.Context, insert db.EventInsertParams) ([]db.EventInsertRow, error) {
	size := 0
	for _, payload := range insert.Payloads {
		size += len(payload)
	}
	if len(insert.Ids) >= intakeRows || size >= intakeBytes {
		return in.insert(ctx, insert)
	}
	p := &parcel{ctx: ctx, insert: insert, done: make(chan struct{})}
	in.mu.Lock()
	in.waiting = append(in.waiting, p)
	in.start()
	in.mu.Unlock()
	select {
	case <-p.done:
	case <-ctx.Done():
		in.withdraw(p)
		return nil, ctx.Err()
	}
	if p.err == errAlone {
		return in.insert(ctx, insert)
	}
	return p.stored, p.err
}

// EventStored looks up what was stored before.
func (in *intake) EventStored(ctx context.Context, sent db.EventStoredParams) (rows []db.EventStoredRow, err error) {
	err = in.db.Read(ctx, func(q *db.Queries) error {
		rows, err = q.EventStored(ctx, sent)
		return err
	})
	return rows, err
}

// insert is one statement, which is a transaction of its own, and undone and done again like one.
func (in *intake) insert(ctx context.Context, insert db.EventInsertParams) (rows []db.EventInsertRow, err error) {
	err = queries.Again(ctx, queries.Retryable, func() error {
		return in.db.Read(ctx, func(q *db.Queries) (err error) {
			rows, err = q.EventInsert(ctx, insert)
			return err
		})
	})
	return rows, err
}

// withdraw takes back a parcel that nobody waits for any more, if it has not gone yet.
func (in *intake) withdraw(p *parcel) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if i := slices.Index(in.waiting, p); i >= 0 {
		in.waiting = slices.Delete(in.waiting, i, i+1)
	}
}

// start lets what is waiting go, unless it soon will by itself. The caller holds the mutex.
func (in *intake) start() {
	if len(in.waiting) > 0 && in.running < intakeRuns {
		in.running++
		go in.run()
	}
}

// run stores what is waiting until nothing is, or until a statement takes so long that another run takes
// its place.
func (in *intake) run() {
	for {
		in.mu.Lock()
		n := min(len(in.waiting), intakeParcels)
		if n == 0 {
			in.running--
			in.mu.Unlock()
			return
		}
		parcels := slices.Clone(in.waiting[:n])
		in.waiting = slices.Delete(in.waiting, 0, n)
		in.mu.Unlock()
		late := time.AfterFunc(intakePatience, func() {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.running--
			in.start()
		})
		in.store(parcels)
		if !late.Stop() {
			return
		}
	}
}

// store stores parcels together and tells each what became of its own. When the database refuses them, each
// goes alone: whose fault it was shows there. What it says of a connection that was lost, or was not to be
// had, it says to all.
func (in *intake) store(parcels []*parcel) {
	ctx := parcels[0].ctx
	if len(parcels) > 1 { // none of them can be the one whose end ends the statement
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
	}
	stored, err := in.together(ctx, parcels)
	if err != nil && len(parcels) > 1 && !queries.Lost(err) && !errors.Is(err, queries.ErrBusy) && ctx.Err() == nil {
		err = errAlone
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
	for _, p := range parcels {
		close(p.done)
	}
}

// together is insert for all parcels at once. Several requests do not wait for a lock that one of them needs.
func (in *intake) together(ctx context.Context, parcels []*parcel) (stored []db.EventInsertRow, err error) {
	defer func() {
		if p := recover(); p != nil { // outside of any request nobody else would catch it
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	insert := joined(parcels)
	insert.Impatient = len(parcels) > 1
	return in.insert(ctx, insert)
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
