-- Where refresh tokens are rotated, each is good once. The ids (jti) of those that were used are kept until the
-- tokens would have expired: who shows one of them again has stolen it, or had it stolen.
CREATE TABLE used_refresh_tokens (
    token_id   text        COLLATE "C" PRIMARY KEY CHECK (length(token_id) <= 64),
    used_by    uuid        NOT NULL, -- the use itself, so that it can be told from another when its answer was lost
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_refresh_tokens_expires_at_idx ON used_refresh_tokens (expires_at);
