package dbtest

import "strings"

// tablesQuery lists the tables that hold rows, quoted. Partitioned tables hold none themselves.
const tablesQuery = `
SELECT c.oid::regclass::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY 1`

// restartsQuery lists statements that reset every sequence to its value in the template.
const restartsQuery = `
SELECT format('SELECT setval(%L, %s, %L)',
              format('%I.%I', schemaname, sequencename),
              coalesce(last_value, start_value),
              last_value IS NOT NULL)
FROM pg_sequences
ORDER BY 1`

// terminateQuery terminates the other sessions of this database. It does not wait for their end,
// which Postgres polls every 100 ms; LOCK TABLE waits for those that hold locks.
const terminateQuery = `
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()`

// resetStatements returns the statements that empty the tables and restart the sequences.
func resetStatements(tables, restarts []string) string {
	var b strings.Builder
	b.WriteString(terminateQuery + ";\n")
	if len(tables) > 0 {
		b.WriteString("LOCK TABLE " + strings.Join(tables, ", ") + " IN SHARE ROW EXCLUSIVE MODE;\n")
	}
	// With triggers and foreign keys off, the order of the tables does not matter.
	b.WriteString("SET session_replication_role = replica;\n")
	for _, table := range tables {
		b.WriteString("DELETE FROM " + table + ";\n")
	}
	for _, restart := range restarts {
		b.WriteString(restart + ";\n")
	}
	return b.String()
}

// fingerprintQuery returns a query for a text that changes with the schema, the database's
// settings, and the rows of the seeded tables. It uses OIDs and xmin, which clones share with their
// template, except for the OID of the database.
func fingerprintQuery(seeded []string) string {
	parts := []string{
		// Except for temporary tables, which end with their session.
		`SELECT 'c' || oid || xmin FROM pg_class WHERE relkind <> 'S' AND relpersistence <> 't' AND relnamespace::regnamespace::text NOT LIKE 'pg\_%'`,
		`SELECT 'a' || attrelid || ' ' || attnum || xmin FROM pg_attribute WHERE attrelid >= 16384`,
		`SELECT 'k' || oid || xmin FROM pg_constraint WHERE oid >= 16384`,
		`SELECT 't' || oid || xmin FROM pg_trigger`,
		`SELECT 'p' || oid || xmin FROM pg_proc WHERE oid >= 16384`,
		`SELECT 'n' || oid || xmin FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%'`,
		`SELECT 's' || array_to_string(setconfig, ',') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()`,
	}
	for _, table := range seeded {
		parts = append(parts, `SELECT 'r' || t::text FROM `+table+` t`)
	}
	return `SELECT coalesce(md5(string_agg(x, ',' ORDER BY x)), '') FROM (` + strings.Join(parts, " UNION ALL ") + `) AS parts (x)`
}
