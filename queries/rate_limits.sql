-- name: RateLimitsTake :one
-- Counts a call against several limits if all of them allow it; the SQL function documents the arguments
-- and the result.
SELECT rate_limits_take(@keys::text[], @numbers::bigint[])::bigint[] AS limits;

-- name: RateLimitExpire :execrows
-- Deletes a batch of keys whose calls have all left the sliding window. A row that a call has locked is in use, so
-- SKIP LOCKED passes over it; waiting for it could deadlock.
WITH expired AS (
    DELETE FROM rate_limits
    WHERE key IN (SELECT r.key FROM rate_limits r WHERE r.expires_at < now() LIMIT sqlc.arg(most)::integer FOR UPDATE SKIP LOCKED)
    RETURNING key
), blocks AS (
    DELETE FROM rate_limit_blocks b USING expired WHERE b.key = expired.key
)
SELECT FROM expired;
