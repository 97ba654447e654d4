-- What a survey asks: the sections of its page, bound when it is first sent. Each has what scores are grouped by, as it was
-- then, and once the survey is completed what its answers come to.
CREATE TABLE survey_sections (
    survey_id          uuid        NOT NULL CONSTRAINT survey_sections_survey_id_fkey REFERENCES surveys ON DELETE CASCADE,
    position           integer     NOT NULL, -- from 1
    survey_template_id uuid        NOT NULL,
    version            integer     NOT NULL,
    hospital_id        uuid        NOT NULL,
    journey_type       text        NOT NULL,
    department_id      uuid,
    physician_id       uuid,
    stage_template_id  uuid,
    stage_instance_id  uuid        CONSTRAINT survey_sections_stage_instance_id_key UNIQUE,
    sent_at            timestamptz,
    sent_on            date, -- by the hospital's clock
    completed          boolean     NOT NULL DEFAULT false,
    promoters          smallint    NOT NULL DEFAULT 0,
    passives           smallint    NOT NULL DEFAULT 0,
    detractors         smallint    NOT NULL DEFAULT 0,
    rated              smallint    NOT NULL DEFAULT 0, -- answers from 1 to 5
    satisfied          smallint    NOT NULL DEFAULT 0, -- of those, 4 and 5
    scored             smallint    NOT NULL DEFAULT 0, -- answers that count for the score
    top                smallint    NOT NULL DEFAULT 0, -- of those, the best ones
    score              integer     NOT NULL DEFAULT 0, -- what they add up to, in hundredths
    PRIMARY KEY (survey_id, position),
    CONSTRAINT survey_sections_version_fkey FOREIGN KEY (survey_template_id, version) REFERENCES survey_versions
);
CREATE INDEX survey_sections_version_idx ON survey_sections (survey_template_id, version);
CREATE INDEX survey_sections_hospital_id_sent_on_idx ON survey_sections (hospital_id, sent_on) WHERE sent_on IS NOT NULL;

-- What is answered so far; once the survey is completed, its responses.
CREATE TABLE survey_responses (
    survey_id   uuid        NOT NULL CONSTRAINT survey_responses_survey_id_fkey REFERENCES surveys ON DELETE CASCADE,
    position    integer     NOT NULL, -- of the section
    question_id uuid        NOT NULL,
    answer      jsonb       NOT NULL, -- a list of texts
    answered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (survey_id, position, question_id)
);

-- Messages to patients. A message that is being sent is another worker's once next_at has passed. attempt fences what
-- one that comes late has to say.
CREATE TABLE survey_messages (
    id          uuid         PRIMARY KEY, -- also the Message-ID of an email
    survey_id   uuid         NOT NULL CONSTRAINT survey_messages_survey_id_fkey REFERENCES surveys ON DELETE CASCADE,
    kind        text         NOT NULL CHECK (kind IN ('invitation', 'reminder', 'resend')),
    channel     text         NOT NULL CHECK (channel IN ('sms', 'email')),
    status      text         NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sending', 'sent', 'failed', 'cancelled')),
    attempt     integer      NOT NULL DEFAULT 0,
    next_at     timestamptz  NOT NULL DEFAULT now(),
    address     varchar(254) NOT NULL DEFAULT '', -- where it went
    provider_id varchar(200) NOT NULL DEFAULT '',
    error       varchar(500) NOT NULL DEFAULT '',
    sent_at     timestamptz,
    created_at  timestamptz  NOT NULL DEFAULT now()
);
CREATE INDEX survey_messages_survey_id_idx ON survey_messages (survey_id);
CREATE INDEX survey_messages_queue_idx ON survey_messages (next_at) WHERE status IN ('queued', 'sending');

-- Addresses that a hospital does not write to any more: whoever reads their messages said so.
CREATE TABLE survey_suppressions (
    hospital_id uuid         NOT NULL CONSTRAINT survey_suppressions_hospital_id_fkey REFERENCES hospitals ON DELETE CASCADE,
    address     varchar(254) NOT NULL, -- a phone number in E.164, or an email address in lower case
    created_at  timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (hospital_id, address)
);

-- What a survey would ask if it was sent now, in this order: of the stage; or of the visit what each of its completed
-- stages asks, and then what the visit's own template does.
CREATE VIEW survey_parts AS
SELECT
    p.survey_id, row_number() OVER (PARTITION BY p.survey_id ORDER BY p.last, p."order", p.code) AS position,
    p.stage_instance_id, t.id AS survey_template_id, t.version, n.questions
FROM (
    SELECT v.id AS survey_id, v.stage_instance_id AS stage_instance_id, v.survey_template_id AS survey_template_id,
        true AS last, 0 AS "order", '' AS code
    FROM surveys v
    UNION ALL
    SELECT v.id AS survey_id, s.id AS stage_instance_id, s.survey_template_id AS survey_template_id,
        false AS last, s."order" AS "order", s.code AS code
    FROM surveys v
    JOIN stage_instances s ON s.journey_instance_id = v.journey_instance_id AND s.status = 'completed'
    WHERE v.stage_instance_id IS NULL
) p
JOIN survey_templates t ON t.id = p.survey_template_id AND t.is_active
JOIN survey_versions n ON n.survey_template_id = t.id AND n.version = t.version AND n.questions <> '[]';
