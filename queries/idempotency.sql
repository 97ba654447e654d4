-- name: IdempotencyLock :exec
-- Serializes requests with the same key.
SELECT pg_advisory_xact_lock(hashtextextended(@principal::text || '/' || @operation::text || '/' || @key::text, 24));

-- name: IdempotencyGet :one
SELECT body_hash, status, answer
FROM idempotency_keys
WHERE principal_id = @principal AND operation = @operation AND key = @key AND created_at > now() - interval '24 hours';

-- name: IdempotencyPut :exec
INSERT INTO idempotency_keys (principal_id, operation, key, body_hash, status, answer)
VALUES (@principal, @operation, @key, @body_hash, @status, @answer)
ON CONFLICT (principal_id, operation, key) DO UPDATE
SET body_hash = excluded.body_hash, status = excluded.status, answer = excluded.answer, created_at = now();

-- name: IdempotencyExpire :execrows
-- Deletes a batch of those whose 24 hours are over. SKIP LOCKED: two workers that do so at once take different rows.
DELETE FROM idempotency_keys
WHERE (principal_id, operation, key) IN (
    SELECT k.principal_id, k.operation, k.key FROM idempotency_keys k
    WHERE k.created_at < now() - interval '24 hours'
    LIMIT sqlc.arg(most)::integer
    FOR UPDATE SKIP LOCKED
);

-- name: RepeatWait :exec
-- Makes the commit of this transaction wait until what it has read is as durable as what it would write: before a repeat
-- is answered, the first request must be on the synchronous standby. It may be visible without being there, where its
-- own wait was cancelled. A transaction that writes nothing does not wait, so this writes a WAL record without a
-- meaning.
SELECT pg_logical_emit_message(true, 'px360', '');
