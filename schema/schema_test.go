package schema_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/schema"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/tests/fixtures"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// catalogQuery describes all that is in the database and belongs to no extension, one object or column a line.
// How golang-migrate keeps the version is not among it.
const catalogQuery = `
WITH relations AS (
    SELECT oid, relname, relkind, relpersistence, reloptions FROM pg_class c
    WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'schema\_migrations%'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
), columns AS (
    SELECT a.*, row_number() OVER (PARTITION BY attrelid ORDER BY attnum) AS place
    FROM pg_attribute a WHERE attnum > 0 AND NOT attisdropped
)
SELECT format('relation %s: kind %s, persistence %s, options %s', relname, relkind, relpersistence, reloptions) FROM relations
UNION ALL
SELECT format('column %s.%s: place %s, type %s, collation %s, not null %s, default %s, identity %s, generated %s, storage %s %s, statistics %s',
    r.relname, a.attname, a.place, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attstorage, a.attcompression, a.attstattarget)
FROM columns a JOIN relations r ON r.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind <> 'i'
UNION ALL
SELECT format('constraint %s of %s: %s', conname, r.relname, pg_get_constraintdef(c.oid))
FROM pg_constraint c JOIN relations r ON r.oid = c.conrelid
UNION ALL
SELECT format('index %s: %s, valid %s', r.relname, pg_get_indexdef(indexrelid), indisvalid)
FROM pg_index i JOIN relations r ON r.oid = i.indexrelid
UNION ALL
SELECT format('sequence %s: %s from %s by %s between %s and %s, cache %s, cycle %s, owned by %s',
    r.relname, seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle,
    (SELECT d.refobjid::regclass || ' ' || d.refobjsubid FROM pg_depend d WHERE d.objid = r.oid AND d.deptype IN ('a', 'i')))
FROM pg_sequence s JOIN relations r ON r.oid = s.seqrelid
UNION ALL
SELECT format('trigger %s of %s: %s', tgname, r.relname, pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT format('function %s: %s', p.oid::regprocedure, pg_get_functiondef(p.oid))
FROM pg_proc p
WHERE pronamespace = 'public'::regnamespace AND prokind IN ('f', 'p')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT format('type %s: kind %s', typname, typtype) FROM pg_type t
WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e', 'r')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT format('extension %s: version %s, schema %s', extname, extversion, extnamespace::regnamespace) FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL
SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('public', 'information_schema')`

// rowsQuery makes a query for every row of every table, with the columns that the tables have now, and where
// every sequence is. A later version that adds columns answers the query alike.
const rowsQuery = `
SELECT string_agg(part, ' UNION ALL ') FROM (
    SELECT format('SELECT %L || ROW(%s)::text FROM %I', table_name || ' ',
        string_agg(format('%I', column_name), ', ' ORDER BY ordinal_position), table_name)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'schema_migrations'
    GROUP BY table_name
    UNION ALL
    SELECT format('SELECT %L || last_value FROM %I', sequencename || ' ', sequencename) FROM pg_sequences WHERE schemaname = 'public'
) AS parts (part)`

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// lines returns the rows of a query with one column of text, sorted by their bytes.
func lines(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// wantSame reports the lines that only one of the two has.
func wantSame(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: too much or changed:\n+ %s", what, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: missing or changed:\n- %s", what, line)
		}
	}
	if !t.Failed() && !slices.Equal(got, want) {
		t.Errorf("%s: the same lines, but %d instead of %d", what, len(got), len(want))
	}
}

// wantRowsEverywhere fails if a table has no row that an upgrade could lose.
func wantRowsEverywhere(t *testing.T, conn *pgx.Conn, rows []string) {
	t.Helper()
	for _, table := range lines(t, conn, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migrations'`) {
		if !slices.ContainsFunc(rows, func(row string) bool { return strings.HasPrefix(row, table+" ") }) {
			t.Errorf("the fixture has no row of %s", table)
		}
	}
}

