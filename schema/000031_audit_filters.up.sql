-- The log is listed by time, which the filters since and until cut off, and each other filter has an index in that order.
CREATE INDEX audit_log_at_idx ON audit_log (at, id);
CREATE INDEX audit_log_of_hospital_idx ON audit_log (hospital_id, at, id);
CREATE INDEX audit_log_of_actor_idx ON audit_log (actor_id, at, id);
CREATE INDEX audit_log_of_operation_idx ON audit_log (operation, at, id);
CREATE INDEX audit_log_of_type_idx ON audit_log (object_type, at, id);
CREATE INDEX audit_log_of_object_idx ON audit_log (object_id, at, id);
