package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// An eventStore stores events: a transaction, or the batcher.
type eventStore interface {
	EventInsert(context.Context, db.EventInsertParams) ([]db.EventInsertRow, error)
	EventStored(context.Context, db.EventStoredParams) ([]db.EventStoredRow, error)
}

// A batcher batches the inserts of requests that arrive at the same time (group commit), so that one statement and
// one flush of the WAL serve them all. Nobody waits for a batch to fill: an insert is sent at once unless statements
// are under way already, and what arrives meanwhile forms the next batch. A request learns of its own events only. It
// gets a statement of its own when it is large, or when its batch was refused on account of one of its members.
type batcher struct {
	db      *queries.DB
	mu      sync.Mutex
	waiting []*insert
	running int // statements under way, those slower than slowStatement not counted
}

const (
	// maxStatements are under way at a time: while one waits for the WAL, another works.
	maxStatements = 2
	// slowStatement is when a statement no longer counts, so that a lock that it waits for does not hold up the next.
	slowStatement = 50 * time.Millisecond
	// maxBatch is how many requests one statement serves.
	maxBatch = 64
	// A request of so many rows or bytes of payload is not batched.
	largeRows, largeBytes = 50, 32 << 10
)

// An insert is the events of one request on their way.
type insert struct {
	ctx    context.Context
	events db.EventInsertParams
	stored []db.EventInsertRow
	err    error
	done   chan struct{} // closed when stored and err are known
}

// errBatchRefused: the statement was refused on account of one of its members, and nothing was stored.
var errBatchRefused = errors.New("the batch was refused")

// EventInsert stores the events of one request.
func (b *batcher) EventInsert(ctx context.Context, events db.EventInsertParams) ([]db.EventInsertRow, error) {
	size := 0
	for _, payload := range events.Payloads {
		size += len(payload)
	}
	if len(events.Ids) >= largeRows || size >= largeBytes {
		return b.send(ctx, events)
	}
	one := &insert{ctx: ctx, events: events, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, one)
	b.start()
	b.mu.Unlock()
	select {
	case <-one.done:
	case <-ctx.Done():
		if b.withdraw(one) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, queries.ErrBusy // nothing was sent
		}
		return nil, ctx.Err()
	}
	if one.err == errBatchRefused {
		return b.send(ctx, events)
	}
	return one.stored, one.err
}

// EventStored looks up what was stored before, and waits until that is as durable as what is stored now.
func (b *batcher) EventStored(ctx context.Context, sent db.EventStoredParams) (rows []db.EventStoredRow, err error) {
	err = b.db.Read(ctx, func(q *db.Queries) error {
		if rows, err = q.EventStored(ctx, sent); err != nil {
			return err
		}
		return q.RepeatWait(ctx)
	})
	return rows, err
}

// send is one statement, which is a transaction of its own.
func (b *batcher) send(ctx context.Context, events db.EventInsertParams) (rows []db.EventInsertRow, err error) {
	err = b.db.Read(ctx, func(q *db.Queries) (err error) {
		rows, err = q.EventInsert(ctx, events)
		return err
	})
	return rows, err
}

// withdraw takes back an insert that nobody waits for any more. It is false if the insert is under way.
func (b *batcher) withdraw(one *insert) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, one)
	if i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	}
	return i >= 0
}

// start begins to send what is waiting, unless enough statements are under way. The caller holds the mutex.
func (b *batcher) start() {
	if len(b.waiting) > 0 && b.running < maxStatements {
		b.running++
		go b.run()
	}
}

// run sends batches until nothing waits, or until one statement is so slow that another run takes its place.
func (b *batcher) run() {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), maxBatch)
		if n == 0 {
			b.running--
			b.mu.Unlock()
			return
		}
		batch := slices.Clone(b.waiting[:n])
		b.waiting = slices.Delete(b.waiting, 0, n)
		b.mu.Unlock()
		slow := time.AfterFunc(slowStatement, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.running--
			b.start()
		})
		b.store(batch)
		if !slow.Stop() {
			return
		}
	}
}

// store sends a batch and tells each request the outcome of its own events. What the database says of a connection
// that was lost, or was not to be had, holds for all of them; another error is the fault of one, and which one shows
// when each is sent alone.
func (b *batcher) store(batch []*insert) {
	ctx := batch[0].ctx
	if len(batch) > 1 { // no request's end may cancel the others' statement
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
	}
	stored, err := b.sendAll(ctx, batch)
	if verdict := queries.Judge(err); err != nil && len(batch) > 1 && verdict != queries.Lost && !errors.Is(err, queries.ErrBusy) {
		err = errBatchRefused
	}
	owner := map[uuid.UUID]*insert{}
	for _, one := range batch {
		one.err = err
		for _, id := range one.events.Ids {
			owner[id] = one
		}
	}
	for _, row := range stored {
		owner[row.ID].stored = append(owner[row.ID].stored, row)
	}
	for _, one := range batch {
		close(one.done)
	}
}

// sendAll sends a batch in one statement. It recovers a panic, which outside of any request would end the process.
func (b *batcher) sendAll(ctx context.Context, batch []*insert) (stored []db.EventInsertRow, err error) {
	defer queries.Recover(&err)
	events := joined(batch)
	events.ShortLockTimeout = len(batch) > 1 // the others do not wait for a lock that one needs
	return b.send(ctx, events)
}

// joined is all of a batch as one insert.
func joined(batch []*insert) db.EventInsertParams {
	if len(batch) == 1 {
		return batch[0].events
	}
	var all db.EventInsertParams
	for i, member := range batch {
		one := member.events
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
		all.AmongHospitals = append(all.AmongHospitals, one.AmongHospitals...)
		all.SenderKinds = append(all.SenderKinds, one.SenderKinds...)
		all.SenderIds = append(all.SenderIds, one.SenderIds...)
		all.ClientIps = append(all.ClientIps, one.ClientIps...)
		all.RequestIds = append(all.RequestIds, one.RequestIds...)
	}
	return all
}
