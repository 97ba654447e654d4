-- name: RefreshTokenUse :one
-- Uses a refresh token up, and tells whose use that was: another's if it was used before.
INSERT INTO used_refresh_tokens (token_id, used_by, expires_at) VALUES (@token_id, @used_by, @expires_at)
ON CONFLICT (token_id) DO UPDATE SET used_by = used_refresh_tokens.used_by
RETURNING used_by;

-- name: RefreshTokenUsed :one
SELECT EXISTS (SELECT FROM used_refresh_tokens WHERE token_id = @token_id);

-- name: RefreshTokenExpire :execrows
-- Forgets some of those that have expired, a while ago: whether a token has, the servers' clocks tell.
DELETE FROM used_refresh_tokens
WHERE token_id IN (SELECT t.token_id FROM used_refresh_tokens t WHERE t.expires_at < now() - interval '1 hour' LIMIT sqlc.arg(most)::integer);
