-- What of an event was not taken as it was sent, as sentences; known once a worker has decided on the event.
ALTER TABLE events ADD COLUMN warnings text[] NOT NULL DEFAULT '{}';

-- Whether a client stated started_at, which bounds what events may state. Of journeys that were made before this, nobody
-- knows.
ALTER TABLE journey_instances ADD COLUMN started_at_stated boolean NOT NULL DEFAULT false;

-- For API keys, which see the events that they sent: newest first, and without a look at those of others.
CREATE INDEX events_sender_key_idx ON events (sender_id, seq) WHERE sender_kind = 'key';
