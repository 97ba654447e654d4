-- name: SurveyScores :many
-- Adds up the surveys that were first sent within days of their hospitals, by one of what they can be grouped by. A survey
-- of several sections counts once where it is grouped by what all of them have in common, and else each of its sections.
SELECT
    coalesce(CASE @group_by::text
        WHEN 'hospital' THEN c.hospital_id WHEN 'department' THEN c.department_id WHEN 'physician' THEN c.physician_id
        WHEN 'stage_template' THEN c.stage_template_id WHEN 'survey_template' THEN c.survey_template_id
    END, '00000000-0000-0000-0000-000000000000')::uuid AS group_id,
    (CASE @group_by::text WHEN 'journey_type' THEN c.journey_type ELSE '' END)::text AS group_text,
    coalesce(CASE @group_by::text
        WHEN 'day' THEN date_trunc('day', c.sent_at AT TIME ZONE h.timezone)::date
        WHEN 'month' THEN date_trunc('month', c.sent_at AT TIME ZONE h.timezone)::date
    END, '0001-01-01')::date AS group_day,
    count(*) FILTER (WHERE c.position = 1 OR @by_section::boolean)::integer AS sent,
    count(*) FILTER (WHERE c.completed AND (c.position = 1 OR @by_section::boolean))::integer AS completed,
    sum(c.promoters)::integer AS promoters, sum(c.passives)::integer AS passives, sum(c.detractors)::integer AS detractors,
    sum(c.rated)::integer AS rated, sum(c.satisfied)::integer AS satisfied, sum(c.scored)::integer AS scored,
    sum(c.top)::integer AS top, sum(c.score)::bigint AS score
FROM hospitals h
JOIN survey_sections c ON c.hospital_id = h.id
    AND c.sent_at >= cast(cast(@from_day AS date) AS timestamp) AT TIME ZONE h.timezone
    AND c.sent_at < cast(cast(@to_day AS date) + 1 AS timestamp) AT TIME ZONE h.timezone
WHERE (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR h.id = sqlc.narg(hospital))
  AND (sqlc.narg(department)::uuid IS NULL OR c.department_id = sqlc.narg(department))
  AND (sqlc.narg(physician)::uuid IS NULL OR c.physician_id = sqlc.narg(physician))
  AND (sqlc.narg(survey_template)::uuid IS NULL OR c.survey_template_id = sqlc.narg(survey_template))
  AND (sqlc.narg(stage_template)::uuid IS NULL OR c.stage_template_id = sqlc.narg(stage_template))
GROUP BY 1, 2, 3
ORDER BY 3, 2, 1;

-- name: SurveyScoreNames :many
-- Returns the names of what scores are grouped by.
SELECT x.id, x.name FROM hospitals x WHERE @noun::text = 'hospital' AND x.id = ANY (@ids::uuid[])
UNION ALL
SELECT x.id, x.name FROM departments x WHERE @noun::text = 'department' AND x.id = ANY (@ids::uuid[])
UNION ALL
SELECT x.id, x.full_name FROM physicians x WHERE @noun::text = 'physician' AND x.id = ANY (@ids::uuid[])
UNION ALL
SELECT x.id, x.name FROM stage_templates x WHERE @noun::text = 'stage_template' AND x.id = ANY (@ids::uuid[])
UNION ALL
SELECT x.id, x.name FROM survey_templates x WHERE @noun::text = 'survey_template' AND x.id = ANY (@ids::uuid[]);
