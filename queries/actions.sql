-- name: ActionList :many
SELECT
    a.id, a.assigned_to, u.full_name AS assigned_to_name, a.created_at, a.department_id AS department,
    d.name AS department_name, a.description, a.due_at,
    (CASE a.escalation_level WHEN 1 THEN 'department_manager' WHEN 2 THEN 'hospital_admins' WHEN 3 THEN 'px_admins' ELSE '' END)::text AS escalated_to,
    a.escalation_level, a.hospital_id AS hospital, coalesce(h.name, '')::text AS hospital_name,
    (a.status IN ('open', 'in_progress', 'on_hold', 'pending_approval') AND coalesce(a.due_at <= now(), false))::boolean AS is_overdue,
    a.journey_instance_id AS journey_instance, a.patient_id AS patient, p.full_name AS patient_name, a.physician_id AS physician,
    f.full_name AS physician_name, a.priority, a.resolution, a.source_type, a.stage_instance_id AS stage_instance, a.status,
    a.survey_id AS survey_instance, a.title, a.updated_at, a.version
FROM actions a
LEFT JOIN hospitals h ON h.id = a.hospital_id
LEFT JOIN departments d ON d.id = a.department_id
LEFT JOIN users u ON u.id = a.assigned_to
LEFT JOIN patients p ON p.id = a.patient_id
LEFT JOIN physicians f ON f.id = a.physician_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR a.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR a.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(status)::text IS NULL OR a.status = sqlc.narg(status))
  AND (sqlc.narg(priority)::text IS NULL OR a.priority = sqlc.narg(priority))
  AND (sqlc.narg(assigned_to)::text IS NULL
       OR a.assigned_to = CASE WHEN sqlc.narg(assigned_to) = 'me' THEN sqlc.narg(self)::uuid ELSE cast(sqlc.narg(assigned_to) AS uuid) END)
  AND (sqlc.narg(department)::uuid IS NULL OR a.department_id = sqlc.narg(department))
  AND (sqlc.narg(is_overdue)::boolean IS NULL OR sqlc.narg(is_overdue)
       = (a.status IN ('open', 'in_progress', 'on_hold', 'pending_approval') AND coalesce(a.due_at <= now(), false)))
  AND (sqlc.narg(source_type)::text IS NULL OR a.source_type = sqlc.narg(source_type))
  AND (sqlc.narg(due_before)::timestamptz IS NULL OR a.due_at < sqlc.narg(due_before))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(a.search, sqlc.narg(search)))
ORDER BY id DESC;

-- name: ActionGet :one
SELECT
    a.id, a.assigned_to, u.full_name AS assigned_to_name, a.created_at, a.department_id AS department,
    d.name AS department_name, a.description, a.due_at,
    (CASE a.escalation_level WHEN 1 THEN 'department_manager' WHEN 2 THEN 'hospital_admins' WHEN 3 THEN 'px_admins' ELSE '' END)::text AS escalated_to,
    a.escalation_level, a.hospital_id AS hospital, h.name AS hospital_name,
    (a.status IN ('open', 'in_progress', 'on_hold', 'pending_approval') AND coalesce(a.due_at <= now(), false))::boolean AS is_overdue,
    a.journey_instance_id AS journey_instance, a.patient_id AS patient, p.full_name AS patient_name, a.physician_id AS physician,
    f.full_name AS physician_name, a.priority, a.resolution, a.source_type, a.stage_instance_id AS stage_instance, a.status,
    a.survey_id AS survey_instance, a.title, a.updated_at, a.version
FROM actions a
JOIN hospitals h ON h.id = a.hospital_id
LEFT JOIN departments d ON d.id = a.department_id
LEFT JOIN users u ON u.id = a.assigned_to
LEFT JOIN patients p ON p.id = a.patient_id
LEFT JOIN physicians f ON f.id = a.physician_id
WHERE a.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR a.hospital_id = sqlc.narg(scope));

-- name: ActionLock :one
-- Locks the row and returns what a change starts from: the writable columns, and where its clock is.
SELECT
    a.hospital_id, a.department_id, a.assigned_to, a.journey_instance_id, a.stage_instance_id, a.survey_id AS survey_instance,
    a.physician_id, a.patient_id, a.source_type, a.title, a.description, a.priority, a.status, a.resolution, a.version,
    a.escalation_level, a.sla, a.running_since, a.used_calendar, a.used_business, a.due_at, a.reminded_at, a.breached_at,
    a.next_at, a.id
FROM actions a
WHERE a.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR a.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: ActionInsert :execrows
-- Opens an action. Of a survey there is one at most: then it is none.
INSERT INTO actions (
    hospital_id, department_id, assigned_to, journey_instance_id, stage_instance_id, survey_id, physician_id, patient_id,
    source_type, title, description, priority, status, resolution, version, escalation_level, sla, running_since, used_calendar,
    used_business, due_at, reminded_at, breached_at, next_at, id
) VALUES (
    @hospital, sqlc.narg(department), sqlc.narg(assigned_to), sqlc.narg(journey_instance), sqlc.narg(stage_instance),
    sqlc.narg(survey_instance), sqlc.narg(physician), sqlc.narg(patient), @source_type, @title, @description, @priority, @status,
    @resolution, @version, @escalation_level, @sla, sqlc.narg(running_since), @used_calendar, @used_business, sqlc.narg(due_at),
    sqlc.narg(reminded_at), sqlc.narg(breached_at), sqlc.narg(next_at), @id
)
ON CONFLICT (survey_id) WHERE source_type = 'survey' DO NOTHING;

