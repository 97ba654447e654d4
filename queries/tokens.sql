-- name: RefreshTokenUse :one
-- Marks a refresh token as used and returns the id of that use: the id of the first use if the
-- token was used before.
INSERT INTO used_refresh_tokens (token_id, used_by, expires_at) VALUES (@token_id, @used_by, @expires_at)
ON CONFLICT (token_id) DO UPDATE SET used_by = used_refresh_tokens.used_by
RETURNING used_by;

-- name: RefreshTokenUsed :one
SELECT EXISTS (SELECT FROM used_refresh_tokens WHERE token_id = @token_id);

-- name: RefreshTokenExpire :execrows
-- Deletes a batch of those that have expired an hour ago: whether a token has expired, the servers' clocks decide.
DELETE FROM used_refresh_tokens
WHERE token_id IN (SELECT t.token_id FROM used_refresh_tokens t WHERE t.expires_at < now() - interval '1 hour' LIMIT sqlc.arg(most)::integer FOR UPDATE SKIP LOCKED);
