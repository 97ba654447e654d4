-- name: WebhookEventInsert :exec
-- Tells partners of a change, with which it commits. Where there is no endpoint at all nobody is told.
INSERT INTO webhook_events (hospital_id, type, object_id, version)
SELECT cast(@hospital AS uuid), cast(@event_type AS text), cast(@object AS uuid), cast(@version AS integer)
WHERE EXISTS (SELECT FROM webhook_endpoints);

-- name: WebhookEndpointList :many
SELECT
    e.id, e.created_at, e.description, e.disabled_reason, e.events, e.hospital_id AS hospital, h.name AS hospital_name,
    e.previous_until AS previous_secret_until, e.status, e.updated_at, e.url
FROM webhook_endpoints e
LEFT JOIN hospitals h ON h.id = e.hospital_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR e.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR e.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(status)::text IS NULL OR e.status = sqlc.narg(status))
ORDER BY id DESC;

-- name: WebhookEndpointCount :one
-- Returns how many endpoints a hospital has.
SELECT count(*) FROM webhook_endpoints WHERE hospital_id = @hospital;

-- name: WebhookEndpointGet :one
SELECT
    e.id, e.created_at, e.description, e.disabled_reason, e.events, e.hospital_id AS hospital, h.name AS hospital_name,
    e.previous_until AS previous_secret_until, e.status, e.updated_at, e.url
FROM webhook_endpoints e
LEFT JOIN hospitals h ON h.id = e.hospital_id
WHERE e.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR e.hospital_id = sqlc.narg(scope));

-- name: WebhookEndpointLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    e.hospital_id, e.url, e.description, e.events, e.status, e.disabled_reason, e.secret, e.previous_secret, e.previous_until,
    e.failing_since, e.id
FROM webhook_endpoints e
WHERE e.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR e.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: WebhookEndpointInsert :exec
INSERT INTO webhook_endpoints (
    hospital_id, url, description, events, status, disabled_reason, secret, previous_secret, previous_until, failing_since, id
) VALUES (
    sqlc.narg(hospital), @url, @description, @events, @status, @disabled_reason, @secret, @previous_secret,
    sqlc.narg(previous_until), sqlc.narg(failing_since), @id
);

-- name: WebhookEndpointUpdate :exec
UPDATE webhook_endpoints
SET hospital_id = sqlc.narg(hospital), url = @url, description = @description, events = @events, status = @status,
    disabled_reason = @disabled_reason, secret = @secret, previous_secret = @previous_secret,
    previous_until = sqlc.narg(previous_until), failing_since = sqlc.narg(failing_since), updated_at = now()
WHERE id = @id;

-- name: WebhookEndpointDelete :exec
-- Deletes an endpoint. Its messages, which may be many, are deleted when they are old.
DELETE FROM webhook_endpoints WHERE id = @id;

-- name: WebhookTest :exec
-- Makes a message for this endpoint alone.
WITH event AS (
    INSERT INTO webhook_events (hospital_id, type, object_id, version, fanned_out)
    SELECT e.hospital_id, 'webhook.test', e.id, 1, true FROM webhook_endpoints e WHERE e.id = @endpoint
    RETURNING seq, object_id, type
)
INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type, next_at)
SELECT cast(@id AS uuid), cast(@endpoint AS uuid), event.seq, cast(@id AS uuid), event.type, now() FROM event;

