ALTER TABLE hospitals
    DROP COLUMN timezone, DROP COLUMN language, DROP COLUMN channels, DROP COLUMN quiet_hours_start,
    DROP COLUMN quiet_hours_end, DROP COLUMN contact_cap_surveys, DROP COLUMN contact_cap_days;
