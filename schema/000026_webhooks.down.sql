DROP TABLE webhook_messages, webhook_events, webhook_endpoints;