-- name: ActionUpdate :exec
UPDATE actions
SET hospital_id = @hospital, department_id = sqlc.narg(department), assigned_to = sqlc.narg(assigned_to),
    journey_instance_id = sqlc.narg(journey_instance), stage_instance_id = sqlc.narg(stage_instance),
    survey_id = sqlc.narg(survey_instance), physician_id = sqlc.narg(physician), patient_id = sqlc.narg(patient),
    source_type = @source_type, title = @title, description = @description, priority = @priority, status = @status,
    resolution = @resolution, version = @version, escalation_level = @escalation_level, sla = @sla,
    running_since = sqlc.narg(running_since), used_calendar = @used_calendar, used_business = @used_business,
    due_at = sqlc.narg(due_at), reminded_at = sqlc.narg(reminded_at), breached_at = sqlc.narg(breached_at),
    next_at = sqlc.narg(next_at), updated_at = now()
WHERE id = @id;

-- name: ActionDelete :exec
DELETE FROM actions WHERE id = @id;

-- name: ActionMisplaced :many
-- Returns which of these belong to another hospital than the action, or are not there any more.
SELECT x.field::text AS field
FROM (VALUES
    ('stage_instance', sqlc.narg(stage_instance)::uuid, (SELECT s.hospital_id FROM stage_instances s WHERE s.id = sqlc.narg(stage_instance))),
    ('survey_instance', sqlc.narg(survey_instance)::uuid, (SELECT v.hospital_id FROM surveys v WHERE v.id = sqlc.narg(survey_instance))),
    ('assigned_to', sqlc.narg(assigned_to)::uuid,
     (SELECT coalesce(u.hospital_id, cast(@hospital AS uuid)) FROM users u WHERE u.id = sqlc.narg(assigned_to) AND u.is_active)),
    ('patient', sqlc.narg(patient)::uuid, (SELECT cast(@hospital AS uuid) FROM patients p
     WHERE p.id = sqlc.narg(patient) AND (p.primary_hospital_id = cast(@hospital AS uuid)
       OR EXISTS (SELECT FROM journey_instances j WHERE j.patient_id = p.id AND j.hospital_id = cast(@hospital AS uuid)))))
) AS x (field, id, hospital)
WHERE x.id IS NOT NULL AND x.hospital IS DISTINCT FROM @hospital;

-- name: ActionSLA :one
-- Returns what the clock of a hospital's action goes by.
SELECT h.name, h.timezone, h.language, h.business_hours, h.holidays, h.action_sla FROM hospitals h WHERE h.id = @hospital;

-- name: ActionOfSurvey :one
-- Returns what an action that a survey opens is about: the department of the stage, else of the journey, and who answers
-- for it.
SELECT
    v.hospital_id, v.journey_instance_id, v.stage_instance_id, j.patient_id, s.physician_id, d.id AS department_id, u.id AS manager_id,
    coalesce(s.name, '')::text AS stage_name, coalesce(s.name_ar, '')::text AS stage_name_ar, t.name AS survey_name, t.name_ar AS survey_name_ar,
    h.language
FROM surveys v
JOIN journey_instances j ON j.id = v.journey_instance_id
JOIN survey_templates t ON t.id = v.survey_template_id
JOIN hospitals h ON h.id = v.hospital_id
LEFT JOIN stage_instances s ON s.id = v.stage_instance_id
LEFT JOIN departments d ON d.id = coalesce(s.department_id, j.department_id)
LEFT JOIN users u ON u.id = d.manager_id AND u.is_active
WHERE v.id = @survey;

-- name: ActionLogInsert :exec
INSERT INTO action_log (id, action_id, kind, actor_id, actor_name, old_value, new_value, note)
VALUES (@id, @action, @kind, sqlc.narg(actor_id), @actor_name, @old_value, @new_value, @note);

-- name: ActionLogNote :one
INSERT INTO action_log (id, action_id, kind, actor_id, actor_name, note)
VALUES (@id, @action, 'note', sqlc.narg(actor), @actor_name, @note)
RETURNING id, actor_id AS actor, actor_name, created_at, kind, new_value, note, old_value;

-- name: ActionLogList :many
SELECT l.id, l.actor_id AS actor, l.actor_name, l.created_at, l.kind, l.new_value, l.note, l.old_value
FROM action_log l
JOIN actions a ON a.id = l.action_id
WHERE l.action_id = @action AND (sqlc.narg(scope)::uuid IS NULL OR a.hospital_id = sqlc.narg(scope))
ORDER BY id DESC;

-- name: ActionClaimDue :many
-- Claims actions whose clock has come to something.
SELECT
    a.hospital_id, a.department_id, a.assigned_to, a.journey_instance_id, a.stage_instance_id, a.survey_id AS survey_instance,
    a.physician_id, a.patient_id, a.source_type, a.title, a.description, a.priority, a.status, a.resolution, a.version,
    a.escalation_level, a.sla, a.running_since, a.used_calendar, a.used_business, a.due_at, a.reminded_at, a.breached_at,
    a.next_at, a.id
FROM actions a
WHERE a.next_at <= cast(@now AS timestamptz)
ORDER BY a.next_at
LIMIT @most
FOR NO KEY UPDATE SKIP LOCKED;

-- name: ActionManager :one
-- Returns who answers for a department; nobody, where it has no active manager.
SELECT u.id FROM departments d JOIN users u ON u.id = d.manager_id AND u.is_active WHERE d.id = @department;

-- name: ActionPostpone :exec
-- Puts off an action whose clock cannot be read, so that it holds up no other.
UPDATE actions SET next_at = now() + interval '1 hour' WHERE id = @id;
