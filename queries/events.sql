-- name: EventInsert :many
-- Inserts events and returns the new ones. Their seq is in the order of the lists. The rows are inserted in the order of
-- source_event_id: two statements with the same events in another order would wait for each other. An event is skipped if
-- its source_event_id is known of this kind of sender, or if its id is, which means that the statement is a retry whose
-- first answer was lost. The lists of events are parallel arrays, one element for each event. The lists of requests have
-- one element for each request; requests has the index of each event's request, from 1. The nil UUID means no hospital;
-- among_hospitals are array literals, {} for every one. With short_lock_timeout the statement fails after 50 ms of waiting for a transaction that inserts one of the same
-- events.
WITH setting AS MATERIALIZED (
    SELECT set_config('lock_timeout', CASE WHEN @short_lock_timeout::boolean THEN '50ms' ELSE current_setting('lock_timeout') END, true) AS lock_timeout
)
INSERT INTO events (
    seq, id, source_system, event_code, encounter_id, patient_identifier, payload_json, source_event_id,
    hospital_id, among_hospital_ids, sender_kind, sender_id, client_ip, request_id
)
OVERRIDING SYSTEM VALUE
SELECT
    e.seq, e.id, e.source_system, e.event_code, e.encounter_id, e.patient_identifier, e.payload::jsonb, e.source_event_id,
    nullif((@hospitals::uuid[])[e.request], '00000000-0000-0000-0000-000000000000'),
    nullif((@among_hospitals::text[])[e.request], '{}')::uuid[], (@sender_kinds::text[])[e.request],
    (@sender_ids::uuid[])[e.request], (@client_ips::text[])[e.request], (@request_ids::text[])[e.request]
FROM (
    SELECT
        nextval('events_seq_seq') AS seq,
        unnest(@ids::uuid[]) AS id, unnest(@source_systems::text[]) AS source_system, unnest(@event_codes::text[]) AS event_code,
        unnest(@encounter_ids::text[]) AS encounter_id, unnest(@patient_identifiers::text[]) AS patient_identifier,
        unnest(@payloads::text[]) AS payload, unnest(@source_event_ids::text[]) AS source_event_id,
        unnest(@requests::integer[]) AS request
) e, setting s
WHERE s.lock_timeout IS NOT NULL
ORDER BY e.source_event_id, e.source_system, e.seq
ON CONFLICT DO NOTHING
RETURNING id, received_at;

-- name: EventStored :many
-- Returns the stored events with these ids (own) or, from this kind of sender, source event ids; whether their content is
-- the same, and whether this very sender sent them (same_sender). The UNION lets each part use its index.
WITH sent AS (
    SELECT
        unnest(@positions::integer[]) AS i, unnest(@ids::uuid[]) AS id, unnest(@source_systems::text[]) AS source_system,
        unnest(@event_codes::text[]) AS event_code, unnest(@encounter_ids::text[]) AS encounter_id,
        unnest(@patient_identifiers::text[]) AS patient_identifier, unnest(@payloads::text[]) AS payload,
        unnest(@source_event_ids::text[]) AS source_event_id
)
SELECT
    e.id, e.source_system, e.event_code, e.encounter_id, e.status, e.received_at, s.i::integer AS i,
    true AS own, true AS same, true AS same_sender
FROM sent s
JOIN events e ON e.id = s.id
UNION ALL
SELECT
    e.id, e.source_system, e.event_code, e.encounter_id, e.status, e.received_at, s.i::integer AS i,
    false AS own,
    (e.event_code = s.event_code AND e.encounter_id = s.encounter_id AND e.patient_identifier = s.patient_identifier
     AND e.payload_json = s.payload::jsonb)::boolean AS same,
    (e.sender_id = @sender_id)::boolean AS same_sender
FROM sent s
JOIN events e ON e.source_event_id = s.source_event_id AND e.source_event_id <> '' AND e.source_system = s.source_system
    AND e.hospital_id IS NOT DISTINCT FROM sqlc.narg(hospital)::uuid AND e.sender_kind = @sender_kind
WHERE e.id <> s.id;

