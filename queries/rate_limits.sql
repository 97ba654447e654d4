-- name: RateLimitsTake :one
-- Counts a call against several limits if all of them allow it; see the function for what the lists must be
-- like, and for what it returns.
SELECT rate_limits_take(@keys::text[], @costs::bigint[], @quotas::bigint[], @windows_us::bigint[])::bigint[] AS limits;

-- name: RateLimitForget :execrows
-- Removes the rows of keys whose calls have all left the window. Rows that a call holds are passed over:
-- they are not idle, and waiting for one while holding others could be waited for in turn.
WITH gone AS (
    DELETE FROM rate_limits
    WHERE key IN (SELECT r.key FROM rate_limits r WHERE r.expires_at < now() FOR UPDATE SKIP LOCKED)
    RETURNING key
), blocks AS (
    DELETE FROM rate_limit_blocks b USING gone WHERE b.key = gone.key
)
SELECT FROM gone;
