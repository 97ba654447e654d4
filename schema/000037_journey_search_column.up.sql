-- What a journey is found by includes the names of its patient, which stand in the journey itself: no index covers two tables.
ALTER TABLE journey_instances ADD COLUMN patient_search text NOT NULL DEFAULT '';

-- A journey's patient never changes. FOR SHARE waits for a change of the names that is under way, which does not see this journey.
CREATE FUNCTION journey_patient_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.patient_search := coalesce((SELECT p.search_names FROM patients p WHERE p.id = NEW.patient_id FOR SHARE), '');
    RETURN NEW;
END
$$;

CREATE TRIGGER journey_patient_search BEFORE INSERT ON journey_instances
    FOR EACH ROW EXECUTE FUNCTION journey_patient_search();
