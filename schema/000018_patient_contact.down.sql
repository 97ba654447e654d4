ALTER TABLE patients DROP COLUMN language, DROP COLUMN survey_opt_out;
