-- Where a user and a key have sent an event under one message id, the first keeps it.
UPDATE events e
SET source_event_id = ''
WHERE e.source_event_id <> '' AND EXISTS (
    SELECT FROM events o
    WHERE o.source_event_id = e.source_event_id AND o.source_system = e.source_system
      AND o.hospital_id IS NOT DISTINCT FROM e.hospital_id AND o.seq < e.seq);
CREATE UNIQUE INDEX events_source_event_id_key ON events (source_event_id, source_system, hospital_id)
    NULLS NOT DISTINCT WHERE source_event_id <> '';
DROP INDEX events_sender_message_key;
DROP FUNCTION rate_limits_take(text[], bigint[], bigint[], bigint[], bigint[], bigint[]);
ALTER TABLE rate_limits DROP COLUMN refilled_at;