-- name: WebhookReplay :one
-- Queues the events of a time again for an endpoint, or for it first, each under the id of its message if it has one.
WITH event AS (
    SELECT v.seq, v.object_id, v.type
    FROM webhook_events v
    WHERE v.fanned_out AND v.created_at >= cast(@since AS timestamptz) AND v.created_at < cast(@until AS timestamptz)
      AND v.type = ANY (@events::text[]) AND (sqlc.narg(hospital)::uuid IS NULL OR v.hospital_id = sqlc.narg(hospital))
      AND (NOT cast(@only_failed AS boolean) OR EXISTS (
          SELECT FROM webhook_messages m WHERE m.seq = v.seq AND m.endpoint_id = @endpoint AND m.status = 'failed'))
    ORDER BY v.seq
    LIMIT @most
), queued AS (
    INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type, next_at)
    SELECT uuid7(), cast(@endpoint AS uuid), event.seq, event.object_id, event.type, now() FROM event ORDER BY event.seq
    ON CONFLICT (seq, endpoint_id) DO UPDATE SET status = 'pending', attempt = 0, next_at = now()
    RETURNING id
)
SELECT count(*) FROM queued;

-- name: WebhookMessageList :many
SELECT
    m.id, m.attempts, m.created_at, m.delivered_at, m.endpoint_id AS endpoint, m.type AS event_type, e.hospital_id AS hospital,
    m.next_at AS next_attempt_at, v.object_id AS object, m.status, v.created_at AS timestamp, v.version
FROM webhook_messages m
JOIN webhook_endpoints e ON e.id = m.endpoint_id
JOIN webhook_events v ON v.seq = m.seq
WHERE (sqlc.narg(scope)::uuid IS NULL OR e.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(endpoint)::uuid IS NULL OR m.endpoint_id = sqlc.narg(endpoint))
  AND (sqlc.narg(event_type)::text IS NULL OR m.type = sqlc.narg(event_type))
  AND (sqlc.narg(status)::text IS NULL OR m.status = sqlc.narg(status))
  AND (sqlc.narg(since)::timestamptz IS NULL OR m.created_at >= sqlc.narg(since))
ORDER BY id DESC;

-- name: WebhookMessageGet :one
SELECT
    m.id, m.attempts, m.created_at, m.delivered_at, m.endpoint_id AS endpoint, m.type AS event_type, e.hospital_id AS hospital,
    m.next_at AS next_attempt_at, v.object_id AS object, m.status, v.created_at AS timestamp, v.version
FROM webhook_messages m
JOIN webhook_endpoints e ON e.id = m.endpoint_id
JOIN webhook_events v ON v.seq = m.seq
WHERE m.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR e.hospital_id = sqlc.narg(scope));

-- name: WebhookRedeliver :exec
-- Queues a message again, under its id.
UPDATE webhook_messages SET status = 'pending', attempt = 0, next_at = now() WHERE id = @id;

-- name: WebhookFanOutAlone :one
-- Makes this transaction the only one that fans out: two could give an endpoint the events of an object out of order.
SELECT pg_try_advisory_xact_lock(hashtextextended('px360 webhook fan-out', 0)) AS locked;

-- name: WebhookFanOut :one
-- Gives each endpoint its message about the oldest events that none was told of, and returns how many events there were.
WITH event AS (
    SELECT v.seq, v.object_id, v.type, v.hospital_id FROM webhook_events v WHERE NOT v.fanned_out ORDER BY v.seq LIMIT @most
), told AS (
    INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type, next_at)
    SELECT uuid7(), e.id, event.seq, event.object_id, event.type, now()
    FROM event JOIN webhook_endpoints e ON e.status = 'active' AND event.type = ANY (e.events)
      AND (e.hospital_id IS NULL OR e.hospital_id = event.hospital_id)
    ORDER BY event.seq
), done AS (
    UPDATE webhook_events v SET fanned_out = true FROM event WHERE v.seq = event.seq
)
SELECT count(*) FROM event;

-- name: WebhookLease :many
-- Makes endpoints with messages that are due this owner's, until the lease ends.
UPDATE webhook_endpoints e
SET owner = cast(@owner AS uuid), leased_until = now() + cast(@lease_seconds AS integer) * interval '1 second'
FROM (
    SELECT c.id FROM webhook_endpoints c
    WHERE c.status = 'active' AND c.leased_until < now()
      AND EXISTS (SELECT FROM webhook_messages m WHERE m.endpoint_id = c.id AND m.status = 'pending' AND m.next_at <= now())
    ORDER BY c.leased_until
    LIMIT @most
    FOR NO KEY UPDATE SKIP LOCKED
) due
WHERE e.id = due.id
RETURNING e.id;

