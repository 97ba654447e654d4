-- What a hospital decides about the surveys that it sends.
ALTER TABLE hospitals
    ADD COLUMN timezone            varchar(64) NOT NULL DEFAULT 'Asia/Riyadh',
    ADD COLUMN language            text        NOT NULL DEFAULT 'ar' CHECK (language IN ('en', 'ar')),
    ADD COLUMN channels            text[]      NOT NULL DEFAULT '{sms,email}', -- the first is tried first
    ADD COLUMN quiet_hours_start   varchar(5)  NOT NULL DEFAULT '21:00',
    ADD COLUMN quiet_hours_end     varchar(5)  NOT NULL DEFAULT '09:00',
    ADD COLUMN contact_cap_surveys integer     NOT NULL DEFAULT 3 CHECK (contact_cap_surveys BETWEEN 1 AND 100),
    ADD COLUMN contact_cap_days    integer     NOT NULL DEFAULT 30 CHECK (contact_cap_days BETWEEN 1 AND 366);
