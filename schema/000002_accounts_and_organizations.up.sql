CREATE TABLE hospitals (
    id             uuid         PRIMARY KEY,
    name           varchar(200) NOT NULL CHECK (name <> ''),
    name_ar        varchar(200) NOT NULL DEFAULT '',
    code           varchar(50)  NOT NULL CHECK (code <> ''),
    address        text         NOT NULL DEFAULT '',
    city           varchar(100) NOT NULL DEFAULT '',
    phone          varchar(20)  NOT NULL DEFAULT '',
    email          varchar(254) NOT NULL DEFAULT '',
    license_number varchar(100) NOT NULL DEFAULT '',
    capacity       integer               CHECK (capacity >= 0),
    status         text         NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    created_at     timestamptz  NOT NULL DEFAULT now(),
    updated_at     timestamptz  NOT NULL DEFAULT now(),
    search         text         NOT NULL GENERATED ALWAYS AS (fold(name || E'\n' || name_ar || E'\n' || code)) STORED,
    CONSTRAINT hospitals_code_key UNIQUE (code)
);

-- Roles are seeded and read-only: what each may do is in the program, not in the database.
CREATE TABLE roles (
    id          uuid         PRIMARY KEY,
    name        varchar(150) NOT NULL,
    description text         NOT NULL DEFAULT '',
    created_at  timestamptz  NOT NULL DEFAULT now(),
    updated_at  timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT roles_name_key UNIQUE (name)
);

INSERT INTO roles (id, name, description) VALUES
    ('01900000-0000-7000-8000-000000000001', 'PX Admin',           'Sees and administers everything, in every hospital.'),
    ('01900000-0000-7000-8000-000000000002', 'Hospital Admin',     'Administers one hospital: its users, departments, people, templates and journeys.'),
    ('01900000-0000-7000-8000-000000000003', 'Department Manager', 'Works on the journeys of the hospital.'),
    ('01900000-0000-7000-8000-000000000004', 'PX Coordinator',     'Keeps physicians, patients, templates and journeys of the hospital.'),
    ('01900000-0000-7000-8000-000000000005', 'Physician',          'Reads what concerns the hospital.'),
    ('01900000-0000-7000-8000-000000000006', 'Nurse',              'Reads what concerns the hospital.'),
    ('01900000-0000-7000-8000-000000000007', 'Staff',              'Reads what concerns the hospital.'),
    ('01900000-0000-7000-8000-000000000008', 'Viewer',             'Reads what concerns the hospital.');

CREATE TABLE users (
    id            uuid         PRIMARY KEY,
    username      varchar(150) NOT NULL CHECK (username <> ''),
    email         varchar(254) NOT NULL,
    password      text         NOT NULL, -- an encoded hash
    first_name    varchar(150) NOT NULL DEFAULT '',
    last_name     varchar(150) NOT NULL DEFAULT '',
    phone         varchar(20)  NOT NULL DEFAULT '',
    employee_id   varchar(50)  NOT NULL DEFAULT '',
    language      text         NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'ar')),
    hospital_id   uuid         CONSTRAINT users_hospital_id_fkey REFERENCES hospitals,
    department_id uuid,
    is_active     boolean      NOT NULL DEFAULT true,
    token_version integer      NOT NULL DEFAULT 0, -- a token that carries another version is no longer valid
    last_login    timestamptz,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    updated_at    timestamptz  NOT NULL DEFAULT now(),
    full_name     text         NOT NULL GENERATED ALWAYS AS (trim(first_name || ' ' || last_name)) STORED,
    search        text         NOT NULL GENERATED ALWAYS AS (
        fold(username || E'\n' || email || E'\n' || first_name || ' ' || last_name || E'\n' || employee_id)) STORED,
    CONSTRAINT users_username_key UNIQUE (username),
    CONSTRAINT users_department_in_hospital CHECK (department_id IS NULL OR hospital_id IS NOT NULL)
);
CREATE INDEX users_hospital_id_idx ON users (hospital_id);
CREATE INDEX users_department_id_idx ON users (department_id);

CREATE TABLE user_roles (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role_id uuid NOT NULL REFERENCES roles,
    PRIMARY KEY (user_id, role_id)
);
CREATE INDEX user_roles_role_id_idx ON user_roles (role_id);

