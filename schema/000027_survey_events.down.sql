ALTER TABLE surveys DROP COLUMN version;
