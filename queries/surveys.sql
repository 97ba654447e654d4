-- name: SurveySchedule :many
-- Schedules the surveys of completed stages, if the stage sends one and its survey template is
-- active. It is idempotent: a stage has at most one survey.
INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at)
SELECT uuid7(), s.hospital_id, t.id, s.journey_instance_id, s.id, s.completed_at + s.survey_delay_hours * interval '1 hour'
FROM stage_instances s
JOIN survey_templates t ON t.id = s.survey_template_id
WHERE s.id = ANY (@stages::uuid[]) AND s.status = 'completed' AND s.auto_send_survey AND t.is_active
ON CONFLICT ON CONSTRAINT surveys_stage_instance_id_key DO NOTHING
RETURNING id, stage_instance_id;