-- name: EventList :many
SELECT
    e.id, e.attempts, e.received_at AS created_at, e.encounter_id, e.error_message, e.event_code, e.hospital_id AS hospital,
    e.journey_instance_id AS journey_instance, e.patient_identifier, e.payload_json, e.processed_at, e.reason, e.received_at,
    e.seq, e.source_event_id, e.source_system, e.stage_instance_id AS stage_instance, e.status, e.survey_id AS survey, e.updated_at,
    e.warnings
FROM events e
WHERE (sqlc.narg(status)::text IS NULL OR e.status = sqlc.narg(status))
  AND (sqlc.narg(source_system)::text IS NULL OR e.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(event_code)::text IS NULL OR e.event_code = sqlc.narg(event_code))
  AND (sqlc.narg(encounter_id)::text IS NULL OR e.encounter_id = sqlc.narg(encounter_id))
  AND (sqlc.narg(reason)::text IS NULL OR e.reason = sqlc.narg(reason) AND e.status IN ('failed', 'ignored'))
  AND (sqlc.narg(received_after)::timestamptz IS NULL OR e.received_at >= sqlc.narg(received_after))
  AND (sqlc.narg(received_before)::timestamptz IS NULL OR e.received_at < sqlc.narg(received_before))
  AND (sqlc.narg(sender_key)::uuid IS NULL OR e.sender_kind = 'key' AND e.sender_id = sqlc.narg(sender_key))
ORDER BY received_at DESC, seq DESC;

-- name: EventGet :one
-- sender_key is the config whose events alone the caller sees; null for one who sees all.
SELECT
    e.id, e.attempts, e.received_at AS created_at, e.encounter_id, e.error_message, e.event_code, e.hospital_id AS hospital,
    e.journey_instance_id AS journey_instance, e.patient_identifier, e.payload_json, e.processed_at, e.reason, e.received_at,
    e.seq, e.source_event_id, e.source_system, e.stage_instance_id AS stage_instance, e.status, e.survey_id AS survey, e.updated_at,
    e.warnings
FROM events e
WHERE e.id = @id
  AND (sqlc.narg(sender_key)::uuid IS NULL OR e.sender_kind = 'key' AND e.sender_id = sqlc.narg(sender_key));

-- name: EventFacts :one
-- Returns what the rules ask for of one event, in whatever state: the columns of EventClaim.
SELECT
    e.seq, e.id, e.event_code, e.encounter_id, e.patient_identifier, e.hospital_id, e.among_hospital_ids, e.tries,
    e.received_at,
    (CASE jsonb_typeof(e.payload_json -> 'physician_license')
        WHEN 'string' THEN left(e.payload_json ->> 'physician_license', 101) ELSE '' END)::text AS physician_license,
    (CASE jsonb_typeof(e.payload_json -> 'department_code')
        WHEN 'string' THEN left(e.payload_json ->> 'department_code', 101) ELSE '' END)::text AS department_code,
    coalesce(nullif(jsonb_typeof(e.payload_json -> 'timestamp'), 'null'), '')::text AS timestamp_type,
    (CASE WHEN jsonb_typeof(e.payload_json -> 'timestamp') IN ('string', 'number')
        THEN left(e.payload_json ->> 'timestamp', 101) ELSE '' END)::text AS timestamp,
    false AS is_suspect,
    (CASE e.sender_kind WHEN 'key' THEN e.source_system ELSE 'user' END)::text AS named_source
FROM events e
WHERE e.id = @id;

-- name: EventBulkMatched :one
-- Counts the events that a bulk would make pending again.
SELECT count(*)
FROM events e
WHERE e.status = @status AND e.status IN ('failed', 'ignored') AND e.received_at >= @received_after
  AND (sqlc.narg(received_before)::timestamptz IS NULL OR e.received_at < sqlc.narg(received_before))
  AND (sqlc.narg(reason)::text IS NULL OR e.reason = sqlc.narg(reason))
  AND (sqlc.narg(source_system)::text IS NULL OR e.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(event_code)::text IS NULL OR e.event_code = sqlc.narg(event_code));

