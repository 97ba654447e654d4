package schema

import (
	"context"

	"github.com/golang-migrate/migrate/v4"
)

// Step applies the next n migrations, or takes back the last -n.
func Step(ctx context.Context, databaseURL string, n int) error {
	return migrated(ctx, databaseURL, func(m *migrate.Migrate) error { return m.Steps(n) })
}
