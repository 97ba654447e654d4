DROP INDEX audit_log_at_idx;
DROP INDEX audit_log_of_hospital_idx;
DROP INDEX audit_log_of_actor_idx;
DROP INDEX audit_log_of_operation_idx;
DROP INDEX audit_log_of_type_idx;
DROP INDEX audit_log_of_object_idx;