-- name: EventBulkReprocess :execrows
-- Makes the oldest of these pending again, but for those that somebody else is changing.
UPDATE events
SET status = 'pending', reason = '', error_message = '', processed_at = NULL, updated_at = now(),
    journey_instance_id = NULL, stage_instance_id = NULL, survey_id = NULL, warnings = '{}'
WHERE seq IN (
    SELECT e.seq
    FROM events e
    WHERE e.status = @status AND e.status IN ('failed', 'ignored') AND e.received_at >= @received_after
      AND (sqlc.narg(received_before)::timestamptz IS NULL OR e.received_at < sqlc.narg(received_before))
      AND (sqlc.narg(reason)::text IS NULL OR e.reason = sqlc.narg(reason))
      AND (sqlc.narg(source_system)::text IS NULL OR e.source_system = sqlc.narg(source_system))
      AND (sqlc.narg(event_code)::text IS NULL OR e.event_code = sqlc.narg(event_code))
    ORDER BY e.received_at, e.seq
    LIMIT @most
    FOR NO KEY UPDATE SKIP LOCKED
);

-- name: EventReprocess :execrows
-- Makes a failed or ignored event pending again. It keeps its seq, and so its position in the
-- queue.
UPDATE events
SET status = 'pending', reason = '', error_message = '', processed_at = NULL, updated_at = now(),
    journey_instance_id = NULL, stage_instance_id = NULL, survey_id = NULL, warnings = '{}'
WHERE id = @id AND status IN ('failed', 'ignored');

-- name: EventRequeue :execrows
-- Makes events pending again that were ignored with no_journey, after their journey was created, and those for all
-- hospitals that failed with patient_mismatch, whose patient may be that of the new journey. They keep their seq, and so
-- their positions in the queue.
UPDATE events
SET status = 'pending', reason = '', error_message = '', processed_at = NULL, updated_at = now(), warnings = '{}'
WHERE encounter_id = @encounter_id
  AND (status = 'ignored' AND reason = 'no_journey' AND (hospital_id IS NULL OR hospital_id = @hospital::uuid)
    OR status = 'failed' AND reason = 'patient_mismatch' AND hospital_id IS NULL)
  AND (among_hospital_ids IS NULL OR @hospital = ANY (among_hospital_ids));

-- name: EncounterLock :exec
-- Locks the mutex of an encounter, an advisory lock, until the transaction ends. Workers hold it while they apply
-- the encounter's events, and the server while it creates a journey with the encounter id, so that a worker never
-- decides that there is no journey while one is being created. A journey that is to have another encounter id is named:
-- the mutex of the one that it has is locked too, both in the order of their keys, since two journeys that swap their
-- encounter ids would otherwise wait for each other. A batch takes a fraction of a second, so whoever holds a mutex for
-- longer has stopped or hangs: this and the later statements of the transaction wait for locks no longer than a third of
-- the lock_timeout, 1 s.
WITH setting AS MATERIALIZED (
    SELECT set_config('lock_timeout', (extract(epoch FROM current_setting('lock_timeout')::interval) * 1000)::integer / 3 || 'ms', true) AS lock_timeout
)
SELECT pg_advisory_xact_lock(e.key)
FROM setting s, (
    SELECT hashtextextended(@encounter_id::text, 0) AS key
    UNION
    SELECT hashtextextended(j.encounter_id, 0) FROM journey_instances j WHERE j.id = sqlc.narg(journey)::uuid
    ORDER BY key
) e
WHERE s.lock_timeout IS NOT NULL;

-- name: EventClaimEncounters :many
-- Claims encounters that have pending events, oldest event first, from a window of the queue: it takes the mutex of
-- each with a try-lock, so that nothing waits and workers spread over the queue. It locks no row: whoever changes a
-- pending event holds the mutex of its encounter. An encounter whose events were finished since the statement began is
-- claimed too, and has no pending event then. Each step is MATERIALIZED to fix the plan: the statistics of a queue are
-- always out of date.
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
)
SELECT w.encounter_id, w.seq
FROM waiting w
WHERE pg_try_advisory_xact_lock(hashtextextended(w.encounter_id, 0))
LIMIT sqlc.arg(most)::integer;

