DROP INDEX surveys_queue_idx, surveys_token_hash_key, surveys_visit_key, surveys_hospital_id_idx;
CREATE INDEX surveys_due_at_idx ON surveys (due_at) WHERE sent_at IS NULL;
DELETE FROM surveys WHERE stage_instance_id IS NULL;
ALTER TABLE surveys
    ALTER COLUMN stage_instance_id SET NOT NULL,
    DROP COLUMN status, DROP COLUMN reason, DROP COLUMN next_at, DROP COLUMN asked_at, DROP COLUMN viewed_at,
    DROP COLUMN started_at, DROP COLUMN completed_at, DROP COLUMN expires_at, DROP COLUMN resend, DROP COLUMN reminders,
    DROP COLUMN language, DROP COLUMN link_key, DROP COLUMN token_hash, DROP COLUMN total_score,
    DROP COLUMN is_negative, DROP COLUMN decisions, DROP COLUMN updated_at;
