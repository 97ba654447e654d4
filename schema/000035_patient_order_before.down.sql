CREATE INDEX patients_created_at_idx ON patients (created_at);
CREATE INDEX patients_by_name_idx ON patients (last_name, first_name, id);
