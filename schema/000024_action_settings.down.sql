ALTER TABLE hospitals DROP COLUMN business_hours, DROP COLUMN holidays, DROP COLUMN action_sla;
