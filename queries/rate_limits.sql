-- name: RateLimitTake :one
-- Counts a call if the limit allows it; see the function. Times are in microseconds.
SELECT l.remaining::bigint AS remaining, l.reset::bigint AS reset, l.wait::bigint AS wait
FROM rate_limit_take(@key::text, @cost::bigint, @quota::bigint, @window_us::bigint) l;

-- name: RateLimitTakeAll :one
-- Counts a call against several limits if all of them allow it. The keys must be sorted.
SELECT l.remaining::bigint[] AS remaining, l.resets::bigint[] AS resets, l.waits::bigint[] AS waits
FROM rate_limit_take_all(@keys::text[], @costs::bigint[], @quotas::bigint[], @windows_us::bigint[]) l;

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