-- Where refresh tokens are rotated, each is valid for one use. The ids (jti) of used tokens are kept until the
-- tokens expire, to detect reuse: a second use of one means that it was stolen.
CREATE TABLE used_refresh_tokens (
    token_id   text        COLLATE "C" PRIMARY KEY CHECK (length(token_id) <= 64),
    used_by    uuid        NOT NULL, -- the use itself, so that it can be told from another when its answer was lost
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_refresh_tokens_expires_at_idx ON used_refresh_tokens (expires_at);

-- The unique (hospital_id, id) of this and other tables is the target of composite foreign keys: with
-- them the database itself refuses a row that refers to another hospital's.
CREATE TABLE departments (
    id          uuid         PRIMARY KEY,
    hospital_id uuid         NOT NULL CONSTRAINT departments_hospital_id_fkey REFERENCES hospitals,
    name        varchar(200) NOT NULL CHECK (name <> ''),
    name_ar     varchar(200) NOT NULL DEFAULT '',
    code        varchar(50)  NOT NULL CHECK (code <> ''),
    parent_id   uuid,
    manager_id  uuid         CONSTRAINT departments_manager_id_fkey REFERENCES users,
    phone       varchar(20)  NOT NULL DEFAULT '',
    location    varchar(200) NOT NULL DEFAULT '',
    status      text         NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    created_at  timestamptz  NOT NULL DEFAULT now(),
    updated_at  timestamptz  NOT NULL DEFAULT now(),
    search      text         NOT NULL GENERATED ALWAYS AS (fold(name || E'\n' || name_ar || E'\n' || code)) STORED,
    CONSTRAINT departments_hospital_id_code_key UNIQUE (hospital_id, code),
    CONSTRAINT departments_hospital_id_id_key UNIQUE (hospital_id, id),
    CONSTRAINT departments_parent_id_fkey FOREIGN KEY (hospital_id, parent_id) REFERENCES departments (hospital_id, id),
    CONSTRAINT departments_parent_is_another CHECK (parent_id <> id)
);
CREATE INDEX departments_parent_id_idx ON departments (parent_id);
CREATE INDEX departments_manager_id_idx ON departments (manager_id);

ALTER TABLE users ADD CONSTRAINT users_department_id_fkey
    FOREIGN KEY (hospital_id, department_id) REFERENCES departments (hospital_id, id);

CREATE TABLE physicians (
    id             uuid         PRIMARY KEY,
    first_name     varchar(100) NOT NULL CHECK (first_name <> ''),
    last_name      varchar(100) NOT NULL CHECK (last_name <> ''),
    first_name_ar  varchar(100) NOT NULL DEFAULT '',
    last_name_ar   varchar(100) NOT NULL DEFAULT '',
    license_number varchar(100) NOT NULL CHECK (license_number <> ''),
    specialization varchar(200) NOT NULL CHECK (specialization <> ''),
    hospital_id    uuid         NOT NULL CONSTRAINT physicians_hospital_id_fkey REFERENCES hospitals,
    department_id  uuid,
    phone          varchar(20)  NOT NULL DEFAULT '',
    email          varchar(254) NOT NULL DEFAULT '',
    status         text         NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    created_at     timestamptz  NOT NULL DEFAULT now(),
    updated_at     timestamptz  NOT NULL DEFAULT now(),
    full_name      text         NOT NULL GENERATED ALWAYS AS (trim(first_name || ' ' || last_name)) STORED,
    search         text         NOT NULL GENERATED ALWAYS AS (
        fold(first_name || ' ' || last_name || E'\n' || first_name_ar || ' ' || last_name_ar || E'\n' || license_number)) STORED,
    CONSTRAINT physicians_hospital_id_license_number_key UNIQUE (hospital_id, license_number),
    CONSTRAINT physicians_hospital_id_id_key UNIQUE (hospital_id, id),
    CONSTRAINT physicians_department_id_fkey FOREIGN KEY (hospital_id, department_id) REFERENCES departments (hospital_id, id)
);
CREATE INDEX physicians_department_id_idx ON physicians (department_id);

CREATE TABLE patients (
    id                  uuid         PRIMARY KEY,
    mrn                 varchar(50)  NOT NULL CHECK (mrn <> ''),
    national_id         varchar(50)  NOT NULL DEFAULT '',
    first_name          varchar(100) NOT NULL CHECK (first_name <> ''),
    last_name           varchar(100) NOT NULL CHECK (last_name <> ''),
    first_name_ar       varchar(100) NOT NULL DEFAULT '',
    last_name_ar        varchar(100) NOT NULL DEFAULT '',
    date_of_birth       date,
    gender              text         NOT NULL DEFAULT '' CHECK (gender IN ('', 'male', 'female', 'other')),
    phone               varchar(20)  NOT NULL DEFAULT '',
    email               varchar(254) NOT NULL DEFAULT '',
    address             text         NOT NULL DEFAULT '',
    city                varchar(100) NOT NULL DEFAULT '',
    primary_hospital_id uuid         CONSTRAINT patients_primary_hospital_id_fkey REFERENCES hospitals,
    status              text         NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive')),
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    full_name           text         NOT NULL GENERATED ALWAYS AS (trim(first_name || ' ' || last_name)) STORED,
    -- A journey is found by its patient's number and names, but not by phone or email: hence two.
    search_names        text         NOT NULL GENERATED ALWAYS AS (
        fold(mrn || E'\n' || first_name || ' ' || last_name || E'\n' || first_name_ar || ' ' || last_name_ar)) STORED,
    search              text         NOT NULL GENERATED ALWAYS AS (
        fold(mrn || E'\n' || first_name || ' ' || last_name || E'\n' || first_name_ar || ' ' || last_name_ar
             || E'\n' || phone || E'\n' || email)) STORED
);
-- A patient without a hospital is seen by PX Admins alone; among those an MRN is unique, too.
CREATE UNIQUE INDEX patients_primary_hospital_id_mrn_key ON patients (primary_hospital_id, mrn) NULLS NOT DISTINCT;
CREATE INDEX patients_by_name_idx ON patients (last_name, first_name, id);
CREATE INDEX patients_by_hospital_and_name_idx ON patients (primary_hospital_id, last_name, first_name, id);
CREATE INDEX patients_search_idx ON patients USING gin (search gin_trgm_ops);
