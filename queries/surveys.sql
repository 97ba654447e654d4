-- name: SurveySchedule :many
-- Schedules the surveys of completed stages, given with the time at which their completion was received, if the stage
-- sends one and its survey template is active, and the journey sends none of its own. It is idempotent: a stage has at
-- most one survey.
INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at)
SELECT uuid7(), s.hospital_id, t.id, s.journey_instance_id, s.id,
    greatest(s.completed_at, c.received_at) + s.survey_delay_hours * interval '1 hour'
FROM (SELECT unnest(@stages::uuid[]) AS id, unnest(@received_at::timestamptz[]) AS received_at) c
JOIN stage_instances s ON s.id = c.id
JOIN journey_instances j ON j.id = s.journey_instance_id AND j.post_discharge_survey_template_id IS NULL
JOIN survey_templates t ON t.id = s.survey_template_id
WHERE s.status = 'completed' AND s.auto_send_survey AND t.is_active
ON CONFLICT ON CONSTRAINT surveys_stage_instance_id_key DO NOTHING
RETURNING id, stage_instance_id::uuid AS stage_instance;

-- name: SurveyScheduleVisit :exec
-- Schedules the surveys about whole visits of completed journeys, given with the time at which their completion was
-- received. It is idempotent: a journey has at most one.
INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, due_at)
SELECT uuid7(), j.hospital_id, t.id, j.id, greatest(j.completed_at, c.received_at) + j.post_discharge_survey_delay_hours * interval '1 hour'
FROM (SELECT unnest(@journeys::uuid[]) AS id, unnest(@received_at::timestamptz[]) AS received_at) c
JOIN journey_instances j ON j.id = c.id
JOIN survey_templates t ON t.id = j.post_discharge_survey_template_id
WHERE j.status = 'completed' AND t.is_active
ON CONFLICT (journey_instance_id) WHERE stage_instance_id IS NULL DO NOTHING;

-- name: SurveyClaimDue :many
-- Claims surveys that have to be attended to, with their journeys, whose stages then stay as they are.
SELECT v.id
FROM surveys v
JOIN journey_instances j ON j.id = v.journey_instance_id
WHERE v.status IN ('pending', 'sent', 'viewed', 'in_progress') AND coalesce(v.next_at, v.due_at) <= cast(@now AS timestamptz)
ORDER BY coalesce(v.next_at, v.due_at)
LIMIT @most
FOR NO KEY UPDATE OF v SKIP LOCKED
FOR SHARE OF j SKIP LOCKED;

-- name: SurveyLockPatients :many
-- Locks the patients of surveys, so that the contact cap of each is asked by one transaction at a time.
SELECT p.id
FROM patients p
WHERE p.id IN (SELECT j.patient_id FROM surveys v JOIN journey_instances j ON j.id = v.journey_instance_id WHERE v.id = ANY (@surveys::uuid[]))
ORDER BY p.id
FOR NO KEY UPDATE;

-- name: SurveySendingFacts :many
-- Returns what a decision on sending depends on, in the order in which the surveys are due.
SELECT
    v.id, v.hospital_id, v.status, v.due_at, v.sent_at, v.asked_at, v.started_at, v.expires_at, v.resend, v.reminders,
    v.language AS own_language, j.patient_id, j.status AS journey_status,
    coalesce(s.completed_at, j.completed_at, v.created_at)::timestamptz AS completed_at,
    coalesce(s.survey_delay_hours, j.post_discharge_survey_delay_hours)::integer AS delay_hours,
    t.is_active AS template_active, t.reminder_hours, t.expires_after_days, t.ignore_contact_cap,
    (SELECT coalesce(sum(jsonb_array_length(q.questions)), 0) FROM survey_parts q WHERE q.survey_id = v.id)::integer AS questions,
    p.status AS patient_status, p.survey_opt_out, p.phone, p.email, p.language AS patient_language,
    h.timezone, h.language AS hospital_language, h.channels, h.quiet_hours_start, h.quiet_hours_end,
    h.contact_cap_surveys,
    (SELECT count(*)
     FROM journey_instances o JOIN surveys a ON a.journey_instance_id = o.id
     WHERE o.patient_id = j.patient_id AND a.hospital_id = v.hospital_id AND a.id <> v.id AND a.status <> 'failed'
       AND a.asked_at > cast(@now AS timestamptz) - h.contact_cap_days * interval '1 day')::integer AS asked_lately
