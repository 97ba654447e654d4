-- A patient who is renamed is found by the new name. Whoever changes a patient locks the journeys before.
CREATE FUNCTION patient_journeys_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE journey_instances SET patient_search = NEW.search_names WHERE patient_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER patient_journeys_search AFTER UPDATE ON patients
    FOR EACH ROW WHEN (OLD.search_names <> NEW.search_names) EXECUTE FUNCTION patient_journeys_search();
