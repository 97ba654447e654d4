ALTER TABLE patients
    ADD COLUMN language       text    NOT NULL DEFAULT '' CHECK (language IN ('', 'en', 'ar')), -- blank: the hospital's
    ADD COLUMN survey_opt_out boolean NOT NULL DEFAULT false;
