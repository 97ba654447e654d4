ALTER TABLE events DROP COLUMN among_hospital_ids;
DROP TABLE integration_config_hospitals;
