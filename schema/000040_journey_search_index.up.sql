CREATE INDEX journey_instances_search_idx ON journey_instances USING gin ((search || E'\n' || patient_search) gin_trgm_ops);
