-- name: StageList :many
SELECT
    s.id, s.completed_at, s.completed_by_event, s.created_at, s.department_id AS department, d.name AS department_name,
    s.journey_instance_id AS journey_instance, s.metadata, s.physician_id AS physician,
    p.full_name AS physician_name, s.name AS stage_name, s."order" AS stage_order,
    s.stage_template_id AS stage_template, s.status, v.due_at AS survey_scheduled_at,
    (c.sent_at IS NOT NULL)::boolean AS survey_sent, c.sent_at AS survey_sent_at, s.updated_at
FROM stage_instances s
LEFT JOIN physicians p ON p.id = s.physician_id
LEFT JOIN departments d ON d.id = s.department_id
LEFT JOIN surveys v ON v.stage_instance_id = s.id
LEFT JOIN survey_sections c ON c.stage_instance_id = s.id
WHERE (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(journey_instance)::uuid IS NULL OR s.journey_instance_id = sqlc.narg(journey_instance))
  AND (sqlc.narg(stage_template)::uuid IS NULL OR s.stage_template_id = sqlc.narg(stage_template))
  AND (sqlc.narg(status)::text IS NULL OR s.status = sqlc.narg(status))
ORDER BY journey_instance DESC, stage_order, id;

-- name: StageGet :one
SELECT
    s.id, s.completed_at, s.completed_by_event, s.created_at, s.department_id AS department, d.name AS department_name,
    s.journey_instance_id AS journey_instance, s.metadata, s.physician_id AS physician,
    p.full_name AS physician_name, s.name AS stage_name, s."order" AS stage_order,
    s.stage_template_id AS stage_template, s.status, v.due_at AS survey_scheduled_at,
    (c.sent_at IS NOT NULL)::boolean AS survey_sent, c.sent_at AS survey_sent_at, s.updated_at
FROM stage_instances s
LEFT JOIN physicians p ON p.id = s.physician_id
LEFT JOIN departments d ON d.id = s.department_id
LEFT JOIN surveys v ON v.stage_instance_id = s.id
LEFT JOIN survey_sections c ON c.stage_instance_id = s.id
WHERE s.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope));

-- name: JourneyStages :many
-- The stages of a journey, as the response of the parent embeds them.
SELECT
    s.id, s.completed_at, s.completed_by_event, s.created_at, s.department_id AS department, d.name AS department_name,
    s.journey_instance_id AS journey_instance, s.metadata, s.physician_id AS physician,
    p.full_name AS physician_name, s.name AS stage_name, s."order" AS stage_order,
    s.stage_template_id AS stage_template, s.status, v.due_at AS survey_scheduled_at,
    (c.sent_at IS NOT NULL)::boolean AS survey_sent, c.sent_at AS survey_sent_at, s.updated_at
FROM stage_instances s
LEFT JOIN physicians p ON p.id = s.physician_id
LEFT JOIN departments d ON d.id = s.department_id
LEFT JOIN surveys v ON v.stage_instance_id = s.id
LEFT JOIN survey_sections c ON c.stage_instance_id = s.id
WHERE s.journey_instance_id = @journey_instance
ORDER BY s."order", s.code;

-- name: StageLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    hospital_id, journey_instance_id, stage_template_id, status, physician_id, department_id, metadata, id
FROM stage_instances s
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: StageInsert :exec
INSERT INTO stage_instances (
    hospital_id, journey_instance_id, stage_template_id, status, physician_id, department_id, metadata, id
) VALUES (
    @hospital, @journey_instance, @stage_template, @status, @physician, @department, @metadata, @id
);

-- name: StageUpdate :exec
-- Changes a stage except for completing it, which StageComplete does.
UPDATE stage_instances
SET hospital_id = @hospital, journey_instance_id = @journey_instance, stage_template_id = @stage_template,
    status = CASE WHEN @status::text = 'completed' THEN status ELSE @status END,
    physician_id = @physician, department_id = @department, metadata = @metadata,
    updated_at = now()
WHERE id = @id;

-- name: StageDelete :one
DELETE FROM stage_instances WHERE id = @id RETURNING journey_instance_id;

-- name: StageListOf :many
-- Returns the columns of stages that a worker needs, in the order of the stages.
SELECT
    s.id, s.journey_instance_id, s.hospital_id, s.trigger_event_code, s.status, s.completed_at, s.is_optional,
    s.auto_send_survey, s.requires_physician, s.requires_department
FROM stage_instances s
WHERE s.journey_instance_id = ANY (@journeys::uuid[])
ORDER BY s.journey_instance_id, s."order", s.code;

-- name: StageAdd :execrows
-- Adds a stage to an active journey, copied from a stage template of its hospital. It does not complete
-- the stage, which StageComplete does.
INSERT INTO stage_instances (
    id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order", trigger_event_code,
    survey_template_id, auto_send_survey, survey_delay_hours, requires_physician, requires_department, is_optional,
    status, physician_id, department_id, metadata
)
SELECT
    @id, j.hospital_id, j.id, t.id, t.name, t.name_ar, t.code, t."order", t.trigger_event_code,
    t.survey_template_id, t.auto_send_survey, t.survey_delay_hours, t.requires_physician, t.requires_department,
    t.is_optional, CASE WHEN @status::text = 'completed' THEN 'pending' ELSE @status END, sqlc.narg(physician), sqlc.narg(department), @metadata
FROM stage_templates t, journey_instances j
WHERE t.id = @stage_template AND j.id = @journey_instance AND t.journey_template_id = j.journey_template_id;

-- name: StageComplete :exec
-- Completes stages, by event or by request, given as parallel arrays; the nil UUID means null.
UPDATE stage_instances s
SET status = 'completed', completed_at = c.completed_at,
    completed_by_event = nullif(c.event, '00000000-0000-0000-0000-000000000000'),
    physician_id = coalesce(nullif(c.physician, '00000000-0000-0000-0000-000000000000'), s.physician_id),
    department_id = coalesce(nullif(c.department, '00000000-0000-0000-0000-000000000000'), s.department_id),
    updated_at = now()
FROM (
    SELECT
        unnest(@stages::uuid[]) AS id, unnest(@completed_at::timestamptz[]) AS completed_at,
        unnest(@events::uuid[]) AS event, unnest(@physicians::uuid[]) AS physician,
        unnest(@departments::uuid[]) AS department
) c
WHERE s.id = c.id AND s.status IN ('pending', 'in_progress');

-- name: StageHasOutcome :one
-- Reports whether a survey that asks about the stage was sent, or is being sent: the stage is then part of the record and
-- cannot be deleted.
SELECT EXISTS (SELECT FROM survey_sections WHERE stage_instance_id = @id::uuid);