func up(t *testing.T, url string) {
	t.Helper()
	if err := schema.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
}

func wantVersion(t *testing.T, conn *pgx.Conn, want int) {
	t.Helper()
	got := lines(t, conn, `SELECT version || ' ' || dirty FROM schema_migrations`)
	wantSame(t, "version", got, []string{fmt.Sprint(want, " false")})
}

func TestUpgradeFromLastRelease(t *testing.T) {
	t.Parallel()
	url := dbtest.NewBlank(t)
	conn := connect(t, url)
	fixtures.Version7(t, conn)
	query := lines(t, conn, rowsQuery)[0]
	before := lines(t, conn, query)
	wantRowsEverywhere(t, conn, before)

	up(t, url)
	wantVersion(t, conn, schema.Latest())
	wantSame(t, "rows", lines(t, conn, query), before)
	wantSame(t, "catalog, compared with a new database's", lines(t, conn, catalogQuery), lines(t, connect(t, dbtest.New(t)), catalogQuery))
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	url := dbtest.NewBlank(t)
	conn := connect(t, url)
	blank := lines(t, conn, catalogQuery)
	up(t, url)
	first := lines(t, conn, catalogQuery)
	if len(first) < 200 {
		t.Errorf("only %d lines describe the catalog", len(first))
	}

	fixtures.Version7Rows(t, conn)
	if err := schema.Down(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "catalog after Down", lines(t, conn, catalogQuery), blank)
	wantSame(t, "version after Down", lines(t, conn, `SELECT version::text FROM schema_migrations`), nil)
	if err := schema.Down(t.Context(), url); err != nil {
		t.Errorf("Down once more: %v", err)
	}

	up(t, url)
	wantSame(t, "catalog after Down and Up", lines(t, conn, catalogQuery), first)
}

// The newest migration, back and forth in a database that is in use.
func TestStepDownAndUp(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	conn := connect(t, url)
	fixtures.Version7Rows(t, conn)
	if _, err := conn.Exec(t.Context(), `
		INSERT INTO suspect_batches (id, encounters, last_seq) VALUES (uuid7(), '{ENC-1}', 1);
		INSERT INTO integration_config_hospitals (config_id, hospital_id) SELECT c.id, h.id FROM integration_configs c, hospitals h LIMIT 1;
		INSERT INTO survey_versions (survey_template_id, version, questions) SELECT id, 1, '[{}]' FROM survey_templates;
		INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type)
			SELECT id, 1, survey_template_id, 1, hospital_id, 'opd' FROM surveys;
		INSERT INTO survey_messages (id, survey_id, kind, channel) SELECT uuid7(), id, 'invitation', 'sms' FROM surveys;
		INSERT INTO survey_responses (survey_id, position, question_id, answer) SELECT id, 1, uuid7(), '["5"]' FROM surveys;
		INSERT INTO survey_suppressions (hospital_id, address) SELECT DISTINCT hospital_id, '+966501234567' FROM surveys;
		INSERT INTO actions (id, hospital_id, source_type, title, priority, sla) SELECT uuid7(), id, 'manual', 'A', 'low', '{}' FROM hospitals;
		INSERT INTO action_log (id, action_id, kind) SELECT uuid7(), id, 'created' FROM actions;
		INSERT INTO user_messages (id, user_id, kind, object_id, subject, text) SELECT uuid7(), id, 'reminder', id, 'A', 'B' FROM users;
		INSERT INTO webhook_endpoints (id, url, events, secret) VALUES (uuid7(), 'https://example.org/', '{}', '');
		INSERT INTO webhook_events (type, object_id, version) SELECT 'action.created', id, 1 FROM actions;
		INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type)
			SELECT uuid7(), p.id, e.seq, e.object_id, e.type FROM webhook_endpoints p, webhook_events e`); err != nil {
		t.Fatal(err)
	}
	catalog := lines(t, conn, catalogQuery)
	if err := schema.Step(t.Context(), url, -1); err != nil {
		t.Fatal(err)
	}
	query := lines(t, conn, rowsQuery)[0]
	below := lines(t, conn, query)
	wantRowsEverywhere(t, conn, below)

	up(t, url)
	wantVersion(t, conn, schema.Latest())
	wantSame(t, "rows", lines(t, conn, query), below)
	wantSame(t, "catalog", lines(t, conn, catalogQuery), catalog)
}

