ALTER TABLE journey_templates
    DROP COLUMN send_post_discharge_survey, DROP COLUMN post_discharge_survey_delay_hours,
    DROP COLUMN post_discharge_survey_template_id;
