package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/tests/dbtest"
)

// TestMigrationsGoDown applies each migration, takes it back and applies it again: what its down file leaves must be
// what was there before.
func TestMigrationsGoDown(t *testing.T) {
	t.Parallel()
	ups, err := filepath.Glob("../schema/*.up.sql")
	must(t, err)
	conn, err := pgx.Connect(t.Context(), dbtest.NewBlank(t))
	must(t, err)
	defer conn.Close(t.Context())
	apply := func(file string) {
		text, err := os.ReadFile(file)
		must(t, err)
		if _, err := conn.PgConn().Exec(t.Context(), string(text)).ReadAll(); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	for _, up := range ups {
		down := strings.TrimSuffix(up, ".up.sql") + ".down.sql"
		before := schemaOf(t, conn)
		apply(up)
		apply(down)
		after := schemaOf(t, conn)
		for object := range after {
			if !before[object] {
				t.Errorf("%s leaves %s", down, object)
			}
		}
		for object := range before {
			if !after[object] {
				t.Errorf("%s does not bring back %s", down, object)
			}
		}
		apply(up)
	}
}

// schemaOf are the columns, constraints, indexes, functions and extensions of a database, with their definitions.
func schemaOf(t *testing.T, conn *pgx.Conn) map[string]bool {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT format('column %s.%s %s %s %s', table_name, column_name, udt_name, is_nullable, coalesce(column_default, generation_expression))
		FROM information_schema.columns WHERE table_schema = 'public'
		UNION ALL SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid) FROM pg_proc p
			WHERE pronamespace = 'public'::regnamespace AND prokind = 'f' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
		UNION ALL SELECT 'extension ' || extname FROM pg_extension`)
	must(t, err)
	objects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	all := map[string]bool{}
	for _, object := range objects {
		all[object] = true
	}
	return all
}
