-- Where partners hear of events. Its owner delivers its messages, as long as the lease lasts.
CREATE TABLE webhook_endpoints (
    id                   uuid          PRIMARY KEY,
    hospital_id          uuid          CONSTRAINT webhook_endpoints_hospital_id_fkey REFERENCES hospitals, -- null: every one
    url                  varchar(2000) NOT NULL,
    description          varchar(500)  NOT NULL DEFAULT '',
    events               text[]        NOT NULL,
    status               text          NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    disabled_reason      text          NOT NULL DEFAULT '' CHECK (disabled_reason IN ('', 'by_user', 'gone', 'failing')),
    secret               bytea         NOT NULL, -- sealed
    previous_secret      bytea, -- sealed
    previous_until       timestamptz, -- until then it signs too
    failing_since        timestamptz, -- the first failure since the last success
    owner                uuid,
    leased_until         timestamptz   NOT NULL DEFAULT '-infinity',
    created_at           timestamptz   NOT NULL DEFAULT now(),
    updated_at           timestamptz   NOT NULL DEFAULT now()
);
CREATE INDEX webhook_endpoints_hospital_id_idx ON webhook_endpoints (hospital_id, id);

-- What there is to hear of: the transactional outbox. A row commits with the change that it tells of, under the lock of its
-- object, so that the rows of an object are in order by seq.
CREATE TABLE webhook_events (
    seq         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    hospital_id uuid, -- no foreign key: it would be checked for each row, and one of a hospital that is gone is nobody's
    type        text        NOT NULL,
    object_id   uuid        NOT NULL,
    version     integer     NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    fanned_out  boolean     NOT NULL DEFAULT false
);
CREATE INDEX webhook_events_queue_idx ON webhook_events (seq) WHERE NOT fanned_out;
CREATE INDEX webhook_events_created_at_idx ON webhook_events (created_at);

-- What an endpoint is sent: an event once. The endpoint of a message may be deleted.
CREATE TABLE webhook_messages (
    id           uuid        PRIMARY KEY,
    endpoint_id  uuid        NOT NULL,
    seq          bigint      NOT NULL CONSTRAINT webhook_messages_seq_fkey REFERENCES webhook_events ON DELETE CASCADE,
    object_id    uuid        NOT NULL, -- the event's
    type         text        NOT NULL, -- the event's
    status       text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempt      integer     NOT NULL DEFAULT 0, -- since it was last queued
    attempts     jsonb       NOT NULL DEFAULT '[]', -- what became of the last ones
    next_at      timestamptz,
    delivered_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_messages_seq_endpoint_id_key UNIQUE (seq, endpoint_id)
);
CREATE INDEX webhook_messages_queue_idx ON webhook_messages (endpoint_id, next_at, seq) WHERE status = 'pending';
CREATE INDEX webhook_messages_order_idx ON webhook_messages (endpoint_id, object_id, seq) WHERE status = 'pending';
CREATE INDEX webhook_messages_endpoint_id_idx ON webhook_messages (endpoint_id, id);
