CREATE TABLE survey_templates (
    id          uuid         PRIMARY KEY,
    hospital_id uuid         NOT NULL CONSTRAINT survey_templates_hospital_id_fkey REFERENCES hospitals,
    name        varchar(200) NOT NULL CHECK (name <> ''),
    name_ar     varchar(200) NOT NULL DEFAULT '',
    is_active   boolean      NOT NULL DEFAULT true,
    created_at  timestamptz  NOT NULL DEFAULT now(),
    updated_at  timestamptz  NOT NULL DEFAULT now(),
    search      text         NOT NULL GENERATED ALWAYS AS (fold(name || E'\n' || name_ar)) STORED,
    CONSTRAINT survey_templates_hospital_id_id_key UNIQUE (hospital_id, id)
);

CREATE TABLE journey_templates (
    id           uuid         PRIMARY KEY,
    name         varchar(200) NOT NULL CHECK (name <> ''),
    name_ar      varchar(200) NOT NULL DEFAULT '',
    journey_type text         NOT NULL CHECK (journey_type IN ('ems', 'inpatient', 'opd')),
    description  text         NOT NULL DEFAULT '',
    hospital_id  uuid         NOT NULL CONSTRAINT journey_templates_hospital_id_fkey REFERENCES hospitals,
    is_active    boolean      NOT NULL DEFAULT true,
    is_default   boolean      NOT NULL DEFAULT false,
    created_at   timestamptz  NOT NULL DEFAULT now(),
    updated_at   timestamptz  NOT NULL DEFAULT now(),
    search       text         NOT NULL GENERATED ALWAYS AS (fold(name || E'\n' || name_ar)) STORED,
    CONSTRAINT journey_templates_hospital_id_id_key UNIQUE (hospital_id, id)
);
CREATE UNIQUE INDEX journey_templates_default_key ON journey_templates (hospital_id, journey_type) WHERE is_default;

CREATE TABLE stage_templates (
    id                  uuid         PRIMARY KEY,
    hospital_id         uuid         NOT NULL, -- its journey template's
    journey_template_id uuid         NOT NULL,
    name                varchar(200) NOT NULL CHECK (name <> ''),
    name_ar             varchar(200) NOT NULL DEFAULT '',
    code                varchar(50)  NOT NULL CHECK (code <> ''),
    "order"             integer      NOT NULL CHECK ("order" >= 0),
    trigger_event_code  varchar(100) NOT NULL CHECK (trigger_event_code <> ''),
    survey_template_id  uuid,
    auto_send_survey    boolean      NOT NULL DEFAULT false,
    survey_delay_hours  integer      NOT NULL DEFAULT 0 CHECK (survey_delay_hours BETWEEN 0 AND 87600),
    requires_physician  boolean      NOT NULL DEFAULT false,
    requires_department boolean      NOT NULL DEFAULT false,
    is_optional         boolean      NOT NULL DEFAULT false,
    is_active           boolean      NOT NULL DEFAULT true,
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    search              text         NOT NULL GENERATED ALWAYS AS (fold(name || E'\n' || name_ar || E'\n' || code)) STORED,
    CONSTRAINT stage_templates_journey_template_id_code_key UNIQUE (journey_template_id, code),
    CONSTRAINT stage_templates_journey_template_id_fkey FOREIGN KEY (hospital_id, journey_template_id)
        REFERENCES journey_templates (hospital_id, id) ON DELETE CASCADE,
    CONSTRAINT stage_templates_survey_template_id_fkey FOREIGN KEY (hospital_id, survey_template_id)
        REFERENCES survey_templates (hospital_id, id)
);
CREATE INDEX stage_templates_survey_template_id_idx ON stage_templates (survey_template_id);

CREATE TABLE journey_instances (
    id                  uuid         PRIMARY KEY,
    journey_template_id uuid         NOT NULL,
    patient_id          uuid         NOT NULL CONSTRAINT journey_instances_patient_id_fkey REFERENCES patients,
    encounter_id        varchar(100) NOT NULL CHECK (encounter_id <> ''),
    hospital_id         uuid         NOT NULL CONSTRAINT journey_instances_hospital_id_fkey REFERENCES hospitals,
    department_id       uuid,
    status              text         NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'completed', 'cancelled')),
    metadata            jsonb        NOT NULL DEFAULT '{}',
    started_at          timestamptz  NOT NULL DEFAULT now(),
    completed_at        timestamptz,
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    search              text         NOT NULL GENERATED ALWAYS AS (fold(encounter_id)) STORED,
    CONSTRAINT journey_instances_hospital_id_encounter_id_key UNIQUE (hospital_id, encounter_id),
    CONSTRAINT journey_instances_hospital_id_id_key UNIQUE (hospital_id, id),
    CONSTRAINT journey_instances_journey_template_id_fkey FOREIGN KEY (hospital_id, journey_template_id)
        REFERENCES journey_templates (hospital_id, id),
    CONSTRAINT journey_instances_department_id_fkey FOREIGN KEY (hospital_id, department_id)
        REFERENCES departments (hospital_id, id),
    CONSTRAINT journey_instances_completed_has_time CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);
