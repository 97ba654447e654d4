CREATE INDEX events_sender_key_idx ON events (sender_id, seq) WHERE sender_kind = 'key';
