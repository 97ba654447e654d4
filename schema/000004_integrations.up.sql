CREATE TABLE integration_configs (
    id            uuid         PRIMARY KEY,
    name          varchar(200) NOT NULL CHECK (name <> ''),
    source_system varchar(50)  NOT NULL CHECK (source_system ~ '^[A-Za-z0-9_-]{1,50}$'),
    hospital_id   uuid         CONSTRAINT integration_configs_hospital_id_fkey REFERENCES hospitals,
    description   text         NOT NULL DEFAULT '',
    api_url       varchar(500) NOT NULL DEFAULT '',
    api_key_hash  bytea        NOT NULL, -- keyed hash; the key itself is never stored
    is_active     boolean      NOT NULL DEFAULT true,
    config_json   jsonb        NOT NULL DEFAULT '{}',
    created_at    timestamptz  NOT NULL DEFAULT now(),
    updated_at    timestamptz  NOT NULL DEFAULT now(),
    search        text         NOT NULL GENERATED ALWAYS AS (fold(name || E'\n' || description)) STORED,
    CONSTRAINT integration_configs_api_key_hash_key UNIQUE (api_key_hash)
);
CREATE INDEX integration_configs_hospital_id_idx ON integration_configs (hospital_id);

-- The queue of the worker. Rows are inserted as pending, claimed in the order of seq, and kept as the record
-- of what was received and what it changed. The ids in them are no foreign keys: an event never blocks the
-- delete of a row that it refers to, and is kept when that row is deleted.
CREATE TABLE events (
    seq                 bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                  uuid         NOT NULL,
    source_system       varchar(50)  NOT NULL CHECK (source_system ~ '^[A-Za-z0-9_-]{1,50}$'),
    event_code          varchar(100) NOT NULL CHECK (event_code <> ''),
    encounter_id        varchar(100) NOT NULL CHECK (encounter_id <> ''),
    patient_identifier  varchar(100) NOT NULL DEFAULT '',
    payload_json        jsonb        NOT NULL DEFAULT '{}',
    source_event_id     varchar(200) NOT NULL DEFAULT '',
    hospital_id         uuid,        -- the sender's; null: every hospital's journeys are looked at
    sender_kind         text         NOT NULL CHECK (sender_kind IN ('user', 'key')),
    sender_id           uuid         NOT NULL,
    client_ip           text         NOT NULL DEFAULT '',
    request_id          text         NOT NULL DEFAULT '',
    status              text         NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processed', 'failed', 'ignored')),
    reason              text         NOT NULL DEFAULT '',
    error_message       text         NOT NULL DEFAULT '',
    attempts            integer      NOT NULL DEFAULT 0,
    tries               integer      NOT NULL DEFAULT 0, -- since the last outcome, counted before they were made
    received_at         timestamptz  NOT NULL DEFAULT now(),
    processed_at        timestamptz,
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    journey_instance_id uuid,
    stage_instance_id   uuid,
    survey_id           uuid,
    CONSTRAINT events_id_key UNIQUE (id),
    CONSTRAINT events_finished_has_time CHECK ((status <> 'pending') = (processed_at IS NOT NULL))
);
-- Partial indexes of pending events: the cost of a claim does not depend on how many are finished. The two
-- conditions mean the same, but a query that states one cannot use the other's index. So, however many rows
-- the planner estimates to be pending, the queue is read by seq and an encounter's events by encounter.
CREATE INDEX events_pending_idx ON events (seq) WHERE status = 'pending';
CREATE INDEX events_pending_encounter_idx ON events (encounter_id, seq) WHERE processed_at IS NULL;
CREATE INDEX events_encounter_id_idx ON events (encounter_id, seq);
CREATE UNIQUE INDEX events_source_event_id_key ON events (source_event_id, source_system, hospital_id)
    NULLS NOT DISTINCT WHERE source_event_id <> '';
-- Autovacuum starts after a fixed number of changed rows, however many finished events the table has.
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
                        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000);

-- The stored answers of requests that carried an Idempotency-Key.
CREATE TABLE idempotency_keys (
    principal_id uuid        NOT NULL,
    operation    text        NOT NULL,
    key          text        NOT NULL,
    body_hash    bytea       NOT NULL,
    status       integer     NOT NULL,
    answer       jsonb       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal_id, operation, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- Append-only: who changed what, in the transaction of the change.
CREATE TABLE audit_log (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    actor_kind     text        NOT NULL CHECK (actor_kind IN ('user', 'key', 'command')),
    actor_id       uuid,
    actor_name     text        NOT NULL DEFAULT '',
    hospital_id    uuid,
    operation      text        NOT NULL,
    object_type    text        NOT NULL,
    object_id      uuid        NOT NULL,
    changed_fields text[]      NOT NULL DEFAULT '{}',
    client_ip      text        NOT NULL DEFAULT '',
    request_id     text        NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_hospital_id_idx ON audit_log (hospital_id, id);
CREATE INDEX audit_log_object_idx ON audit_log (object_type, object_id, id);
