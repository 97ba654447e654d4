DROP INDEX patients_by_full_name_idx;
DROP INDEX patients_by_first_name_idx;
DROP INDEX patients_by_date_of_birth_idx;
DROP INDEX patients_by_gender_idx;
DROP INDEX patients_by_city_idx;
DROP INDEX patients_by_status_idx;
DROP INDEX patients_by_created_at_idx;
DROP INDEX patients_by_updated_at_idx;
