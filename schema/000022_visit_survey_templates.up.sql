-- Instead of a survey for each stage, a journey can send one survey after the visit, from a template of its own.
ALTER TABLE journey_templates
    ADD COLUMN send_post_discharge_survey         boolean NOT NULL DEFAULT false,
    ADD COLUMN post_discharge_survey_delay_hours  integer NOT NULL DEFAULT 0 CHECK (post_discharge_survey_delay_hours BETWEEN 0 AND 87600),
    ADD COLUMN post_discharge_survey_template_id  uuid,
    ADD CONSTRAINT journey_templates_post_discharge_survey_template_id_fkey
        FOREIGN KEY (hospital_id, post_discharge_survey_template_id) REFERENCES survey_templates (hospital_id, id);
CREATE INDEX journey_templates_post_discharge_survey_template_id_idx ON journey_templates (post_discharge_survey_template_id);