FROM surveys v
JOIN journey_instances j ON j.id = v.journey_instance_id
JOIN survey_templates t ON t.id = v.survey_template_id
JOIN patients p ON p.id = j.patient_id
JOIN hospitals h ON h.id = v.hospital_id
LEFT JOIN stage_instances s ON s.id = v.stage_instance_id
WHERE v.id = ANY (@surveys::uuid[])
ORDER BY coalesce(v.next_at, v.due_at), v.id;

-- name: SurveySuppressed :many
-- Returns which of these addresses, in parallel arrays with their hospitals, are not written to any more.
SELECT u.i::integer AS i
FROM (SELECT unnest(@positions::integer[]) AS i, unnest(@hospitals::uuid[]) AS hospital_id, unnest(@addresses::text[]) AS address) u
JOIN survey_suppressions x ON x.hospital_id = u.hospital_id AND x.address = u.address;

-- name: SurveyDecide :exec
-- Writes what was decided on surveys, given as parallel arrays. A blank decision is none. The epoch as next_at stands for
-- infinity, which Go's times cannot express.
UPDATE surveys v
SET status = d.status, reason = d.reason, next_at = coalesce(nullif(d.next_at, 'epoch'), 'infinity'), resend = d.resend, reminders = d.reminders,
    decisions = CASE WHEN d.decision = '' THEN v.decisions ELSE v.decisions || d.decision::jsonb END,
    asked_at = CASE WHEN d.asked THEN coalesce(v.asked_at, cast(@now AS timestamptz)) ELSE v.asked_at END,
    expires_at = CASE WHEN d.asked AND v.expires_at IS NULL THEN d.expires_at ELSE v.expires_at END,
    language = CASE WHEN v.language = '' THEN d.language ELSE v.language END,
    link_key = CASE WHEN d.asked THEN coalesce(v.link_key, @link_key) ELSE v.link_key END,
    token_hash = CASE WHEN d.asked THEN coalesce(v.token_hash, d.token_hash) ELSE v.token_hash END,
    updated_at = now()
FROM (
    SELECT unnest(@surveys::uuid[]) AS id, unnest(@statuses::text[]) AS status, unnest(@reasons::text[]) AS reason,
        unnest(@next_at::timestamptz[]) AS next_at, unnest(@reminders::integer[]) AS reminders, unnest(@resend::boolean[]) AS resend,
        unnest(@decisions::text[]) AS decision, unnest(@asked::boolean[]) AS asked, unnest(@expires_at::timestamptz[]) AS expires_at,
        unnest(@languages::text[]) AS language, unnest(@token_hashes::bytea[]) AS token_hash
) d
WHERE v.id = d.id;

-- name: SurveyBindSections :exec
-- Binds surveys that are sent for the first time to what they ask now.
INSERT INTO survey_sections (
    survey_id, position, survey_template_id, version, hospital_id, journey_type, department_id, physician_id,
    stage_template_id, stage_instance_id
)
SELECT
    p.survey_id, p.position, p.survey_template_id, p.version, v.hospital_id, t.journey_type, coalesce(s.department_id, j.department_id),
    s.physician_id, s.stage_template_id, p.stage_instance_id
FROM survey_parts p
JOIN surveys v ON v.id = p.survey_id
JOIN journey_instances j ON j.id = v.journey_instance_id
JOIN journey_templates t ON t.id = j.journey_template_id
LEFT JOIN stage_instances s ON s.id = p.stage_instance_id
WHERE p.survey_id = ANY (@surveys::uuid[])
ON CONFLICT DO NOTHING;

