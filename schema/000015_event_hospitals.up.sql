DROP INDEX events_source_event_id_key;

-- Of an event for all hospitals: those that its config named when it was received, whose journeys alone it may mean;
-- null: every one.
ALTER TABLE events ADD COLUMN among_hospital_ids uuid[];
