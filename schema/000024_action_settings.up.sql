-- What a hospital promises about its actions, as the contract's HospitalSettings has it.
ALTER TABLE hospitals
    ADD COLUMN business_hours jsonb  NOT NULL DEFAULT '{"sun": [["08:00", "17:00"]], "mon": [["08:00", "17:00"]], "tue": [["08:00", "17:00"]],
        "wed": [["08:00", "17:00"]], "thu": [["08:00", "17:00"]], "fri": [], "sat": []}',
    ADD COLUMN holidays       text[] NOT NULL DEFAULT '{}', -- dates
    ADD COLUMN action_sla     jsonb  NOT NULL DEFAULT '{"low": {"hours": 45, "clock": "business"}, "medium": {"hours": 27, "clock": "business"},
        "high": {"hours": 24, "clock": "calendar"}, "urgent": {"hours": 4, "clock": "calendar"}}';
