-- The journeys that were there before. Workers pass over those that this holds, and come back to their events.
UPDATE journey_instances j SET patient_search = p.search_names FROM patients p WHERE p.id = j.patient_id AND j.patient_search = '';
