-- The log is listed by another order now.
DROP INDEX audit_log_hospital_id_idx;
DROP INDEX audit_log_object_idx;
