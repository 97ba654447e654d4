-- name: RateLimitsTake :one
-- Counts a call against several limits if all of them allow it; see the function for what the lists must be
-- like, and for what it returns.
SELECT rate_limits_take(@keys::text[], @costs::bigint[], @quotas::bigint[], @windows_us::bigint[])::bigint[] AS limits;

-- name: RateLimitExpire :execrows
-- Deletes the rows of keys whose calls have all left the window, a batch at a time. SKIP LOCKED: a row that a call
-- holds is not idle, and waiting for it while others are locked could deadlock.
WITH expired AS (
    DELETE FROM rate_limits
    WHERE key IN (SELECT r.key FROM rate_limits r WHERE r.expires_at < now() LIMIT sqlc.arg(most)::integer FOR UPDATE SKIP LOCKED)
    RETURNING key
), blocks AS (
    DELETE FROM rate_limit_blocks b USING expired WHERE b.key = expired.key
)
SELECT FROM expired;