-- name: EventClaim :many
-- Returns the pending events of encounters whose mutex this transaction holds, in the order of their seq. Of a
-- payload it returns only the texts that the rules use, truncated above the length of any valid name, since a
-- batch of large payloads would fill the memory. OFFSET 0 forces an index lookup for each encounter, also when
-- the planner expects hardly any pending events. A number comes as its text, and a type says which it was.
-- is_suspect tells that a batch with the event failed or vanished. named_source is the source system where an API
-- key sent the event: a config names it, so there are few.
SELECT
    e.seq, e.id, e.event_code, e.encounter_id, e.patient_identifier, e.hospital_id, e.among_hospital_ids, e.tries,
    e.received_at,
    (CASE jsonb_typeof(e.payload_json -> 'physician_license')
        WHEN 'string' THEN left(e.payload_json ->> 'physician_license', 101) ELSE '' END)::text AS physician_license,
    (CASE jsonb_typeof(e.payload_json -> 'department_code')
        WHEN 'string' THEN left(e.payload_json ->> 'department_code', 101) ELSE '' END)::text AS department_code,
    coalesce(nullif(jsonb_typeof(e.payload_json -> 'timestamp'), 'null'), '')::text AS timestamp_type,
    (CASE WHEN jsonb_typeof(e.payload_json -> 'timestamp') IN ('string', 'number')
        THEN left(e.payload_json ->> 'timestamp', 101) ELSE '' END)::text AS timestamp,
    (e.seq <= e.last_suspect_seq)::boolean AS is_suspect,
    (CASE e.sender_kind WHEN 'key' THEN e.source_system ELSE 'user' END)::text AS named_source
FROM (
    SELECT waiting.*, coalesce(suspect.last_seq, 0) AS last_suspect_seq
    FROM unnest(@encounters::text[]) AS owned (encounter_id)
    LEFT JOIN (
        SELECT x.encounter_id, max(b.last_seq) AS last_seq
        FROM suspect_batches b CROSS JOIN unnest(b.encounters) AS x (encounter_id)
        GROUP BY x.encounter_id
    ) suspect ON suspect.encounter_id = owned.encounter_id
    CROSS JOIN LATERAL (
        SELECT
            p.seq, p.id, p.event_code, p.encounter_id, p.patient_identifier, p.hospital_id, p.among_hospital_ids, p.tries,
            p.received_at, p.payload_json, p.sender_kind, p.source_system
        FROM events p
        WHERE p.encounter_id = owned.encounter_id AND p.processed_at IS NULL
        OFFSET 0
    ) waiting
    ORDER BY waiting.seq
    LIMIT sqlc.arg(most)::integer
) e
ORDER BY e.seq;

-- name: EventPendingFrom :one
-- Returns the seq of the pending event so many positions further in the queue.
SELECT e.seq
FROM events e
WHERE e.status = 'pending' AND e.seq >= @from_seq
ORDER BY e.seq
OFFSET sqlc.arg(places)::integer
LIMIT 1;

-- name: EventFinish :execrows
-- Stores the outcomes of events, given as parallel arrays; the nil UUID and a blank warning mean null. status || ''
-- keeps the planner from using the index of pending events, which has many dead entries.
UPDATE events e
SET status = f.status, reason = f.reason, error_message = f.error_message,
    attempts = e.attempts + (e.tries = 0)::integer, tries = 0,
    processed_at = clock_timestamp(), updated_at = clock_timestamp(),
    journey_instance_id = nullif(f.journey, '00000000-0000-0000-0000-000000000000'),
    stage_instance_id = nullif(f.stage, '00000000-0000-0000-0000-000000000000'),
    survey_id = nullif(f.survey, '00000000-0000-0000-0000-000000000000'), warnings = array_remove(ARRAY[f.warning], '')
FROM (
    SELECT
        unnest(@seqs::bigint[]) AS seq, unnest(@statuses::text[]) AS status, unnest(@reasons::text[]) AS reason,
        unnest(@error_messages::text[]) AS error_message,
        unnest(@journeys::uuid[]) AS journey, unnest(@stages::uuid[]) AS stage, unnest(@surveys::uuid[]) AS survey,
        unnest(@warnings::text[]) AS warning
) f
WHERE e.seq = f.seq AND e.status || '' = 'pending';

