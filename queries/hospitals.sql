-- name: HospitalList :many
SELECT
    h.id, h.address, h.capacity, h.city, h.code, h.created_at, h.email, h.license_number, h.name, h.name_ar, h.phone,
    h.status, h.updated_at
FROM hospitals h
WHERE (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
  AND (sqlc.narg(status)::text IS NULL OR h.status = sqlc.narg(status))
  AND (sqlc.narg(city)::text IS NULL OR h.city = sqlc.narg(city))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(h.search, sqlc.narg(search)))
ORDER BY name, id;

-- name: HospitalGet :one
SELECT
    h.id, h.address, h.capacity, h.city, h.code, h.created_at, h.email, h.license_number, h.name, h.name_ar, h.phone,
    h.status, h.updated_at
FROM hospitals h
WHERE h.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope));

-- name: HospitalLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    name, name_ar, code, address, city, phone, email, license_number, capacity, status, id
FROM hospitals h
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: HospitalInsert :exec
INSERT INTO hospitals (
    name, name_ar, code, address, city, phone, email, license_number, capacity, status, id
) VALUES (
    @name, @name_ar, @code, @address, @city, @phone, @email, @license_number, @capacity, @status, @id
);

-- name: HospitalUpdate :exec
UPDATE hospitals
SET name = @name, name_ar = @name_ar, code = @code, address = @address, city = @city, phone = @phone, email = @email,
    license_number = @license_number, capacity = @capacity, status = @status,
    updated_at = now()
WHERE id = @id;

-- name: HospitalDelete :exec
DELETE FROM hospitals WHERE id = @id;

-- name: HospitalLockOf :exec
-- Serializes the changes of a hospital's rows that depend on each other: the department tree, default templates, codes
-- and numbers that are unique in the hospital. Locks the hospital that the row is in and the one that it is to be in,
-- as far as the caller may see them. Ids are unique across tables.
SELECT FROM hospitals h
WHERE (h.id = sqlc.narg(stated)::uuid
       OR h.id IN (
           SELECT hospital_id FROM departments WHERE id = @id::uuid
           UNION ALL SELECT hospital_id FROM physicians WHERE id = @id
           UNION ALL SELECT primary_hospital_id FROM patients WHERE id = @id
           UNION ALL SELECT hospital_id FROM journey_templates WHERE id = @id))
  AND (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
ORDER BY h.id
FOR NO KEY UPDATE;

-- name: HospitalLockCode :exec
-- Locks a hospital and the one that has the code that it is to have: two hospitals that swap their codes wait for each
-- other in this order.
SELECT FROM hospitals WHERE id = @id OR code = @code ORDER BY id FOR NO KEY UPDATE;

-- name: HospitalSettingsGet :one
SELECT h.timezone, h.language, h.channels, h.quiet_hours_start, h.quiet_hours_end, h.contact_cap_surveys, h.contact_cap_days,
    h.business_hours, h.holidays, h.action_sla, h.id
FROM hospitals h
WHERE h.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope));

-- name: HospitalSettingsLock :one
-- Locks the hospital and returns its settings, to which a PATCH is applied.
SELECT h.timezone, h.language, h.channels, h.quiet_hours_start, h.quiet_hours_end, h.contact_cap_surveys, h.contact_cap_days,
    h.business_hours, h.holidays, h.action_sla, h.id
FROM hospitals h
WHERE h.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: HospitalSettingsUpdate :exec
UPDATE hospitals
SET timezone = @timezone, language = @language, channels = @channels, quiet_hours_start = @quiet_hours_start,
    quiet_hours_end = @quiet_hours_end, contact_cap_surveys = @contact_cap_surveys, contact_cap_days = @contact_cap_days,
    business_hours = @business_hours, holidays = @holidays, action_sla = @action_sla, updated_at = now()
WHERE id = @id;