CREATE INDEX journey_instances_encounter_id_idx ON journey_instances (encounter_id);
CREATE INDEX journey_instances_journey_template_id_idx ON journey_instances (journey_template_id);
CREATE INDEX journey_instances_patient_id_idx ON journey_instances (patient_id);
CREATE INDEX journey_instances_department_id_idx ON journey_instances (department_id);

-- A stage instance is a copy of its template as it was when the journey began: later edits of the
-- template do not change journeys in progress.
CREATE TABLE stage_instances (
    id                  uuid         PRIMARY KEY,
    hospital_id         uuid         NOT NULL,
    journey_instance_id uuid         NOT NULL,
    stage_template_id   uuid         NOT NULL CONSTRAINT stage_instances_stage_template_id_fkey REFERENCES stage_templates,
    name                varchar(200) NOT NULL,
    name_ar             varchar(200) NOT NULL,
    code                varchar(50)  NOT NULL,
    "order"             integer      NOT NULL,
    trigger_event_code  varchar(100) NOT NULL,
    survey_template_id  uuid,
    auto_send_survey    boolean      NOT NULL,
    survey_delay_hours  integer      NOT NULL,
    requires_physician  boolean      NOT NULL,
    requires_department boolean      NOT NULL,
    is_optional         boolean      NOT NULL,
    status              text         NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'in_progress', 'completed', 'skipped')),
    completed_at        timestamptz,
    completed_by_event  uuid, -- an event's id, or null where a user completed it
    physician_id        uuid,
    department_id       uuid,
    metadata            jsonb        NOT NULL DEFAULT '{}',
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT stage_instances_journey_instance_id_fkey FOREIGN KEY (hospital_id, journey_instance_id)
        REFERENCES journey_instances (hospital_id, id) ON DELETE CASCADE,
    CONSTRAINT stage_instances_survey_template_id_fkey FOREIGN KEY (hospital_id, survey_template_id)
        REFERENCES survey_templates (hospital_id, id),
    CONSTRAINT stage_instances_physician_id_fkey FOREIGN KEY (hospital_id, physician_id)
        REFERENCES physicians (hospital_id, id),
    CONSTRAINT stage_instances_department_id_fkey FOREIGN KEY (hospital_id, department_id)
        REFERENCES departments (hospital_id, id),
    CONSTRAINT stage_instances_completed_has_time CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);
CREATE UNIQUE INDEX stage_instances_in_order_key ON stage_instances (journey_instance_id, "order", code);
CREATE INDEX stage_instances_stage_template_id_idx ON stage_instances (stage_template_id);
CREATE INDEX stage_instances_physician_id_idx ON stage_instances (physician_id) WHERE physician_id IS NOT NULL;
CREATE INDEX stage_instances_department_id_idx ON stage_instances (department_id) WHERE department_id IS NOT NULL;

-- A completed stage has at most one survey, which the unique key on stage_instance_id enforces.
CREATE TABLE surveys (
    id                  uuid        PRIMARY KEY,
    hospital_id         uuid        NOT NULL,
    survey_template_id  uuid        NOT NULL,
    journey_instance_id uuid        NOT NULL,
    stage_instance_id   uuid        NOT NULL CONSTRAINT surveys_stage_instance_id_fkey REFERENCES stage_instances ON DELETE CASCADE,
    due_at              timestamptz NOT NULL,
    sent_at             timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT surveys_stage_instance_id_key UNIQUE (stage_instance_id),
    CONSTRAINT surveys_survey_template_id_fkey FOREIGN KEY (hospital_id, survey_template_id)
        REFERENCES survey_templates (hospital_id, id),
    CONSTRAINT surveys_journey_instance_id_fkey FOREIGN KEY (hospital_id, journey_instance_id)
        REFERENCES journey_instances (hospital_id, id) ON DELETE CASCADE
);
CREATE INDEX surveys_journey_instance_id_idx ON surveys (journey_instance_id);
CREATE INDEX surveys_due_at_idx ON surveys (due_at) WHERE sent_at IS NULL;
