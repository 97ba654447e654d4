DROP TRIGGER patient_journeys_search ON patients;
DROP FUNCTION patient_journeys_search();
