-- name: JourneyList :many
SELECT
    j.id, j.completed_at, j.created_at, j.department_id AS department, d.name AS department_name, j.encounter_id,
    j.hospital_id AS hospital, coalesce(h.name, '')::text AS hospital_name, j.journey_template_id AS journey_template,
    coalesce(t.name, '')::text AS journey_template_name, coalesce(t.journey_type, '')::text AS journey_type, j.metadata, j.patient_id AS patient, coalesce(p.mrn, '')::text AS patient_mrn,
    coalesce(p.full_name, '')::text AS patient_name, j.started_at, j.status, j.updated_at
FROM journey_instances j
LEFT JOIN journey_templates t ON t.id = j.journey_template_id
LEFT JOIN patients p ON p.id = j.patient_id
LEFT JOIN hospitals h ON h.id = j.hospital_id
LEFT JOIN departments d ON d.id = j.department_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR j.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(journey_template)::uuid IS NULL OR j.journey_template_id = sqlc.narg(journey_template))
  AND (sqlc.narg(journey_template__journey_type)::text IS NULL OR t.journey_type = sqlc.narg(journey_template__journey_type))
  AND (sqlc.narg(patient)::uuid IS NULL OR j.patient_id = sqlc.narg(patient))
  AND (sqlc.narg(hospital)::uuid IS NULL OR j.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(encounter_id)::text IS NULL OR j.encounter_id = sqlc.narg(encounter_id))
  AND (sqlc.narg(status)::text IS NULL OR j.status = sqlc.narg(status))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(j.search || E'\n' || j.patient_search, sqlc.narg(search)))
ORDER BY id DESC;

-- name: JourneyGet :one
SELECT
    j.id, j.completed_at, j.created_at, j.department_id AS department, d.name AS department_name, j.encounter_id,
    j.hospital_id AS hospital, h.name AS hospital_name, j.journey_template_id AS journey_template,
    t.name AS journey_template_name, t.journey_type, j.metadata, j.patient_id AS patient, p.mrn AS patient_mrn,
    p.full_name AS patient_name, j.started_at, j.status, j.updated_at
FROM journey_instances j
JOIN journey_templates t ON t.id = j.journey_template_id
JOIN patients p ON p.id = j.patient_id
JOIN hospitals h ON h.id = j.hospital_id
LEFT JOIN departments d ON d.id = j.department_id
WHERE j.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR j.hospital_id = sqlc.narg(scope));

-- name: JourneyLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    journey_template_id, patient_id, encounter_id, hospital_id, department_id, status, metadata, started_at,
    started_at_stated, id
FROM journey_instances j
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR j.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: JourneyInsert :exec
INSERT INTO journey_instances (
    journey_template_id, patient_id, encounter_id, hospital_id, department_id, status, metadata, started_at,
    started_at_stated, id, post_discharge_survey_template_id, post_discharge_survey_delay_hours
) VALUES (
    @journey_template, @patient, @encounter_id, @hospital, @department, @status, @metadata,
    coalesce(nullif(@started_at::timestamptz, '0001-01-01T00:00:00Z'), now()), @started_at_stated, @id,
    (SELECT t.post_discharge_survey_template_id FROM journey_templates t WHERE t.id = @journey_template AND t.send_post_discharge_survey),
    coalesce((SELECT t.post_discharge_survey_delay_hours FROM journey_templates t WHERE t.id = @journey_template), 0)
);

-- name: JourneyUpdate :exec
UPDATE journey_instances
SET journey_template_id = @journey_template, patient_id = @patient, encounter_id = @encounter_id,
    hospital_id = @hospital, department_id = @department, status = @status, metadata = @metadata,
    started_at = @started_at, started_at_stated = @started_at_stated,
    updated_at = now()
WHERE id = @id;

-- name: JourneyDelete :exec
DELETE FROM journey_instances WHERE id = @id;

-- name: JourneyAddStages :exec
-- Copies the active stages of the journey's template into the journey.
INSERT INTO stage_instances (
    id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order", trigger_event_code,
    survey_template_id, auto_send_survey, survey_delay_hours, requires_physician, requires_department, is_optional
)
SELECT
    uuid7(), t.hospital_id, @journey, t.id, t.name, t.name_ar, t.code, t."order", t.trigger_event_code,
    t.survey_template_id, t.auto_send_survey, t.survey_delay_hours, t.requires_physician, t.requires_department,
    t.is_optional
FROM stage_templates t
WHERE t.journey_template_id = @journey_template AND t.is_active
ORDER BY t."order", t.code;

