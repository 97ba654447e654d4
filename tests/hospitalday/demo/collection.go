package demo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/px360/px360/gen/client"
)

// collection finds and creates the rows of one noun. A wanted row exists if one with the same key
// does.
type collection[Want, Row any] struct {
	noun   string // plural
	key    func(Want) string
	list   func(context.Context) iter.Seq2[Row, error]
	keyOf  func(Row) (string, client.ID)
	create func(context.Context, Want) (client.ID, error)

	mu  sync.Mutex
	ids map[string]client.ID // by key, of what exists
}

// load reads the existing rows.
func (c *collection[Want, Row]) load(ctx context.Context) error {
	c.ids = map[string]client.ID{}
	for row, err := range c.list(ctx) {
		if err != nil {
			return fmt.Errorf("look for %s: %w", c.noun, err)
		}
		key, id := c.keyOf(row)
		c.ids[key] = id
	}
	return nil
}

// ensure creates the wants that do not exist, concurrently, and returns how many it created. It calls
// done with the number of further rows that exist.
func (c *collection[Want, Row]) ensure(ctx context.Context, wants []Want, done func(int)) (int, error) {
	var missing []Want
	for _, want := range wants {
		if _, ok := c.ids[c.key(want)]; !ok {
			missing = append(missing, want)
		}
	}
	done(len(wants) - len(missing))
	// A conflict means that another process created the row, or that the answer to an earlier
	// attempt was lost: the rows are read again at the end.
	var conflicts []error
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, want := range missing {
		group.Go(func() error {
			id, err := c.create(groupCtx, want)
			if err != nil && !alreadyExists(err) {
				return fmt.Errorf("create %s: %q: %w", c.noun, c.key(want), err)
			}
			done(1)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				conflicts = append(conflicts, fmt.Errorf("create %s: %q: %w", c.noun, c.key(want), err))
				return nil
			}
			c.ids[c.key(want)] = id
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	if len(conflicts) > 0 {
		if err := c.load(ctx); err != nil {
			return 0, err
		}
	}
	for _, want := range missing {
		if _, ok := c.ids[c.key(want)]; !ok {
			return 0, errors.Join(conflicts...)
		}
	}
	return len(missing) - len(conflicts), nil
}

// alreadyExists reports a violated unique constraint.
func alreadyExists(err error) bool {
	failure, ok := errors.AsType[*client.Error](err)
	if !ok || failure.Status != http.StatusBadRequest {
		return false
	}
	for _, messages := range failure.Fields {
		for _, message := range messages {
			if strings.Contains(message, "already exists") || strings.Contains(message, "unique set") {
				return true
			}
		}
	}
	return false
}
