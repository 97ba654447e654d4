-- One index for each column that patients can be ordered by, which also finds the few that a filter leaves. The id behind it
-- tells equal ones apart, so that a page is read and not sorted.
-- With the hospital, whose name is joined: the pages that are skipped are read from the index alone.
CREATE INDEX patients_by_full_name_idx ON patients (last_name, first_name, id) INCLUDE (primary_hospital_id);
CREATE INDEX patients_by_first_name_idx ON patients (first_name, id);
CREATE INDEX patients_by_date_of_birth_idx ON patients (date_of_birth, id);
CREATE INDEX patients_by_gender_idx ON patients (gender, id);
CREATE INDEX patients_by_city_idx ON patients (city, id);
CREATE INDEX patients_by_status_idx ON patients (status, id);
CREATE INDEX patients_by_created_at_idx ON patients (created_at, id);
CREATE INDEX patients_by_updated_at_idx ON patients (updated_at, id);
