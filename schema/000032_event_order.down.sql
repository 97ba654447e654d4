DROP INDEX events_received_at_idx;
DROP INDEX events_of_sender_key_idx;
DROP INDEX events_unapplied_reason_idx;
DROP INDEX events_codes_idx;
