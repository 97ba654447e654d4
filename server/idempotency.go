package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
)

// An answered request: what was answered, and under which status.
type answered[Body any] struct {
	status int
	body   Body
}

// again runs f, and runs it again, twice at most, when the connection was lost on the way and nobody knows
// whether f was done. So f must come to the same when it was done before. That one of the tries was lost is
// told, if the last one came to nothing.
func again(ctx context.Context, f func() error) error {
	var lost error
	err := queries.Again(ctx, queries.Lost, func() error {
		err := f()
		if queries.Lost(err) {
			lost = err
		}
		return err
	})
	if lost != nil && err != nil && explain(err).status == http.StatusServiceUnavailable {
		return lost
	}
	return err
}

// idempotent answers with what f does, which may be asked again.
func idempotent[Body any](ctx context.Context, s *Server, key *string, f func(eventStore) (int, Body, error)) (answer answered[Body], err error) {
	err = again(ctx, func() error {
		answer, err = answerOnce(ctx, s, key, f)
		return err
	})
	return answer, err
}

// answerOnce runs f in a transaction. With a key, the answer is stored beside what f wrote, and for 24
// hours the same request of the same caller gets it again without f running: so a client that lost an
// answer may safely repeat itself. Another body under the same key is a conflict.
func answerOnce[Body any](ctx context.Context, s *Server, key *string, f func(eventStore) (int, Body, error)) (answer answered[Body], err error) {
	if key == nil {
		// One statement needs no transaction around it; store writes no more than one.
		answer.status, answer.body, err = f(s.intake)
		return answer, err
	}
	r := requestOf(ctx)
	principal := r.principal.UserID
	if r.principal.Kind == auth.KindAPIKey {
		principal = r.principal.ConfigID
	}
	// The items of a bulk that are refused are no longer in the body, but in the answer.
	refused, err := json.Marshal(r.reading.itemErrors)
	if err != nil {
		return answer, err
	}
	hash := sha256.Sum256(append(refused, r.body...))
	err = s.db.InTx(ctx, func(q *db.Queries) error {
		if err := q.IdempotencyLock(ctx, db.IdempotencyLockParams{Principal: principal.String(), Operation: r.operation.id, Key: *key}); err != nil {
			return err
		}
		stored, err := q.IdempotencyGet(ctx, db.IdempotencyGetParams{Principal: principal, Operation: r.operation.id, Key: *key})
		switch {
		case err == nil && string(stored.BodyHash) != string(hash[:]):
			return conflict("This Idempotency-Key was used with another body.")
		case err == nil:
			answer.status = int(stored.Status)
			return json.Unmarshal(stored.Answer, &answer.body)
		case !queries.NoRows(err):
			return err
		}
		if answer.status, answer.body, err = f(q); err != nil {
			return err
		}
		text, err := json.Marshal(answer.body)
		if err != nil {
			return err
		}
		return q.IdempotencyPut(ctx, db.IdempotencyPutParams{
			Principal: principal, Operation: r.operation.id, Key: *key, BodyHash: hash[:], Status: int32(answer.status), Answer: text,
		})
	})
	return answer, err
}
