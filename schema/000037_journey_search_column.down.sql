DROP TRIGGER journey_patient_search ON journey_instances;
DROP FUNCTION journey_patient_search();
ALTER TABLE journey_instances DROP COLUMN patient_search;
