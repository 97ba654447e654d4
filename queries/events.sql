-- name: EventInsert :many
-- Stores events in the order of the lists and returns the new ones. An event whose source_event_id is known is left out,
-- and so is one whose id is: the same statement again, after the answer to the first was lost. Element i of each list
-- belongs together. What came with one request is given once, in lists of their own; request is each event's place
-- there, from 1. The nil UUID stands for no hospital. With short_lock_timeout it fails soon where another transaction
-- is about to store one of the same events.
WITH setting AS MATERIALIZED (
    SELECT set_config('lock_timeout', CASE WHEN @short_lock_timeout::boolean THEN '50ms' ELSE current_setting('lock_timeout') END, true) AS lock_timeout
)
INSERT INTO events (
    id, source_system, event_code, encounter_id, patient_identifier, payload_json, source_event_id,
    hospital_id, sender_kind, sender_id, client_ip, request_id
)
SELECT
    e.id, e.source_system, e.event_code, e.encounter_id, e.patient_identifier, e.payload::jsonb, e.source_event_id,
    nullif((@hospitals::uuid[])[e.request], '00000000-0000-0000-0000-000000000000'), (@sender_kinds::text[])[e.request],
    (@sender_ids::uuid[])[e.request], (@client_ips::text[])[e.request], (@request_ids::text[])[e.request]
FROM (
    SELECT
        unnest(@ids::uuid[]) AS id, unnest(@source_systems::text[]) AS source_system, unnest(@event_codes::text[]) AS event_code,
        unnest(@encounter_ids::text[]) AS encounter_id, unnest(@patient_identifiers::text[]) AS patient_identifier,
        unnest(@payloads::text[]) AS payload, unnest(@source_event_ids::text[]) AS source_event_id,
        unnest(@requests::integer[]) AS request
) e, setting s
WHERE s.lock_timeout IS NOT NULL
ON CONFLICT DO NOTHING
RETURNING id, received_at;

-- name: EventStored :many
-- The events that were stored before under these source ids, and whether they said the same; own are those
-- that have the very id. In two parts, each of which is one look into an index.
WITH sent AS (
    SELECT
        unnest(@positions::integer[]) AS i, unnest(@ids::uuid[]) AS id, unnest(@source_systems::text[]) AS source_system,
        unnest(@event_codes::text[]) AS event_code, unnest(@encounter_ids::text[]) AS encounter_id,
        unnest(@patient_identifiers::text[]) AS patient_identifier, unnest(@payloads::text[]) AS payload,
        unnest(@source_event_ids::text[]) AS source_event_id
)
SELECT
    e.id, e.source_system, e.event_code, e.encounter_id, e.status, e.received_at, s.i::integer AS i,
    true AS own, true AS same
FROM sent s
JOIN events e ON e.id = s.id
UNION ALL
SELECT
    e.id, e.source_system, e.event_code, e.encounter_id, e.status, e.received_at, s.i::integer AS i,
    false AS own,
    (e.event_code = s.event_code AND e.encounter_id = s.encounter_id AND e.patient_identifier = s.patient_identifier
     AND e.payload_json = s.payload::jsonb)::boolean AS same
FROM sent s
JOIN events e ON e.source_event_id = s.source_event_id AND e.source_event_id <> '' AND e.source_system = s.source_system
    AND e.hospital_id IS NOT DISTINCT FROM sqlc.narg(hospital)::uuid
WHERE e.id <> s.id;

-- name: EventList :many
SELECT
    e.id, e.attempts, e.received_at AS created_at, e.encounter_id, e.error_message, e.event_code, e.hospital_id AS hospital,
    e.journey_instance_id AS journey_instance, e.patient_identifier, e.payload_json, e.processed_at, e.reason, e.received_at,
    e.source_event_id, e.source_system, e.stage_instance_id AS stage_instance, e.status, e.survey_id AS survey, e.updated_at
FROM events e
WHERE (sqlc.narg(status)::text IS NULL OR e.status = sqlc.narg(status))
  AND (sqlc.narg(source_system)::text IS NULL OR e.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(event_code)::text IS NULL OR e.event_code = sqlc.narg(event_code))
  AND (sqlc.narg(encounter_id)::text IS NULL OR e.encounter_id = sqlc.narg(encounter_id))
ORDER BY /* ordering */ e.seq DESC
LIMIT @page_size OFFSET @page_offset;

