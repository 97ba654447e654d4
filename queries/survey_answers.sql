-- name: SurveyByToken :one
-- Finds the survey of a link.
SELECT
    v.id, v.hospital_id, v.status, v.language,
    coalesce(v.expires_at <= now(), false)::boolean AS expired, h.name AS hospital_name, h.name_ar AS hospital_name_ar,
    h.language AS hospital_language, t.scoring_method, t.negative_threshold
FROM surveys v
JOIN hospitals h ON h.id = v.hospital_id
JOIN survey_templates t ON t.id = v.survey_template_id
WHERE v.token_hash = @token_hash::bytea;

-- name: SurveyLockByToken :one
-- Locks the survey of a link, before what is answered in it.
SELECT v.id FROM surveys v WHERE v.token_hash = @token_hash::bytea FOR NO KEY UPDATE;

-- name: SurveySections :many
SELECT c.position, n.questions, t.name, t.name_ar, s.name AS stage_name, s.name_ar AS stage_name_ar
FROM survey_sections c
JOIN survey_versions n ON n.survey_template_id = c.survey_template_id AND n.version = c.version
JOIN survey_templates t ON t.id = c.survey_template_id
LEFT JOIN stage_instances s ON s.id = c.stage_instance_id
WHERE c.survey_id = @survey
ORDER BY c.position;

-- name: SurveyResponses :many
SELECT r.position, r.question_id AS question, r.answer FROM survey_responses r WHERE r.survey_id = @survey;

-- name: SurveyMarkViewed :exec
-- Notes that a survey was looked at, without waiting for the disk: a crash that forgets it costs nothing.
UPDATE surveys SET status = 'viewed', viewed_at = now(), updated_at = now()
WHERE id = @id AND status IN ('pending', 'sent') AND set_config('synchronous_commit', 'off', true) = 'off';

-- name: SurveySaveResponses :exec
-- Stores answers, given as parallel arrays, in the place of those before.
INSERT INTO survey_responses (survey_id, position, question_id, answer)
SELECT @survey, unnest(@positions::integer[]), unnest(@questions::uuid[]), unnest(@answers::text[])::jsonb
ON CONFLICT (survey_id, position, question_id) DO UPDATE SET answer = excluded.answer, answered_at = now();

-- name: SurveyStart :exec
-- Notes that the patient answers, in this language.
UPDATE surveys
SET status = 'in_progress', started_at = coalesce(started_at, now()), viewed_at = coalesce(viewed_at, now()), language = @language,
    updated_at = now()
WHERE id = @id;

-- name: SurveyComplete :exec
-- Ends a survey that was answered. Partners hear of it.
WITH done AS (
    UPDATE surveys
    SET status = 'completed', completed_at = now(), next_at = NULL, total_score = sqlc.narg(total_score),
        is_negative = sqlc.narg(is_negative), updated_at = now(), version = version + 1
    WHERE surveys.id = @id
    RETURNING id, hospital_id, version
)
INSERT INTO webhook_events (hospital_id, type, object_id, version)
SELECT done.hospital_id, 'survey.completed', done.id, done.version FROM done WHERE EXISTS (SELECT FROM webhook_endpoints);

-- name: SurveyScoreSections :exec
-- Writes what the answers of a completed survey come to, by section, given as parallel arrays.
UPDATE survey_sections c
SET completed = true, promoters = x.promoters, passives = x.passives, detractors = x.detractors, rated = x.rated,
    satisfied = x.satisfied, scored = x.scored, top = x.top, score = x.score
FROM (
    SELECT unnest(@positions::integer[]) AS position, unnest(@promoters::smallint[]) AS promoters, unnest(@passives::smallint[]) AS passives,
        unnest(@detractors::smallint[]) AS detractors, unnest(@rated::smallint[]) AS rated, unnest(@satisfied::smallint[]) AS satisfied,
        unnest(@scored::smallint[]) AS scored, unnest(@top::smallint[]) AS top, unnest(@scores::integer[]) AS score
) x
WHERE c.survey_id = @survey AND c.position = x.position;

-- name: SurveyOptOut :exec
-- Keeps the survey's hospital from writing to its patient: to the addresses that its messages went to, whoever else has
-- them, and to a patient of its own at all.
WITH suppressed AS (
    INSERT INTO survey_suppressions (hospital_id, address)
    SELECT DISTINCT v.hospital_id, m.address
    FROM surveys v JOIN survey_messages m ON m.survey_id = v.id
    WHERE v.id = @id AND m.address <> ''
    ON CONFLICT DO NOTHING
)
UPDATE patients p SET survey_opt_out = true, updated_at = now()
FROM surveys v JOIN journey_instances j ON j.id = v.journey_instance_id
WHERE v.id = @id AND p.id = j.patient_id AND p.primary_hospital_id = v.hospital_id AND NOT p.survey_opt_out;
