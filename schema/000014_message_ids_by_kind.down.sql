DROP INDEX events_sender_message_key;
