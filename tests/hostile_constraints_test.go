package tests

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/openapi"
	"github.com/px360/px360/queries"
)

// TestConstraintsHaveFields checks every unique constraint and foreign key: a violation, possible
// only by a concurrent request, must map to a field.
func TestConstraintsHaveFields(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rows, err := s.db.Query(context.Background(), `
		SELECT conname, CASE contype WHEN 'f' THEN '23503' ELSE '23505' END FROM pg_constraint
		WHERE connamespace = 'public'::regnamespace AND contype IN ('u', 'f')
		UNION
		SELECT c.relname, '23505' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND NOT i.indisprimary`)
	must(t, err)
	type constraint struct{ Name, Code string }
	constraints, err := pgx.CollectRows(rows, pgx.RowToStructByPos[constraint])
	must(t, err)
	for _, c := range constraints {
		// Not written by clients, or written with ON CONFLICT.
		ours := slices.ContainsFunc([]string{"events_", "surveys_", "user_roles_", "roles_"}, func(start string) bool { return strings.HasPrefix(c.Name, start) })
		// The targets of composite foreign keys; the id alone is unique.
		target := strings.HasSuffix(c.Name, "_id_key") && strings.Contains(c.Name, "hospital_id_id")
		if _, found := queries.FieldErrorOf(&pgconn.PgError{Code: c.Code, ConstraintName: c.Name}); !found && !ours && !target {
			t.Errorf("%s has no field", c.Name)
		}
	}
	t.Logf("%d constraints", len(constraints))
}

// TestTextsFitTheirColumns compares the longest text that the contract takes for a column with the longest that the
// column holds: what only the column refuses is answered without naming the field.
func TestTextsFitTheirColumns(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	doc, err := openapi.Load()
	must(t, err)
	compared := 0
	for _, item := range doc.Paths.Map() {
		if item.Patch == nil || item.Patch.Extensions["x-px360-resource"] == nil {
			continue
		}
		table := tables[item.Patch.Extensions["x-px360-resource"].(string)][0]
		if table == "" {
			t.Errorf("%s: its table is not in matrix_world_test.go", item.Patch.OperationID)
		}
		body := mergedSchema(item.Patch.RequestBody.Value.Content["application/json"].Schema)
		rows, err := s.db.Query(context.Background(), `SELECT column_name, character_maximum_length FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name = $1 AND character_maximum_length IS NOT NULL`, table)
		must(t, err)
		var column string
		var width uint64
		_, err = pgx.ForEachRow(rows, []any{&column, &width}, func() error {
			if property := body.Properties[column]; property != nil && len(property.Value.Enum) == 0 {
				compared++
				if most := property.Value.MaxLength; most == nil || *most > width {
					t.Errorf("%s: %s takes more than the %d characters of %s.%s", item.Patch.OperationID, column, width, table, column)
				}
			}
			return nil
		})
		must(t, err)
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
