-- name: UserMessageInsert :exec
-- Queues an email to users, each of whom gets it once.
INSERT INTO user_messages (id, hospital_id, user_id, kind, object_id, subject, text)
SELECT uuid7(), cast(sqlc.narg(hospital) AS uuid), u.id, cast(@kind AS text), cast(@object AS uuid), cast(@subject AS text), cast(@body AS text)
FROM unnest(@users::uuid[]) AS u (id);

-- name: UserMessageRecipients :many
-- Returns who is written to about something of a hospital: a user by their id, or those with a role, be it in the hospital
-- or everywhere. Only active ones with an address, and a hundred at most.
SELECT u.id, u.language
FROM users u
WHERE u.is_active AND u.email <> ''
  AND (u.id = sqlc.narg(id)::uuid
       OR EXISTS (SELECT FROM user_roles r JOIN roles o ON o.id = r.role_id WHERE r.user_id = u.id AND o.name = sqlc.narg(role)::text)
          AND (sqlc.narg(hospital)::uuid IS NULL OR u.hospital_id = sqlc.narg(hospital)))
ORDER BY u.id
LIMIT 100;

-- name: UserMessageClaim :many
-- Claims emails that are due, or whose sender has not said in time what became of them.
UPDATE user_messages m
SET status = 'sending', attempt = m.attempt + 1, next_at = now() + cast(@patience_seconds AS integer) * interval '1 second'
FROM (
    SELECT c.id FROM user_messages c
    WHERE c.status IN ('queued', 'sending') AND c.next_at <= now()
    ORDER BY c.next_at
    LIMIT @most
    FOR UPDATE SKIP LOCKED
) due, users u
WHERE m.id = due.id AND u.id = m.user_id
RETURNING m.id, m.attempt, m.subject, m.text, u.email, u.is_active, u.language;

-- name: UserMessageFinish :exec
-- Writes what became of an attempt, unless another has begun.
UPDATE user_messages
SET status = @status, next_at = now() + cast(@wait_seconds AS integer) * interval '1 second', error = @error,
    sent_at = CASE WHEN @status = 'sent' THEN now() END
WHERE id = @id AND attempt = @attempt AND status = 'sending';

-- name: UserMessageExpire :execrows
DELETE FROM user_messages
WHERE id IN (SELECT m.id FROM user_messages m WHERE m.created_at < now() - interval '30 days' LIMIT @most);
