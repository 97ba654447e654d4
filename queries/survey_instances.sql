-- name: SurveyInstanceList :many
SELECT
    v.id, v.completed_at, v.created_at, v.decisions, d.id AS department, d.name AS department_name, v.due_at, v.expires_at,
    v.hospital_id AS hospital, coalesce(h.name, '')::text AS hospital_name, v.is_negative, v.journey_instance_id AS journey_instance, v.language,
    coalesce(j.patient_id, '00000000-0000-0000-0000-000000000000')::uuid AS patient, coalesce(p.full_name, '')::text AS patient_name, f.id AS physician, f.full_name AS physician_name, v.reason, v.sent_at,
    v.stage_instance_id AS stage_instance, s.name AS stage_name, s.stage_template_id AS stage_template, v.started_at, v.status,
    v.survey_template_id AS survey_template, coalesce(t.name, '')::text AS survey_template_name, v.total_score, v.updated_at,
    v.viewed_at
FROM surveys v
LEFT JOIN survey_templates t ON t.id = v.survey_template_id
LEFT JOIN hospitals h ON h.id = v.hospital_id
LEFT JOIN journey_instances j ON j.id = v.journey_instance_id
LEFT JOIN patients p ON p.id = j.patient_id
LEFT JOIN stage_instances s ON s.id = v.stage_instance_id
LEFT JOIN departments d ON d.id = coalesce(s.department_id, j.department_id)
LEFT JOIN physicians f ON f.id = s.physician_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR v.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR v.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(department)::uuid IS NULL OR v.id = ANY (ARRAY(
        SELECT x.id FROM stage_instances o JOIN surveys x ON x.stage_instance_id = o.id WHERE o.department_id = sqlc.narg(department)
        UNION ALL
        SELECT x.id
        FROM journey_instances o
        JOIN surveys x ON x.journey_instance_id = o.id
        LEFT JOIN stage_instances y ON y.id = x.stage_instance_id
        WHERE o.department_id = sqlc.narg(department) AND y.department_id IS NULL)))
  AND (sqlc.narg(physician)::uuid IS NULL OR v.stage_instance_id = ANY (ARRAY(
        SELECT o.id FROM stage_instances o WHERE o.physician_id = sqlc.narg(physician))))
  AND (sqlc.narg(patient)::uuid IS NULL OR j.patient_id = sqlc.narg(patient))
  AND (sqlc.narg(journey_instance)::uuid IS NULL OR v.journey_instance_id = sqlc.narg(journey_instance))
  AND (sqlc.narg(survey_template)::uuid IS NULL OR v.survey_template_id = sqlc.narg(survey_template))
  AND (sqlc.narg(stage_template)::uuid IS NULL OR s.stage_template_id = sqlc.narg(stage_template))
  AND (sqlc.narg(status)::text IS NULL OR v.status = sqlc.narg(status))
  AND (sqlc.narg(reason)::text IS NULL OR v.reason = sqlc.narg(reason))
  AND (sqlc.narg(is_negative)::boolean IS NULL OR v.is_negative = sqlc.narg(is_negative))
  AND (sqlc.narg(sent_after)::timestamptz IS NULL OR v.sent_at >= sqlc.narg(sent_after))
  AND (sqlc.narg(sent_before)::timestamptz IS NULL OR v.sent_at < sqlc.narg(sent_before))
ORDER BY id DESC;

-- name: SurveyInstanceGet :one
SELECT
    v.id, v.completed_at, v.created_at, v.decisions, d.id AS department, d.name AS department_name, v.due_at, v.expires_at,
    v.hospital_id AS hospital, h.name AS hospital_name, v.is_negative, v.journey_instance_id AS journey_instance, v.language,
    p.id AS patient, p.full_name AS patient_name, f.id AS physician, f.full_name AS physician_name, v.reason, v.sent_at,
    v.stage_instance_id AS stage_instance, s.name AS stage_name, s.stage_template_id AS stage_template, v.started_at, v.status,
    v.survey_template_id AS survey_template, t.name AS survey_template_name, v.total_score, v.updated_at,
    v.viewed_at
FROM surveys v
JOIN survey_templates t ON t.id = v.survey_template_id
JOIN hospitals h ON h.id = v.hospital_id
JOIN journey_instances j ON j.id = v.journey_instance_id
JOIN patients p ON p.id = j.patient_id
LEFT JOIN stage_instances s ON s.id = v.stage_instance_id
LEFT JOIN departments d ON d.id = coalesce(s.department_id, j.department_id)
LEFT JOIN physicians f ON f.id = s.physician_id
WHERE v.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR v.hospital_id = sqlc.narg(scope));

-- name: SurveyInstanceMessages :many
SELECT m.id, m.attempt, m.channel, m.created_at, m.error, m.kind, m.provider_id, m.sent_at, m.status
FROM survey_messages m
WHERE m.survey_id = @survey
ORDER BY m.created_at, m.id;

-- name: SurveyInstanceLock :one
-- Locks a survey for a change by a user.
SELECT v.status, v.asked_at, v.sent_at, v.hospital_id
FROM surveys v
WHERE v.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR v.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: SurveySendNow :exec
-- Makes a survey that was not sent yet due, whatever its delay.
UPDATE surveys SET next_at = now(), updated_at = now() WHERE id = @id;

-- name: SurveyResend :exec
UPDATE surveys SET resend = true, next_at = now(), updated_at = now() WHERE id = @id;

-- name: SurveyCancel :exec
UPDATE surveys SET status = 'cancelled', next_at = NULL, updated_at = now() WHERE id = @id;

-- name: SurveyMessageCancel :exec
-- Cancels what of a survey is not on its way yet.
UPDATE survey_messages SET status = 'cancelled' WHERE survey_id = @survey AND status = 'queued';
