-- The hospitals that a config for all hospitals is restricted to; none: every one. A hospital that is named cannot be
-- deleted, as the config would otherwise end up with every one.
CREATE TABLE integration_config_hospitals (
    config_id   uuid NOT NULL REFERENCES integration_configs ON DELETE CASCADE,
    hospital_id uuid NOT NULL CONSTRAINT integration_config_hospitals_hospital_id_fkey REFERENCES hospitals,
    PRIMARY KEY (config_id, hospital_id)
);
CREATE INDEX integration_config_hospitals_hospital_id_idx ON integration_config_hospitals (hospital_id);
