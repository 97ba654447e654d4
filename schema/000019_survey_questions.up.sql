ALTER TABLE survey_templates
    ADD COLUMN description        text          NOT NULL DEFAULT '',
    ADD COLUMN description_ar     text          NOT NULL DEFAULT '',
    ADD COLUMN survey_type        text          NOT NULL DEFAULT 'stage' CHECK (survey_type IN ('stage', 'general', 'nps')),
    ADD COLUMN scoring_method     text          NOT NULL DEFAULT 'average' CHECK (scoring_method IN ('average', 'weighted', 'nps')),
    ADD COLUMN negative_threshold numeric(4, 2) NOT NULL DEFAULT 3 CHECK (negative_threshold BETWEEN 0 AND 10),
    ADD COLUMN sms_text           varchar(500)  NOT NULL DEFAULT '', -- blank: the program's own
    ADD COLUMN sms_text_ar        varchar(500)  NOT NULL DEFAULT '',
    ADD COLUMN email_subject      varchar(200)  NOT NULL DEFAULT '',
    ADD COLUMN email_subject_ar   varchar(200)  NOT NULL DEFAULT '',
    ADD COLUMN reminder_hours     integer[]     NOT NULL DEFAULT '{72}', -- after the first message
    ADD COLUMN expires_after_days integer       NOT NULL DEFAULT 14 CHECK (expires_after_days BETWEEN 1 AND 365),
    ADD COLUMN ignore_contact_cap boolean       NOT NULL DEFAULT false,
    ADD COLUMN version            integer       NOT NULL DEFAULT 1 CHECK (version > 0); -- which of survey_versions is current

-- The questions of a survey template, as they were and are. A version is never changed: surveys that were sent refer to
-- it. A template without a row for its current version has no questions.
CREATE TABLE survey_versions (
    survey_template_id uuid        NOT NULL CONSTRAINT survey_versions_survey_template_id_fkey REFERENCES survey_templates ON DELETE CASCADE,
    version            integer     NOT NULL,
    questions          jsonb       NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (survey_template_id, version)
);
