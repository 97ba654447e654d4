// Package examples inserts the objects that the contract's examples show, under the ids that they have there, so that
// every example of a request can be sent as it is. `px360 demo --examples` does it for whoever tries the API in the
// documentation pages.
package examples

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"
)

//go:embed world.sql
var world string

// A Database begins transactions: a connection or a pool.
type Database interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Seed inserts the objects in one transaction. Objects that are there stay as they are. It fails if another object, not of
// the examples, has the name of one, such as a hospital with the code HOSP001.
func Seed(ctx context.Context, db Database) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, world)
		return err
	})
	if err != nil {
		return fmt.Errorf("insert the objects of the examples: %w", err)
	}
	return nil
}
