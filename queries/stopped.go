package queries

import "context"

// endStopped is not among the SQL files because sqlc does not know pg_stat_activity.
const endStopped = `
SELECT count(pg_terminate_backend(a.pid))
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.usename = current_user AND a.application_name = current_setting('application_name')
  AND a.state = 'active' AND a.wait_event = 'ClientWrite'
  AND a.query_start < clock_timestamp() - current_setting('statement_timeout')::interval`

// EndStopped ends sessions of this program, those of other processes included, whose process stopped while it read an
// answer, and returns how many there were. No timeout of Postgres ends a session that waits for its client to read, and
// it keeps its locks. The sessions that are ended are those whose statement the statement_timeout would have ended if
// they were not writing the answer.
func (d *DB) EndStopped(ctx context.Context) (ended int64, err error) {
	conn, err := d.connection(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, endStopped).Scan(&ended)
	return ended, err
}
