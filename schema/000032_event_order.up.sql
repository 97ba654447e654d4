-- Events are listed by when they were received, which received_after and received_before cut off. Reasons are those of the few
-- that were not applied. Ranges of blocks without an event code or a source system are skipped by a Bloom filter for each, which
-- costs next to nothing where events are inserted: a filter is made by VACUUM, once a range is full.
CREATE INDEX events_received_at_idx ON events (received_at, seq);
CREATE INDEX events_of_sender_key_idx ON events (sender_id, received_at, seq) WHERE sender_kind = 'key';
CREATE INDEX events_unapplied_reason_idx ON events (reason, received_at, seq) WHERE status IN ('failed', 'ignored');
CREATE INDEX events_codes_idx ON events USING brin (event_code text_bloom_ops, source_system text_bloom_ops) WITH (autosummarize = on);
