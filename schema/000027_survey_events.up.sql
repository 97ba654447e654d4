-- How often partners were told of the survey.
ALTER TABLE surveys ADD COLUMN version integer NOT NULL DEFAULT 0;
