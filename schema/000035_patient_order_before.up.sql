-- patients_by_created_at_idx and patients_by_full_name_idx have the same in front.
DROP INDEX patients_created_at_idx;
DROP INDEX patients_by_name_idx;
