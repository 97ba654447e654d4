DROP INDEX events_sender_key_idx;
ALTER TABLE journey_instances DROP COLUMN started_at_stated;
ALTER TABLE events DROP COLUMN warnings;
