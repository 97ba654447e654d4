-- name: SurveyTemplateList :many
SELECT
    s.id, s.created_at, s.hospital_id AS hospital, h.name AS hospital_name, s.is_active, s.name, s.name_ar,
    s.updated_at
FROM survey_templates s
JOIN hospitals h ON h.id = s.hospital_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR s.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR s.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(s.search, sqlc.narg(search)))
ORDER BY /* ordering */ s.name, s.id
LIMIT @page_size OFFSET @page_offset;

-- name: SurveyTemplateCount :one
SELECT count(*)
FROM survey_templates s
WHERE (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR s.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR s.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(s.search, sqlc.narg(search)));

-- name: SurveyTemplateGet :one
SELECT
    s.id, s.created_at, s.hospital_id AS hospital, h.name AS hospital_name, s.is_active, s.name, s.name_ar,
    s.updated_at
FROM survey_templates s
JOIN hospitals h ON h.id = s.hospital_id
WHERE s.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope));

-- name: SurveyTemplateLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    name, name_ar, hospital_id, is_active, id
FROM survey_templates s
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: SurveyTemplateInsert :exec
INSERT INTO survey_templates (
    name, name_ar, hospital_id, is_active, id
) VALUES (
    @name, @name_ar, @hospital, @is_active, @id
);

-- name: SurveyTemplateUpdate :exec
UPDATE survey_templates
SET name = @name, name_ar = @name_ar, hospital_id = @hospital, is_active = @is_active,
    updated_at = now()
WHERE id = @id;

-- name: SurveyTemplateDelete :exec
DELETE FROM survey_templates WHERE id = @id;