-- name: JourneyComplete :exec
-- Completes active journeys, given as parallel arrays. Package rules decides which are complete, and since when. Partners
-- hear of it, once for each journey: it stays completed.
WITH done AS (
    UPDATE journey_instances j
    SET status = 'completed', completed_at = c.completed_at, updated_at = now()
    FROM (SELECT unnest(@journeys::uuid[]) AS id, unnest(@completed_at::timestamptz[]) AS completed_at) c
    WHERE j.id = c.id AND j.status = 'active'
    RETURNING j.id, j.hospital_id
)
INSERT INTO webhook_events (hospital_id, type, object_id, version)
SELECT done.hospital_id, 'journey.completed', done.id, 1 FROM done WHERE EXISTS (SELECT FROM webhook_endpoints);

-- name: JourneyHasOutcome :one
-- Reports whether a survey of the journey was sent, or is being sent: the journey is then part of the record and cannot
-- be deleted.
SELECT EXISTS (SELECT FROM surveys WHERE journey_instance_id = @id AND asked_at IS NOT NULL);

-- name: JourneyProgress :many
-- Returns a journey and its stages in their order, one row for each stage, or one row if it has
-- none.
SELECT
    j.id AS journey_id, j.encounter_id, p.full_name AS patient, t.journey_type, j.status, j.started_at, j.completed_at,
    s.name AS stage_name, s."order" AS stage_order, s.status AS stage_status, s.completed_at AS stage_completed_at,
    s.is_optional AS stage_is_optional, (c.sent_at IS NOT NULL)::boolean AS survey_sent
FROM journey_instances j
JOIN journey_templates t ON t.id = j.journey_template_id
JOIN patients p ON p.id = j.patient_id
LEFT JOIN stage_instances s ON s.journey_instance_id = j.id
LEFT JOIN survey_sections c ON c.stage_instance_id = s.id
WHERE j.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR j.hospital_id = sqlc.narg(scope))
ORDER BY s."order", s.code;

-- name: JourneyClaim :many
-- Locks the journeys of these encounters, and so their stages, which are only changed under this
-- lock. A journey that another transaction has locked is returned with is_owned false, so that a
-- worker defers its events instead of waiting.
WITH owned AS MATERIALIZED (
    SELECT o.id, o.status, o.started_at, o.started_at_stated
    FROM journey_instances o
    WHERE o.encounter_id = ANY (@encounters::text[])
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT
    j.id, j.hospital_id, j.encounter_id, coalesce(owned.status, j.status)::text AS status, p.mrn, p.national_id,
    h.name AS hospital_name, (owned.id IS NOT NULL)::boolean AS is_owned,
    (j.post_discharge_survey_template_id IS NOT NULL)::boolean AS has_visit_survey,
    coalesce(owned.started_at, j.started_at)::timestamptz AS started_at,
    coalesce(owned.started_at_stated, j.started_at_stated)::boolean AS started_at_stated
FROM journey_instances j
JOIN patients p ON p.id = j.patient_id
JOIN hospitals h ON h.id = j.hospital_id
LEFT JOIN owned ON owned.id = j.id
WHERE j.encounter_id = ANY (@encounters::text[])
ORDER BY j.id;

-- name: JourneyOfEncounter :many
-- Returns the journeys of an encounter as JourneyClaim does, without a lock.
SELECT
    j.id, j.hospital_id, j.encounter_id, j.status, p.mrn, p.national_id, h.name AS hospital_name, true AS is_owned,
    (j.post_discharge_survey_template_id IS NOT NULL)::boolean AS has_visit_survey, j.started_at, j.started_at_stated
FROM journey_instances j
JOIN patients p ON p.id = j.patient_id
JOIN hospitals h ON h.id = j.hospital_id
WHERE j.encounter_id = @encounter_id
ORDER BY j.id;

-- name: CreatedAt :one
-- Returns since when a journey, a physician and a department are there, given by their ids.
SELECT j.created_at AS journey, f.created_at AS physician, d.created_at AS department
FROM (SELECT 1) one
LEFT JOIN journey_instances j ON j.id = sqlc.narg(journey)::uuid
LEFT JOIN physicians f ON f.id = sqlc.narg(physician)::uuid
LEFT JOIN departments d ON d.id = sqlc.narg(department)::uuid;

-- name: JourneyLockOf :one
-- Locks the journey of a stage.
SELECT j.id
FROM journey_instances j
WHERE j.id = (SELECT s.journey_instance_id FROM stage_instances s WHERE s.id = @stage)
  AND (sqlc.narg(scope)::uuid IS NULL OR j.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;
