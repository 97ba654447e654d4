-- name: RefreshTokenUse :execrows
-- Uses a refresh token up; no row if it was used before.
INSERT INTO used_refresh_tokens (token_id, expires_at) VALUES (@token_id, @expires_at) ON CONFLICT DO NOTHING;

-- name: RefreshTokenUsed :one
SELECT EXISTS (SELECT FROM used_refresh_tokens WHERE token_id = @token_id);

-- name: RefreshTokenExpire :execrows
-- Forgets some of those that have expired.
DELETE FROM used_refresh_tokens
WHERE token_id IN (SELECT t.token_id FROM used_refresh_tokens t WHERE t.expires_at < now() LIMIT sqlc.arg(most)::integer);