-- name: EventCount :one
SELECT count(*)
FROM events e
WHERE (sqlc.narg(status)::text IS NULL OR e.status = sqlc.narg(status))
  AND (sqlc.narg(source_system)::text IS NULL OR e.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(event_code)::text IS NULL OR e.event_code = sqlc.narg(event_code))
  AND (sqlc.narg(encounter_id)::text IS NULL OR e.encounter_id = sqlc.narg(encounter_id));

-- name: EventGet :one
SELECT
    e.id, e.attempts, e.received_at AS created_at, e.encounter_id, e.error_message, e.event_code, e.hospital_id AS hospital,
    e.journey_instance_id AS journey_instance, e.patient_identifier, e.payload_json, e.processed_at, e.reason, e.received_at,
    e.source_event_id, e.source_system, e.stage_instance_id AS stage_instance, e.status, e.survey_id AS survey, e.updated_at
FROM events e
WHERE e.id = @id;

-- name: EventReprocess :execrows
-- Makes a finished event pending again. It keeps its seq, and so its place in the queue.
UPDATE events
SET status = 'pending', reason = '', error_message = '', processed_at = NULL, updated_at = now(),
    journey_instance_id = NULL, stage_instance_id = NULL, survey_id = NULL
WHERE id = @id AND status IN ('failed', 'ignored');

-- name: EventRequeue :execrows
-- Makes the events pending again that were ignored for want of a journey which is there now. They keep their seq,
-- and so their places in the queue.
UPDATE events
SET status = 'pending', reason = '', error_message = '', processed_at = NULL, updated_at = now()
WHERE encounter_id = @encounter_id AND status = 'ignored' AND reason = 'no_journey'
  AND (hospital_id IS NULL OR hospital_id = @hospital::uuid);

-- name: EncounterLock :exec
-- The mutex of an encounter, an advisory lock until the transaction ends. Workers hold it while they apply the
-- encounter's events, and the server holds it while it gives the encounter a journey: so a worker never decides that
-- there is no journey while one is being made.
SELECT pg_advisory_xact_lock(hashtextextended(@encounter_id::text, 0));

-- name: EventClaimEncounters :many
-- Claims encounters that have pending events, those with the oldest first, out of a window of the queue.
-- The first event of each is locked with SKIP LOCKED, so that workers spread over the queue; then the
-- encounter's mutex, if it is free, makes the encounter this transaction's own. Neither lock is waited for. Each
-- step is MATERIALIZED and leaves the planner no choice: its statistics of a queue are always out of date.
WITH pending AS MATERIALIZED (
    SELECT e.seq, e.encounter_id
    FROM events e
    WHERE e.status = 'pending' AND e.seq >= @from_seq
    ORDER BY e.seq
    LIMIT sqlc.arg(window_size)::integer
), waiting AS MATERIALIZED (
    SELECT p.encounter_id, min(p.seq)::bigint AS seq
    FROM pending p
    GROUP BY p.encounter_id
    ORDER BY min(p.seq)
), head AS MATERIALIZED (
    SELECT first.encounter_id, first.seq
    FROM waiting w
    CROSS JOIN LATERAL (
        SELECT e.encounter_id, e.seq
        FROM events e
        WHERE e.seq = w.seq AND e.status = 'pending'
        FOR UPDATE SKIP LOCKED
    ) first
    LIMIT sqlc.arg(most)::integer
)
SELECT h.encounter_id, h.seq
FROM head h
WHERE pg_try_advisory_xact_lock(hashtextextended(h.encounter_id, 0));

-- name: EventClaim :many
-- The pending events of encounters whose mutex this transaction holds, in their order. Of a payload come only the
-- texts that the rules ask for, cut to more than any name is long: a batch of large payloads would
-- fill the memory. OFFSET 0 has each encounter looked up by itself, also where the planner believes
-- that there is hardly anything pending.
SELECT
    e.seq, e.id, e.event_code, e.encounter_id, e.patient_identifier, e.hospital_id, e.tries, e.received_at,
    (CASE jsonb_typeof(e.payload_json -> 'physician_license')
        WHEN 'string' THEN left(e.payload_json ->> 'physician_license', 101) ELSE '' END)::text AS physician_license,
    (CASE jsonb_typeof(e.payload_json -> 'department_code')
        WHEN 'string' THEN left(e.payload_json ->> 'department_code', 101) ELSE '' END)::text AS department_code,
    (CASE jsonb_typeof(e.payload_json -> 'timestamp')
        WHEN 'string' THEN left(e.payload_json ->> 'timestamp', 101) ELSE '' END)::text AS happened_at
