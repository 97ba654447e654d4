-- Events are listed by another order now.
DROP INDEX events_sender_key_idx;
