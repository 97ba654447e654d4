-- Events that were not applied, by when they came: for those who put them in order and reprocess them.
CREATE INDEX events_unapplied_idx ON events (status, received_at) WHERE status IN ('failed', 'ignored');
