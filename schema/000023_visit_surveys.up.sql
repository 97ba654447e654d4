-- A copy of the template's, as it was when the journey began; no template: a survey for each stage that has one.
ALTER TABLE journey_instances
    ADD COLUMN post_discharge_survey_template_id uuid,
    ADD COLUMN post_discharge_survey_delay_hours integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT journey_instances_post_discharge_survey_template_id_fkey
        FOREIGN KEY (hospital_id, post_discharge_survey_template_id) REFERENCES survey_templates (hospital_id, id);
CREATE INDEX journey_instances_post_discharge_survey_template_id_idx ON journey_instances (post_discharge_survey_template_id)
    WHERE post_discharge_survey_template_id IS NOT NULL;
