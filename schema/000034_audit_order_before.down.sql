CREATE INDEX audit_log_hospital_id_idx ON audit_log (hospital_id, id);
CREATE INDEX audit_log_object_idx ON audit_log (object_type, object_id, id);
