-- A survey is of a stage or, without one, of the whole visit. next_at is when the worker attends to it: null, at due_at;
-- infinity, not before something else happens. A release before this one inserts rows without it.
ALTER TABLE surveys
    ALTER COLUMN stage_instance_id DROP NOT NULL,
    ADD COLUMN status       text        NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'sent', 'viewed', 'in_progress', 'completed', 'expired', 'abandoned', 'cancelled', 'skipped', 'failed')),
    ADD COLUMN reason       text        NOT NULL DEFAULT '', -- of those skipped and failed
    ADD COLUMN next_at      timestamptz,
    ADD COLUMN asked_at     timestamptz, -- when the first message was queued: since then it has sections, and counts for the contact cap
    ADD COLUMN viewed_at    timestamptz,
    ADD COLUMN started_at   timestamptz,
    ADD COLUMN completed_at timestamptz,
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN resend       boolean     NOT NULL DEFAULT false, -- asked for, and not yet queued
    ADD COLUMN reminders    integer     NOT NULL DEFAULT 0, -- that were due
    ADD COLUMN language     text        NOT NULL DEFAULT '',
    ADD COLUMN link_key     bytea, -- which secret key its link is derived from
    ADD COLUMN token_hash   bytea,
    ADD COLUMN total_score  numeric(4, 2),
    ADD COLUMN is_negative  boolean,
    ADD COLUMN decisions    jsonb       NOT NULL DEFAULT '[]',
    ADD COLUMN updated_at   timestamptz NOT NULL DEFAULT now();
DROP INDEX surveys_due_at_idx;
CREATE INDEX surveys_queue_idx ON surveys (coalesce(next_at, due_at)) WHERE status IN ('pending', 'sent', 'viewed', 'in_progress');
CREATE UNIQUE INDEX surveys_token_hash_key ON surveys (token_hash) WHERE token_hash IS NOT NULL;
CREATE UNIQUE INDEX surveys_visit_key ON surveys (journey_instance_id) WHERE stage_instance_id IS NULL;
CREATE INDEX surveys_hospital_id_idx ON surveys (hospital_id, id);
