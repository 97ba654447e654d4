-- name: SurveyTemplateList :many
SELECT
    s.id, s.created_at, s.description, s.description_ar, s.email_subject, s.email_subject_ar, s.expires_after_days,
    s.hospital_id AS hospital, h.name AS hospital_name, s.ignore_contact_cap, s.is_active, s.name, s.name_ar,
    s.negative_threshold, coalesce(v.questions, '[]')::jsonb AS questions, s.reminder_hours,
    s.scoring_method, s.sms_text, s.sms_text_ar, s.survey_type, s.updated_at, s.version
FROM survey_templates s
JOIN hospitals h ON h.id = s.hospital_id
LEFT JOIN survey_versions v ON v.survey_template_id = s.id AND v.version = s.version
WHERE (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR s.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR s.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(s.search, sqlc.narg(search)))
ORDER BY name, id;

-- name: SurveyTemplateGet :one
SELECT
    s.id, s.created_at, s.description, s.description_ar, s.email_subject, s.email_subject_ar, s.expires_after_days,
    s.hospital_id AS hospital, h.name AS hospital_name, s.ignore_contact_cap, s.is_active, s.name, s.name_ar,
    s.negative_threshold, coalesce(v.questions, '[]')::jsonb AS questions, s.reminder_hours,
    s.scoring_method, s.sms_text, s.sms_text_ar, s.survey_type, s.updated_at, s.version
FROM survey_templates s
JOIN hospitals h ON h.id = s.hospital_id
LEFT JOIN survey_versions v ON v.survey_template_id = s.id AND v.version = s.version
WHERE s.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope));

-- name: SurveyTemplateLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    s.id, s.version,
    coalesce((SELECT v.questions FROM survey_versions v WHERE v.survey_template_id = s.id AND v.version = s.version), '[]')::jsonb AS questions,
    s.name, s.name_ar, s.description, s.description_ar, s.hospital_id, s.is_active, s.survey_type, s.scoring_method,
    s.negative_threshold, s.sms_text, s.sms_text_ar, s.email_subject, s.email_subject_ar,
    s.reminder_hours, s.expires_after_days, s.ignore_contact_cap
FROM survey_templates s
WHERE s.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR s.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: SurveyTemplateInsert :exec
-- Creates a survey template with the first version of its questions.
WITH template AS (
    INSERT INTO survey_templates (
        name, name_ar, description, description_ar, hospital_id, is_active, survey_type, scoring_method,
        negative_threshold, sms_text, sms_text_ar, email_subject, email_subject_ar, reminder_hours, expires_after_days,
        ignore_contact_cap, version, id
    ) VALUES (
        @name, @name_ar, @description, @description_ar, @hospital, @is_active, @survey_type, @scoring_method,
        @negative_threshold, @sms_text, @sms_text_ar, @email_subject, @email_subject_ar, @reminder_hours, @expires_after_days,
        @ignore_contact_cap, @version, @id
    )
)
INSERT INTO survey_versions (survey_template_id, version, questions) VALUES (@id, @version, @questions);

-- name: SurveyTemplateUpdate :exec
-- Writes a survey template, and its questions if their version is new.
WITH template AS (
    UPDATE survey_templates
    SET name = @name, name_ar = @name_ar, description = @description, description_ar = @description_ar,
        hospital_id = @hospital, is_active = @is_active, survey_type = @survey_type, scoring_method = @scoring_method,
        negative_threshold = @negative_threshold, sms_text = @sms_text, sms_text_ar = @sms_text_ar,
        email_subject = @email_subject, email_subject_ar = @email_subject_ar, reminder_hours = @reminder_hours,
        expires_after_days = @expires_after_days, ignore_contact_cap = @ignore_contact_cap, version = @version,
        updated_at = now()
    WHERE id = @id
)
INSERT INTO survey_versions (survey_template_id, version, questions) VALUES (@id, @version, @questions)
ON CONFLICT (survey_template_id, version) DO NOTHING;

-- name: SurveyTemplateDelete :exec
DELETE FROM survey_templates WHERE id = @id;
