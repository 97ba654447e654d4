package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// An answered request: what was answered, and under which status.
type answered[Body any] struct {
	status int
	body   Body
}

// idempotent answers with what f does. f is retried when its connection was lost, so it must have the same effect
// however often it runs. With a key, the answer is stored in the transaction of what f wrote, and for 24 hours the same
// request of the same caller gets it again without f running: a client that lost an answer may safely repeat itself.
// Another body under the same key is a conflict.
func idempotent[Body any](ctx context.Context, o eventOperations, key *string, f func(eventStore) (int, Body, error)) (answer answered[Body], err error) {
	err = queries.RetryIdempotent(ctx, func() (err error) {
		if key == nil { // one statement needs no transaction around it
			answer.status, answer.body, err = f(o.batcher)
			return err
		}
		answer, err = replayOrStore(ctx, o.engine, *key, f)
		return err
	})
	return answer, err
}

func replayOrStore[Body any](ctx context.Context, e *engine, key string, f func(eventStore) (int, Body, error)) (answer answered[Body], err error) {
	r := requestOf(ctx)
	principal := r.principal.UserID
	if r.principal.Kind == auth.KindAPIKey {
		principal = r.principal.ConfigID
	}
	// The items of a bulk that are refused are no longer in the body, but in the answer.
	refused, err := json.Marshal(r.body.ItemErrors)
	if err != nil {
		return answer, err
	}
	hash := sha256.Sum256(append(refused, r.body.JSON...))
	err = e.db.InTxOnce(ctx, func(q *db.Queries) error {
		if err := q.IdempotencyLock(ctx, db.IdempotencyLockParams{Principal: principal.String(), Operation: r.operation.ID, Key: key}); err != nil {
			return err
		}
		stored, err := q.IdempotencyGet(ctx, db.IdempotencyGetParams{Principal: principal, Operation: r.operation.ID, Key: key})
		switch {
		case err == nil && string(stored.BodyHash) != string(hash[:]):
			return problem.Conflict("This Idempotency-Key was used with another body.")
		case err == nil:
			answer.status = int(stored.Status)
			if err := json.Unmarshal(stored.Answer, &answer.body); err != nil {
				return err
			}
			return q.RepeatWait(ctx)
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
			Principal: principal, Operation: r.operation.ID, Key: key, BodyHash: hash[:], Status: int32(answer.status), Answer: text,
		})
	})
	return answer, err
}