-- name: WebhookRenew :one
-- Locks an endpoint that is this owner's, renews the lease, and returns how messages are to be delivered to it. No row: it
-- is another's, disabled or gone.
UPDATE webhook_endpoints e
SET leased_until = now() + cast(@lease_seconds AS integer) * interval '1 second'
WHERE e.id = @id AND e.owner = cast(@owner AS uuid) AND e.status = 'active'
RETURNING e.hospital_id, e.url, e.secret, e.failing_since, e.previous_secret, e.previous_until,
    now()::timestamptz AS now,
    -- For WebhookClaim: its plan must not depend on whether the queue was empty when it was last analyzed.
    set_config('enable_seqscan', 'off', true) AS seqscan, set_config('enable_bitmapscan', 'off', true) AS bitmapscan;

-- name: WebhookSealAgain :exec
UPDATE webhook_endpoints SET secret = @secret WHERE id = @id;

-- name: WebhookRelease :exec
UPDATE webhook_endpoints SET owner = NULL, leased_until = now() + cast(@rest_milliseconds AS integer) * interval '1 millisecond'
WHERE id = @id AND owner = cast(@owner AS uuid);

-- name: WebhookClaim :many
-- Returns messages that are due: of each object the oldest alone, and none of those that are on their way.
SELECT m.id, m.attempt, m.object_id, m.type, v.created_at AS timestamp, v.hospital_id, v.object_id AS event_object, v.version
FROM webhook_messages m
JOIN webhook_events v ON v.seq = m.seq
WHERE m.endpoint_id = @endpoint AND m.status = 'pending' AND m.next_at <= now() AND m.id <> ALL (@on_their_way::uuid[])
  AND (SELECT b.seq FROM webhook_messages b
       WHERE b.endpoint_id = @endpoint AND b.object_id = m.object_id AND b.status = 'pending' AND b.seq < m.seq
       LIMIT 1) IS NULL
ORDER BY m.next_at, m.seq
LIMIT @most;

-- name: WebhookFinish :exec
-- Writes what became of attempts, given as parallel arrays. Of a message the last twenty are kept.
UPDATE webhook_messages m
SET status = x.status, attempt = m.attempt + 1, next_at = CASE WHEN x.status = 'pending' THEN x.next_at END,
    delivered_at = CASE WHEN x.status = 'delivered' THEN now() ELSE m.delivered_at END,
    attempts = CASE WHEN jsonb_array_length(m.attempts) >= 20 THEN m.attempts - 0 ELSE m.attempts END || x.attempt::jsonb
FROM (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@statuses::text[]) AS status, unnest(@next_at::timestamptz[]) AS next_at,
        unnest(@attempts::text[]) AS attempt
) x
WHERE m.id = x.id;

-- name: WebhookEndpointResult :exec
-- Notes whether an endpoint works, and disables it for a reason that is not blank.
UPDATE webhook_endpoints
SET failing_since = sqlc.narg(failing_since), disabled_reason = @disabled_reason,
    status = CASE WHEN @disabled_reason = '' THEN status ELSE 'disabled' END,
    leased_until = CASE WHEN @disabled_reason = '' THEN leased_until ELSE '-infinity' END,
    updated_at = CASE WHEN @disabled_reason = '' THEN updated_at ELSE now() END
WHERE id = @id;

-- name: WebhookExpire :execrows
-- Deletes old events, and their messages with them.
DELETE FROM webhook_events
WHERE seq IN (SELECT v.seq FROM webhook_events v WHERE v.created_at < now() - interval '30 days' LIMIT @most);

-- name: WebhookEndpointsExist :one
SELECT EXISTS (SELECT FROM webhook_endpoints);