-- name: EventTry :one
-- Counts an attempt before it is made, so that a poison event which crashes the worker is counted too.
-- Beyond max_tries the event is only given up, which is no attempt.
-- It applies only to the first pending event of an encounter and locks the encounter's mutex for the
-- session, until EventTryEnd, so that no other worker counts an attempt meanwhile. It returns no row if
-- an earlier event is pending, the mutex is held, or others have counted since the event was claimed. A statement
-- of the first attempt may take a fifth of the statement_timeout: a single event takes milliseconds, and the others
-- of its batch wait while it hangs.
UPDATE events e
SET attempts = e.attempts + (e.tries < sqlc.arg(max_tries)::integer)::integer, tries = e.tries + 1
WHERE e.seq = @seq AND e.processed_at IS NULL AND e.tries = @tries
  AND NOT EXISTS (
    SELECT FROM events b
    WHERE b.encounter_id = e.encounter_id AND b.seq < e.seq AND b.processed_at IS NULL)
  AND pg_try_advisory_lock(hashtextextended(e.encounter_id, 0))
RETURNING e.tries, set_config('statement_timeout',
    CASE e.tries
        WHEN 1 THEN (extract(epoch FROM current_setting('px360.statement_timeout')::interval) * 1000)::integer / 5 || 'ms'
        ELSE current_setting('px360.statement_timeout')
    END, false)::text AS statement_timeout;

-- name: EventTryBegin :exec
-- Limits how long a session may be idle: the connection of a crashed client must not hold a mutex
-- for longer than a transaction could. Counts are committed asynchronously: they are for a worker that crashes, and
-- survive that.
SELECT
    set_config('px360.statement_timeout', current_setting('statement_timeout'), false),
    set_config('idle_session_timeout', current_setting('idle_in_transaction_session_timeout'), false),
    set_config('synchronous_commit', 'off', false);

-- name: EventTryEnd :exec
-- Releases all mutexes of the session.
SELECT pg_advisory_unlock_all();

-- name: EventTryUndo :exec
-- Takes back the count of an attempt, unless there are no more than the least.
UPDATE events
SET attempts = attempts - (tries <= sqlc.arg(max_tries)::integer)::integer, tries = tries - 1
WHERE seq = @seq AND tries > sqlc.arg(least)::integer;

-- name: EventQueueState :one
-- Returns the number of pending events, counted up to a limit, and the age of the oldest in seconds. It reads
-- pending events only.
SELECT
    (SELECT count(*) FROM (SELECT FROM events WHERE status = 'pending' LIMIT sqlc.arg(at_most)::integer) p)::bigint AS pending,
    (coalesce((SELECT extract(epoch FROM now() - received_at) FROM events WHERE status = 'pending' ORDER BY seq LIMIT 1), 0))::float8 AS oldest_seconds;

-- name: EventNotify :exec
-- Wakes idle workers. It must not be part of a transaction that stores events, because NOTIFY takes a global lock
-- at commit. The commit is asynchronous, since a notification need not be durable.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('px360_events', '');

-- name: EventApplyAsync :exec
-- Makes the commit of the transaction that applies events asynchronous, so that its WAL flush does not
-- delay the requests that store events. A crash of the database within the next moments may undo it as
-- a whole, outcomes and effects; the events are then pending and applied again.
SELECT set_config('synchronous_commit', 'off', true);

-- name: Now :one
-- Returns the database's time, from which all times are taken.
SELECT statement_timestamp()::timestamptz;

-- name: EventExpire :execrows
-- Deletes a batch of the oldest events that were received so many seconds ago and are finished, but for those that somebody is
-- making pending again.
DELETE FROM events
WHERE seq IN (
    SELECT e.seq
    FROM events e
    WHERE e.received_at < now() - make_interval(secs => @seconds) AND e.processed_at IS NOT NULL
    ORDER BY e.received_at
    LIMIT sqlc.arg(most)::integer
    FOR UPDATE SKIP LOCKED
);