FROM (
    SELECT waiting.*
    FROM unnest(@encounters::text[]) AS owned (encounter_id)
    CROSS JOIN LATERAL (
        SELECT
            p.seq, p.id, p.event_code, p.encounter_id, p.patient_identifier, p.hospital_id, p.tries, p.received_at,
            p.payload_json
        FROM events p
        WHERE p.encounter_id = owned.encounter_id AND p.processed_at IS NULL
        OFFSET 0
    ) waiting
    ORDER BY waiting.seq
    LIMIT sqlc.arg(most)::integer
) e
ORDER BY e.seq;

-- name: EventPendingFrom :one
-- The seq of the pending event that lies so many places further on in the queue.
SELECT e.seq
FROM events e
WHERE e.status = 'pending' AND e.seq >= @from_seq
ORDER BY e.seq
OFFSET sqlc.arg(places)::integer
LIMIT 1;

-- name: EventFinish :execrows
-- Writes what became of events; element i of each list belongs together, and the nil UUID stands for none.
-- status || '' keeps the planner from the index of pending events, which holds many dead entries.
UPDATE events e
SET status = f.status, reason = f.reason, error_message = f.error_message,
    attempts = e.attempts + (e.tries = 0)::integer, tries = 0,
    processed_at = clock_timestamp(), updated_at = clock_timestamp(),
    journey_instance_id = nullif(f.journey, '00000000-0000-0000-0000-000000000000'),
    stage_instance_id = nullif(f.stage, '00000000-0000-0000-0000-000000000000'),
    survey_id = nullif(f.survey, '00000000-0000-0000-0000-000000000000')
FROM (
    SELECT
        unnest(@seqs::bigint[]) AS seq, unnest(@statuses::text[]) AS status, unnest(@reasons::text[]) AS reason,
        unnest(@error_messages::text[]) AS error_message,
        unnest(@journeys::uuid[]) AS journey, unnest(@stages::uuid[]) AS stage, unnest(@surveys::uuid[]) AS survey
) f
WHERE e.seq = f.seq AND e.status || '' = 'pending';

-- name: EventTry :one
-- Counts a try of an event before it is made, so that an event which crashes the worker is counted too:
-- only of the first pending event of an encounter, whose mutex the connection then holds until
-- EventTryEnd, so that nobody else counts between the count and the try. No row: it is not its turn.
UPDATE events e
SET attempts = e.attempts + 1, tries = e.tries + 1
WHERE e.seq = @seq AND e.processed_at IS NULL
  AND NOT EXISTS (
    SELECT FROM events b
    WHERE b.encounter_id = e.encounter_id AND b.seq < e.seq AND b.processed_at IS NULL)
  AND pg_try_advisory_lock(hashtextextended(e.encounter_id, 0))
RETURNING e.tries;

-- name: EventTryBegin :exec
-- A connection whose client vanished must not hold a mutex for longer than a transaction could.
SELECT set_config('idle_session_timeout', current_setting('idle_in_transaction_session_timeout'), false);

-- name: EventTryEnd :exec
-- Releases all mutexes that the connection holds.
SELECT pg_advisory_unlock_all();

-- name: EventTryUndo :exec
-- Takes back the count of a try that failed for no fault of the event's.
UPDATE events SET attempts = attempts - 1, tries = tries - 1 WHERE seq = @seq AND tries > 0;

-- name: EventQueueState :one
-- How many events are pending, counted up to a limit, and for how many seconds the oldest is. It reads pending
-- events only, however many there are in all.
SELECT
    (SELECT count(*) FROM (SELECT FROM events WHERE status = 'pending' LIMIT sqlc.arg(at_most)::integer) p)::bigint AS pending,
    (coalesce((SELECT extract(epoch FROM now() - received_at) FROM events WHERE status = 'pending' ORDER BY seq LIMIT 1), 0))::float8 AS oldest_seconds;

-- name: EventNotify :exec
-- Wakes idle workers. Never part of an ingesting transaction: NOTIFY takes a global lock at commit. It need not be
-- durable, so its commit does not wait for the disk.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('px360_events', '');

-- name: EventApplyAsync :exec
-- The transaction that applies events does not wait for the disk when it commits: that would hold up
-- those who wait for their own events to be stored. A crash of the database within the next moments may
-- take back all of it at once, outcomes and effects; then the events are pending and applied again.
SELECT set_config('synchronous_commit', 'off', true);

-- name: Now :one
-- The time by the one clock that all times are taken from.
SELECT statement_timestamp()::timestamptz;
