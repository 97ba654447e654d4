-- name: SessionCheckWrite :exec
-- Fails with the SQLSTATE read_only_sql_transaction on a standby and in a read-only database. It locks and changes no
-- row.
DELETE FROM idempotency_keys WHERE false;
