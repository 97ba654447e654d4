package server

import (
	"context"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

// checkFilters asks, in one query, whether everything that the filters of a list refer to is there for the caller.
func checkFilters(ctx context.Context, q *db.Queries, references []contract.Reference) error {
	return checkReferences(ctx, q, references, func(contract.Reference) string { return contract.MessageNoChoice })
}

// checkFilters is checkFilters on a connection of its own, if there is anything to ask.
func (e *engine) checkFilters(ctx context.Context, references []contract.Reference) error {
	if len(references) == 0 {
		return nil
	}
	return e.db.Read(ctx, func(q *db.Queries) error { return checkFilters(ctx, q, references) })
}

// checkBody does the same for the references of the request's body.
func checkBody(ctx context.Context, q *db.Queries) error {
	return checkReferences(ctx, q, requestOf(ctx).body.References, func(r contract.Reference) string {
		return contract.MessageNoObject(r.ID.String())
	})
}

func checkReferences(ctx context.Context, q *db.Queries, references []contract.Reference, message func(contract.Reference) string) error {
	missing, err := missingReferences(ctx, q, requestOf(ctx).principal, references)
	if err != nil || len(missing) == 0 {
		return err
	}
	fields := problem.Fields{}
	for _, i := range missing {
		fields.Add(references[i].Field, message(references[i]))
	}
	return problem.Invalid(fields)
}

// missingReferences are the positions of those references that lead nowhere as far as the caller may see.
func missingReferences(ctx context.Context, q *db.Queries, p auth.Principal, references []contract.Reference) ([]int32, error) {
	if len(references) == 0 {
		return nil, nil
	}
	arg := db.ReferenceMissingParams{Scope: p.Scope(), Self: &p.UserID}
	for i, ref := range references {
		arg.Positions = append(arg.Positions, int32(i))
		arg.Nouns = append(arg.Nouns, ref.Noun)
		arg.Ids = append(arg.Ids, ref.ID)
	}
	return q.ReferenceMissing(ctx, arg)
}

// isMissing is missingReferences of one.
func isMissing(ctx context.Context, database *queries.DB, reference contract.Reference) (missing bool, err error) {
	err = database.Read(ctx, func(q *db.Queries) error {
		positions, err := missingReferences(ctx, q, requestOf(ctx).principal, []contract.Reference{reference})
		missing = len(positions) > 0
		return err
	})
	return missing, err
}
