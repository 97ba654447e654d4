-- name: SurveyScores :many
-- Adds up the surveys that were first sent within days of their hospitals, by one of what they can be grouped by. A survey
-- of several sections counts once where it is grouped by what all of them have in common, and else each of its sections.
-- Every row is looked at once, in the inner query, which calls no function for it; months are put together from days.
SELECT
    coalesce(g.id, '00000000-0000-0000-0000-000000000000')::uuid AS group_id, coalesce(g.word, '')::text AS group_text,
    coalesce(CASE WHEN @group_by::text = 'month' THEN date_trunc('month', g.day)::date ELSE g.day END, '0001-01-01')::date AS group_day,
    sum(g.sent)::integer AS sent, sum(g.completed)::integer AS completed, sum(g.promoters)::integer AS promoters,
    sum(g.passives)::integer AS passives, sum(g.detractors)::integer AS detractors, sum(g.rated)::integer AS rated,
    sum(g.satisfied)::integer AS satisfied, sum(g.scored)::integer AS scored, sum(g.top)::integer AS top, sum(g.score)::bigint AS score
FROM (
    SELECT
        CASE @group_by::text
            WHEN 'hospital' THEN c.hospital_id WHEN 'department' THEN c.department_id WHEN 'physician' THEN c.physician_id
            WHEN 'stage_template' THEN c.stage_template_id WHEN 'survey_template' THEN c.survey_template_id
        END AS id,
        CASE @group_by::text WHEN 'journey_type' THEN c.journey_type END AS word,
        CASE WHEN @group_by::text IN ('day', 'month') THEN c.sent_on END AS day,
        count(*) FILTER (WHERE c.position = 1 OR @by_section::boolean) AS sent,
        count(*) FILTER (WHERE c.completed AND (c.position = 1 OR @by_section::boolean)) AS completed,
        sum(c.promoters) AS promoters, sum(c.passives) AS passives, sum(c.detractors) AS detractors, sum(c.rated) AS rated,
        sum(c.satisfied) AS satisfied, sum(c.scored) AS scored, sum(c.top) AS top, sum(c.score) AS score
    FROM survey_sections c
    WHERE c.sent_on BETWEEN @from_day::date AND @to_day::date
      AND (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope))
      AND (sqlc.narg(hospital)::uuid IS NULL OR c.hospital_id = sqlc.narg(hospital))
      AND (sqlc.narg(department)::uuid IS NULL OR c.department_id = sqlc.narg(department))
      AND (sqlc.narg(physician)::uuid IS NULL OR c.physician_id = sqlc.narg(physician))
      AND (sqlc.narg(survey_template)::uuid IS NULL OR c.survey_template_id = sqlc.narg(survey_template))
      AND (sqlc.narg(stage_template)::uuid IS NULL OR c.stage_template_id = sqlc.narg(stage_template))
    GROUP BY 1, 2, 3
) g
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