// No file has the number of a version between two releases, or of a later release.
func TestUnknownVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[int]string{
		5:                   "run `px360 migrate` of the previous release first, or dump the data",
		6:                   "the schema is at version 6, of a development version",
		schema.Latest() + 1: "newer than this program's",
	} {
		url := dbtest.New(t)
		conn := connect(t, url)
		if _, err := conn.Exec(t.Context(), `UPDATE schema_migrations SET version = $1`, version); err != nil {
			t.Fatal(err)
		}
		for name, migrate := range map[string]func(context.Context, string) error{"Up": schema.Up, "Down": schema.Down} {
			err := migrate(t.Context(), url)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s at version %d: %v, want %q", name, version, err, want)
			}
		}
		wantVersion(t, conn, version)
	}
}

// A migration that waits too long for a lock gives way to those who wait behind it, and is tried again: nothing of it is
// left, and no version is noted as half done.
func TestUpTriesAgain(t *testing.T) {
	t.Parallel()
	ctx, url := context.Background(), dbtest.NewBlank(t)
	if err := schema.Up(ctx, url); err != nil {
		t.Fatal(err)
	}
	conn, watch := connect(t, url), connect(t, url)
	if err := schema.Step(ctx, url, 14-schema.Latest()); err != nil { // the next one changes events
		t.Fatal(err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE events IN ACCESS SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- schema.Up(ctx, url) }()
	waited := map[int32]bool{} // by each attempt's backend
	dbtest.Eventually(t, "a second attempt waits for the lock", func() bool {
		rows, err := watch.Query(ctx, "SELECT pid FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
		if err != nil {
			t.Fatal(err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			waited[pid] = true
		}
		return len(waited) > 1
	})
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := schema.Check(ctx, watch); err != nil {
		t.Error(err)
	}
}

// A migration that cannot be applied to the data leaves the schema as it was, to be migrated when the data is mended.
func TestUpFailsCleanly(t *testing.T) {
	t.Parallel()
	ctx, url := context.Background(), dbtest.NewBlank(t)
	if err := schema.Up(ctx, url); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	if err := schema.Step(ctx, url, 15-schema.Latest()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE integration_config_hospitals ()"); err != nil { // what the next one creates
		t.Fatal(err)
	}
	for range 2 {
		if err := schema.Up(ctx, url); err == nil || !strings.Contains(err.Error(), "already exists") || strings.Contains(err.Error(), "REFERENCES") {
			t.Errorf("%v, want the database's error without the file", err)
		}
	}
	if _, err := conn.Exec(ctx, "DROP TABLE integration_config_hospitals"); err != nil {
		t.Fatal(err)
	}
	if err := schema.Up(ctx, url); err != nil {
		t.Error(err)
	}
}

// A program goes on, and starts, while a newer one migrates: golang-migrate notes a version before its file is committed.
func TestCheckWhileANewerProgramMigrates(t *testing.T) {
	t.Parallel()
	ctx, conn := context.Background(), connect(t, dbtest.New(t))
	for version, want := range map[int]string{schema.Latest() + 1: "", schema.Latest(): "is under way, or stopped half way"} {
		if _, err := conn.Exec(ctx, "UPDATE schema_migrations SET version = $1, dirty = true", version); err != nil {
			t.Fatal(err)
		}
		if err := schema.Check(ctx, conn); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("at version %d, dirty: %v", version, err)
		}
	}
}
