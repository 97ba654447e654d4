package dbtest

import "strings"

// tablesQuery lists the tables that hold rows, quoted. Partitions are among them,
// partitioned tables are not.
const tablesQuery = `
SELECT c.oid::regclass::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY 1`

// restartsQuery lists statements that put every sequence back to where it is in
// the template.
const restartsQuery = `
SELECT format('SELECT setval(%L, %s, %L)',
              format('%I.%I', schemaname, sequencename),
              coalesce(last_value, start_value),
              last_value IS NOT NULL)
FROM pg_sequences
ORDER BY 1`

// cutOffQuery ends the other sessions on this database. It does not wait until
// they are gone, for which Postgres would look every 100 ms only; those that still
// hold something are waited for by the lock on the tables.
const cutOffQuery = `
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()`

// emptyingStatements returns what empties the tables and restarts the sequences.
func emptyingStatements(tables, restarts []string) string {
	var b strings.Builder
	b.WriteString(cutOffQuery + ";\n")
	if len(tables) > 0 {
		b.WriteString("LOCK TABLE " + strings.Join(tables, ", ") + " IN SHARE ROW EXCLUSIVE MODE;\n")
	}
	// Without triggers and foreign keys the order of the tables does not matter.
	b.WriteString("SET session_replication_role = replica;\n")
	for _, table := range tables {
		b.WriteString("DELETE FROM " + table + ";\n")
	}
	for _, restart := range restarts {
		b.WriteString(restart + ";\n")
	}
	return b.String()
}

// fingerprintQuery returns a query for a text that changes with the schema, with
// the settings of the database and with the rows of the seeded tables. Clones
// keep the numbers and transaction ids of their template, so these will do. The
// database's own number is not among them, as it differs.
func fingerprintQuery(seeded []string) string {
	parts := []string{
		// Without temporary tables, which end with their session.
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
