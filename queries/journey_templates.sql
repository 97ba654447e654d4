-- name: JourneyTemplateList :many
SELECT
    t.id, t.created_at, t.description, t.hospital_id AS hospital, h.name AS hospital_name, t.is_active, t.is_default,
    t.journey_type, t.name, t.name_ar, t.post_discharge_survey_delay_hours,
    t.post_discharge_survey_template_id AS post_discharge_survey_template, t.send_post_discharge_survey,
    (SELECT count(*) FROM stage_templates s WHERE s.journey_template_id = t.id)::integer AS stage_count, t.updated_at
FROM journey_templates t
JOIN hospitals h ON h.id = t.hospital_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR t.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(journey_type)::text IS NULL OR t.journey_type = sqlc.narg(journey_type))
  AND (sqlc.narg(hospital)::uuid IS NULL OR t.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR t.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(is_default)::boolean IS NULL OR t.is_default = sqlc.narg(is_default))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(t.search, sqlc.narg(search)))
ORDER BY name, id;

-- name: JourneyTemplateGet :one
SELECT
    t.id, t.created_at, t.description, t.hospital_id AS hospital, h.name AS hospital_name, t.is_active, t.is_default,
    t.journey_type, t.name, t.name_ar, t.post_discharge_survey_delay_hours,
    t.post_discharge_survey_template_id AS post_discharge_survey_template, t.send_post_discharge_survey,
    (SELECT count(*) FROM stage_templates s WHERE s.journey_template_id = t.id)::integer AS stage_count, t.updated_at
FROM journey_templates t
JOIN hospitals h ON h.id = t.hospital_id
WHERE t.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR t.hospital_id = sqlc.narg(scope));

-- name: JourneyTemplateLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    name, name_ar, journey_type, description, hospital_id, is_active, is_default, send_post_discharge_survey,
    post_discharge_survey_delay_hours, post_discharge_survey_template_id, id
FROM journey_templates t
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR t.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: JourneyTemplateInsert :exec
INSERT INTO journey_templates (
    name, name_ar, journey_type, description, hospital_id, is_active, is_default, send_post_discharge_survey,
    post_discharge_survey_delay_hours, post_discharge_survey_template_id, id
) VALUES (
    @name, @name_ar, @journey_type, @description, @hospital, @is_active, @is_default, @send_post_discharge_survey,
    @post_discharge_survey_delay_hours, @post_discharge_survey_template, @id
);

-- name: JourneyTemplateUpdate :exec
UPDATE journey_templates
SET name = @name, name_ar = @name_ar, journey_type = @journey_type, description = @description,
    hospital_id = @hospital, is_active = @is_active, is_default = @is_default,
    send_post_discharge_survey = @send_post_discharge_survey,
    post_discharge_survey_delay_hours = @post_discharge_survey_delay_hours,
    post_discharge_survey_template_id = @post_discharge_survey_template,
    updated_at = now()
WHERE id = @id;

-- name: JourneyTemplateDelete :exec
DELETE FROM journey_templates WHERE id = @id;

-- name: JourneyTemplateClearDefault :exec
-- Clears the default flag of the other templates of the hospital and type.
UPDATE journey_templates
SET is_default = false, updated_at = now()
WHERE hospital_id = @hospital AND journey_type = @journey_type AND is_default AND id <> @id;

-- name: JourneyTemplateLockOf :exec
-- Locks the journey template of a stage template.
SELECT
FROM journey_templates t
WHERE t.id = (SELECT s.journey_template_id FROM stage_templates s WHERE s.id = @stage)
  AND (sqlc.narg(scope)::uuid IS NULL OR t.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;
