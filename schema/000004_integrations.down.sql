DROP TABLE audit_log;
DROP TABLE idempotency_keys;
DROP TABLE events;
DROP TABLE integration_configs;
