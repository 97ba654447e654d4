package tests

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
		ours := slices.ContainsFunc([]string{"events_", "surveys_", "survey_versions_", "survey_sections_", "survey_responses_", "survey_messages_", "survey_suppressions_", "actions_of_survey_", "action_log_", "user_messages_", "webhook_events_", "webhook_messages_", "user_roles_", "roles_", "integration_config_hospitals_config_id_"}, func(start string) bool { return strings.HasPrefix(c.Name, start) })
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
	compared := 0
	for table, columns := range writtenProperties(t) {
		rows, err := s.db.Query(context.Background(), `SELECT column_name, character_maximum_length FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name = $1 AND character_maximum_length IS NOT NULL`, table)
		must(t, err)
		var column string
		var width uint64
		_, err = pgx.ForEachRow(rows, []any{&column, &width}, func() error {
			for _, property := range columns[column] {
				if len(property.Enum) > 0 {
					continue
				}
				compared++
				if most := property.MaxLength; most == nil || *most > width {
					t.Errorf("a body takes more than the %d characters of %s.%s", width, table, column)
				}
			}
			return nil
		})
		must(t, err)
	}
	if compared < 100 {
		t.Errorf("only %d columns were compared", compared)
	}
}
