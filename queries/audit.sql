-- name: AuditInsert :exec
INSERT INTO audit_log (
    actor_kind, actor_id, actor_name, hospital_id, operation, object_type, object_id, changed_fields, client_ip, request_id
) VALUES (
    @actor_kind, sqlc.narg(actor_id), @actor_name, sqlc.narg(hospital), @operation, @object_type, @object_id,
    @changed_fields, @client_ip, @request_id
);

-- name: AuditList :many
SELECT
    a.id, a.actor_id AS actor, a.actor_kind, a.actor_name, a.at, a.changed_fields, a.client_ip, a.hospital_id AS hospital,
    a.object_id, a.object_type, a.operation, a.request_id
FROM audit_log a
WHERE (sqlc.narg(scope)::uuid IS NULL OR a.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(actor)::uuid IS NULL OR a.actor_id = sqlc.narg(actor))
  AND (sqlc.narg(operation)::text IS NULL OR a.operation = sqlc.narg(operation))
  AND (sqlc.narg(object_type)::text IS NULL OR a.object_type = sqlc.narg(object_type))
  AND (sqlc.narg(object_id)::uuid IS NULL OR a.object_id = sqlc.narg(object_id))
  AND (sqlc.narg(since)::timestamptz IS NULL OR a.at >= sqlc.narg(since))
  AND (sqlc.narg(until)::timestamptz IS NULL OR a.at < sqlc.narg(until))
ORDER BY at DESC, id DESC;

-- name: AuditExpire :execrows
-- Deletes a batch of the oldest entries that were written so many seconds ago.
DELETE FROM audit_log
WHERE id IN (
    SELECT a.id
    FROM audit_log a
    WHERE a.at < now() - make_interval(secs => @seconds)
    ORDER BY a.at
    LIMIT sqlc.arg(most)::integer
    FOR UPDATE SKIP LOCKED
);
