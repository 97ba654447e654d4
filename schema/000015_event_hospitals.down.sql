ALTER TABLE events DROP COLUMN among_hospital_ids;

-- Where a user and a key have sent an event under one message id, the first keeps it.
UPDATE events e
SET source_event_id = ''
WHERE e.source_event_id <> '' AND EXISTS (
    SELECT FROM events o
    WHERE o.source_event_id = e.source_event_id AND o.source_system = e.source_system
      AND o.hospital_id IS NOT DISTINCT FROM e.hospital_id AND o.seq < e.seq);
CREATE UNIQUE INDEX events_source_event_id_key ON events (source_event_id, source_system, hospital_id)
    NULLS NOT DISTINCT WHERE source_event_id <> '';
