-- Actions: work for someone, with a deadline. The clock has run for so long before running_since, by the calendar and in
-- business hours, and goes by the settings that its hospital had when it started. next_at is when the worker attends to
-- the action: at a reminder, a breach or an escalation; null while the clock stands.
CREATE TABLE actions (
    id                uuid         PRIMARY KEY,
    hospital_id       uuid         NOT NULL CONSTRAINT actions_hospital_id_fkey REFERENCES hospitals,
    department_id     uuid,
    assigned_to       uuid         CONSTRAINT actions_assigned_to_fkey REFERENCES users,
    journey_instance_id uuid,
    stage_instance_id uuid         CONSTRAINT actions_stage_instance_id_fkey REFERENCES stage_instances,
    survey_id         uuid         CONSTRAINT actions_survey_id_fkey REFERENCES surveys,
    physician_id      uuid,
    patient_id        uuid         CONSTRAINT actions_patient_id_fkey REFERENCES patients,
    source_type       text         NOT NULL CHECK (source_type IN ('survey', 'manual', 'complaint', 'social_media', 'call_center', 'kpi')),
    title             varchar(200) NOT NULL,
    description       varchar(5000) NOT NULL DEFAULT '',
    priority          text         NOT NULL CHECK (priority IN ('low', 'medium', 'high', 'urgent')),
    status            text         NOT NULL DEFAULT 'open' CHECK (status IN
        ('open', 'in_progress', 'on_hold', 'pending_approval', 'approved', 'closed', 'cancelled')),
    resolution        varchar(5000) NOT NULL DEFAULT '',
    version           integer      NOT NULL DEFAULT 1,
    escalation_level  integer      NOT NULL DEFAULT 0 CHECK (escalation_level BETWEEN 0 AND 3),
    sla               jsonb        NOT NULL,
    running_since     timestamptz,
    used_calendar     bigint       NOT NULL DEFAULT 0, -- microseconds
    used_business     bigint       NOT NULL DEFAULT 0, -- microseconds
    due_at            timestamptz, -- null while the clock stands, unless it was overdue before
    reminded_at       timestamptz,
    breached_at       timestamptz,
    next_at           timestamptz,
    created_at        timestamptz  NOT NULL DEFAULT now(),
    updated_at        timestamptz  NOT NULL DEFAULT now(),
    search            text         NOT NULL GENERATED ALWAYS AS (fold(title || E'\n' || description)) STORED,
    CONSTRAINT actions_department_id_fkey FOREIGN KEY (hospital_id, department_id) REFERENCES departments (hospital_id, id),
    CONSTRAINT actions_journey_instance_id_fkey FOREIGN KEY (hospital_id, journey_instance_id)
        REFERENCES journey_instances (hospital_id, id),
    CONSTRAINT actions_physician_id_fkey FOREIGN KEY (hospital_id, physician_id) REFERENCES physicians (hospital_id, id)
);
CREATE UNIQUE INDEX actions_of_survey_key ON actions (survey_id) WHERE source_type = 'survey';
CREATE INDEX actions_queue_idx ON actions (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX actions_hospital_id_idx ON actions (hospital_id, id);
CREATE INDEX actions_due_at_idx ON actions (hospital_id, due_at) WHERE status IN ('open', 'in_progress', 'on_hold', 'pending_approval');
CREATE INDEX actions_assigned_to_idx ON actions (assigned_to, id) WHERE assigned_to IS NOT NULL;
CREATE INDEX actions_department_id_idx ON actions (department_id) WHERE department_id IS NOT NULL;
CREATE INDEX actions_journey_instance_id_idx ON actions (journey_instance_id) WHERE journey_instance_id IS NOT NULL;
CREATE INDEX actions_stage_instance_id_idx ON actions (stage_instance_id) WHERE stage_instance_id IS NOT NULL;
CREATE INDEX actions_survey_id_idx ON actions (survey_id) WHERE survey_id IS NOT NULL;
CREATE INDEX actions_physician_id_idx ON actions (physician_id) WHERE physician_id IS NOT NULL;
CREATE INDEX actions_patient_id_idx ON actions (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX actions_search_idx ON actions USING gin (search gin_trgm_ops);

-- What happened to an action, and what was noted.
CREATE TABLE action_log (
    id         uuid          PRIMARY KEY,
    action_id  uuid          NOT NULL CONSTRAINT action_log_action_id_fkey REFERENCES actions ON DELETE CASCADE,
    kind       text          NOT NULL CHECK (kind IN ('created', 'updated', 'assigned', 'status_changed', 'note', 'reminded', 'breached', 'escalated')),
    actor_id   uuid, -- a user; null: PX360 itself
    actor_name varchar(150)  NOT NULL DEFAULT '',
    old_value  varchar(200)  NOT NULL DEFAULT '', -- of what changed, by its kind: the status, the level, the user
    new_value  varchar(200)  NOT NULL DEFAULT '',
    note       varchar(5000) NOT NULL DEFAULT '',
    created_at timestamptz   NOT NULL DEFAULT now()
);
CREATE INDEX action_log_action_id_idx ON action_log (action_id, id);

-- Emails to users. An email that is being sent is another worker's once next_at has passed. attempt fences what one that
-- comes late has to say.
CREATE TABLE user_messages (
    id          uuid          PRIMARY KEY, -- also the Message-ID
    hospital_id uuid          CONSTRAINT user_messages_hospital_id_fkey REFERENCES hospitals ON DELETE CASCADE,
    user_id     uuid          NOT NULL CONSTRAINT user_messages_user_id_fkey REFERENCES users ON DELETE CASCADE,
    kind        text          NOT NULL CHECK (kind IN ('reminder', 'escalation', 'webhook_disabled')),
    object_id   uuid          NOT NULL, -- the action, or the webhook endpoint
    subject     varchar(300)  NOT NULL,
    text        varchar(5000) NOT NULL,
    status      text          NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sending', 'sent', 'failed')),
    attempt     integer       NOT NULL DEFAULT 0,
    next_at     timestamptz   NOT NULL DEFAULT now(),
    error       varchar(500)  NOT NULL DEFAULT '',
    created_at  timestamptz   NOT NULL DEFAULT now(),
    sent_at     timestamptz
);
CREATE INDEX user_messages_queue_idx ON user_messages (next_at) WHERE status IN ('queued', 'sending');
CREATE INDEX user_messages_user_id_idx ON user_messages (user_id);
CREATE INDEX user_messages_hospital_id_idx ON user_messages (hospital_id);
CREATE INDEX user_messages_created_at_idx ON user_messages (created_at);
