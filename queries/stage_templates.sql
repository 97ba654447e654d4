-- name: StageTemplateList :many
SELECT
    s.id, s.auto_send_survey, s.code, s.created_at, s.is_active, s.is_optional,
    s.journey_template_id AS journey_template, s.name, s.name_ar, s."order" AS order, s.requires_department,
    s.requires_physician, s.survey_delay_hours, s.survey_template_id AS survey_template,
    v.name AS survey_template_name, s.trigger_event_code, s.updated_at
FROM stage_templates s
LEFT JOIN survey_templates v ON v.id = s.survey_template_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(journey_template)::uuid IS NULL OR s.journey_template_id = sqlc.narg(journey_template))
  AND (sqlc.narg(trigger_event_code)::text IS NULL OR s.trigger_event_code = sqlc.narg(trigger_event_code))
  AND (sqlc.narg(is_active)::boolean IS NULL OR s.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(is_optional)::boolean IS NULL OR s.is_optional = sqlc.narg(is_optional))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(s.search, sqlc.narg(search)))
ORDER BY journey_template DESC, "order", code, id;

-- name: StageTemplateGet :one
SELECT
    s.id, s.auto_send_survey, s.code, s.created_at, s.is_active, s.is_optional,
    s.journey_template_id AS journey_template, s.name, s.name_ar, s."order" AS order, s.requires_department,
    s.requires_physician, s.survey_delay_hours, s.survey_template_id AS survey_template,
    v.name AS survey_template_name, s.trigger_event_code, s.updated_at
FROM stage_templates s
LEFT JOIN survey_templates v ON v.id = s.survey_template_id
WHERE s.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope));

-- name: JourneyTemplateStages :many
-- The stages of a journey template, as the response of the parent embeds them.
SELECT
    s.id, s.auto_send_survey, s.code, s.created_at, s.is_active, s.is_optional,
    s.journey_template_id AS journey_template, s.name, s.name_ar, s."order" AS order, s.requires_department,
    s.requires_physician, s.survey_delay_hours, s.survey_template_id AS survey_template,
    v.name AS survey_template_name, s.trigger_event_code, s.updated_at
FROM stage_templates s
LEFT JOIN survey_templates v ON v.id = s.survey_template_id
WHERE s.journey_template_id = @journey_template
ORDER BY s."order", s.code;

-- name: StageTemplateLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    hospital_id, journey_template_id, name, name_ar, code, "order", trigger_event_code, survey_template_id,
    auto_send_survey, survey_delay_hours, requires_physician, requires_department, is_optional, is_active, id
FROM stage_templates s
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: StageTemplateInsert :exec
INSERT INTO stage_templates (
    hospital_id, journey_template_id, name, name_ar, code, "order", trigger_event_code, survey_template_id,
    auto_send_survey, survey_delay_hours, requires_physician, requires_department, is_optional, is_active, id
) VALUES (
    @hospital, @journey_template, @name, @name_ar, @code, sqlc.arg('order'), @trigger_event_code, @survey_template,
    @auto_send_survey, @survey_delay_hours, @requires_physician, @requires_department, @is_optional, @is_active, @id
);

-- name: StageTemplateUpdate :exec
UPDATE stage_templates
SET hospital_id = @hospital, journey_template_id = @journey_template, name = @name, name_ar = @name_ar, code = @code,
    "order" = sqlc.arg('order'), trigger_event_code = @trigger_event_code, survey_template_id = @survey_template,
    auto_send_survey = @auto_send_survey, survey_delay_hours = @survey_delay_hours,
    requires_physician = @requires_physician, requires_department = @requires_department, is_optional = @is_optional,
    is_active = @is_active,
    updated_at = now()
WHERE id = @id;

-- name: StageTemplateDelete :exec
DELETE FROM stage_templates WHERE id = @id;