-- name: SurveyMessageInsert :exec
INSERT INTO survey_messages (id, survey_id, kind, channel, next_at)
SELECT unnest(@ids::uuid[]), unnest(@surveys::uuid[]), unnest(@kinds::text[]), unnest(@channels::text[]), now();

-- name: SurveyMessageClaim :many
-- Claims messages that are to be sent, or whose sender did not say in time what became of them.
UPDATE survey_messages m
SET status = 'sending', attempt = m.attempt + 1, next_at = now() + cast(@patience_seconds AS integer) * interval '1 second'
FROM (
    SELECT o.id FROM survey_messages o
    WHERE o.status IN ('queued', 'sending') AND o.next_at <= now() AND o.channel = @channel
    ORDER BY o.next_at
    LIMIT @most
    FOR UPDATE SKIP LOCKED
) c
WHERE m.id = c.id
RETURNING m.id;

-- name: SurveyMessageFacts :many
-- Returns what is needed to write messages and to send them.
SELECT
    m.id, m.survey_id AS survey, m.kind, m.channel, m.attempt, v.status AS survey_status, v.language, v.link_key, v.hospital_id, p.phone, p.email,
    p.survey_opt_out, h.name AS hospital_name, h.name_ar AS hospital_name_ar, h.channels, h.timezone, h.quiet_hours_start,
    h.quiet_hours_end, t.sms_text, t.sms_text_ar, t.email_subject, t.email_subject_ar
FROM survey_messages m
JOIN surveys v ON v.id = m.survey_id
JOIN survey_templates t ON t.id = v.survey_template_id
JOIN journey_instances j ON j.id = v.journey_instance_id
JOIN patients p ON p.id = j.patient_id
JOIN hospitals h ON h.id = v.hospital_id
WHERE m.id = ANY (@messages::uuid[]);

-- name: SurveyLock :one
-- Locks a survey, before its messages.
SELECT v.id FROM surveys v WHERE v.id = @id FOR NO KEY UPDATE;

-- name: SurveyMessageFinish :execrows
-- Writes what became of a message, unless another attempt has begun since. An attempt that was not made does not count.
UPDATE survey_messages m
SET status = @status::text, attempt = m.attempt - CASE WHEN @made::boolean THEN 0 ELSE 1 END, next_at = @next_at, address = @address, provider_id = @provider_id, error = @error,
    sent_at = CASE WHEN @status = 'sent' THEN now() END
WHERE m.id = @id AND m.attempt = @attempt AND m.status = 'sending';

-- name: SurveyMarkSent :exec
-- Notes that the first message of a survey went out: what it waits for next is a reminder or its expiry. Partners hear of it.
WITH sent AS (
    UPDATE surveys v
    SET status = CASE WHEN v.status = 'pending' THEN 'sent' ELSE v.status END,
        sent_at = now(), expires_at = now() + t.expires_after_days * interval '1 day',
        next_at = now() + least(t.reminder_hours[1] * interval '1 hour', t.expires_after_days * interval '1 day'),
        updated_at = now(), version = v.version + 1
    FROM survey_templates t
    WHERE v.id = @id AND t.id = v.survey_template_id AND v.sent_at IS NULL
    RETURNING v.id, v.hospital_id, v.version
), told AS (
    INSERT INTO webhook_events (hospital_id, type, object_id, version)
    SELECT sent.hospital_id, 'survey.sent', sent.id, sent.version FROM sent WHERE EXISTS (SELECT FROM webhook_endpoints)
)
UPDATE survey_sections c SET sent_at = now(), sent_on = (now() AT TIME ZONE h.timezone)::date
FROM sent, hospitals h
WHERE c.survey_id = sent.id AND h.id = c.hospital_id;

-- name: SurveyEndUnsent :exec
-- Ends a survey whose first message will not go out any more.
UPDATE surveys
SET status = @status, reason = @reason, next_at = NULL, updated_at = now()
WHERE id = @id AND status = 'pending' AND sent_at IS NULL;
