-- A message id belongs to the kind of its sender: what a user sent under an id does not stand in the way of a key's
-- event. Events cannot be stored while the index is built, about a second for half a million of them. The index before
-- it goes in the next file: this statement's lock lets readers in, and may not be upgraded while they wait for it.
CREATE UNIQUE INDEX events_sender_message_key ON events (source_event_id, source_system, hospital_id, sender_kind)
    NULLS NOT DISTINCT WHERE source_event_id <> '';
