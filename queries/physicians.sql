-- name: PhysicianList :many
SELECT
    p.id, p.created_at, p.department_id AS department, d.name AS department_name, p.email, p.first_name, p.first_name_ar,
    p.full_name, p.hospital_id AS hospital, h.name AS hospital_name, p.last_name, p.last_name_ar,
    p.license_number, p.phone, p.specialization, p.status, p.updated_at
FROM physicians p
JOIN hospitals h ON h.id = p.hospital_id
LEFT JOIN departments d ON d.id = p.department_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR p.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR p.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(department)::uuid IS NULL OR p.department_id = sqlc.narg(department))
  AND (sqlc.narg(specialization)::text IS NULL OR p.specialization = sqlc.narg(specialization))
  AND (sqlc.narg(status)::text IS NULL OR p.status = sqlc.narg(status))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(p.search, sqlc.narg(search)))
ORDER BY last_name, first_name, id;

-- name: PhysicianGet :one
SELECT
    p.id, p.created_at, p.department_id AS department, d.name AS department_name, p.email, p.first_name, p.first_name_ar,
    p.full_name, p.hospital_id AS hospital, h.name AS hospital_name, p.last_name, p.last_name_ar,
    p.license_number, p.phone, p.specialization, p.status, p.updated_at
FROM physicians p
JOIN hospitals h ON h.id = p.hospital_id
LEFT JOIN departments d ON d.id = p.department_id
WHERE p.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR p.hospital_id = sqlc.narg(scope));

-- name: PhysicianLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    first_name, last_name, first_name_ar, last_name_ar, license_number, specialization, hospital_id, department_id,
    phone, email, status, id
FROM physicians p
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR p.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: PhysicianInsert :exec
INSERT INTO physicians (
    first_name, last_name, first_name_ar, last_name_ar, license_number, specialization, hospital_id, department_id,
    phone, email, status, id
) VALUES (
    @first_name, @last_name, @first_name_ar, @last_name_ar, @license_number, @specialization, @hospital, @department,
    @phone, @email, @status, @id
);

-- name: PhysicianUpdate :exec
UPDATE physicians
SET first_name = @first_name, last_name = @last_name, first_name_ar = @first_name_ar, last_name_ar = @last_name_ar,
    license_number = @license_number, specialization = @specialization, hospital_id = @hospital,
    department_id = @department, phone = @phone, email = @email, status = @status,
    updated_at = now()
WHERE id = @id;

-- name: PhysicianDelete :exec
DELETE FROM physicians WHERE id = @id;

-- name: PhysicianByLicense :many
-- Looks up the physicians that events name.
SELECT id, hospital_id, license_number
FROM physicians
WHERE hospital_id = ANY (@hospitals::uuid[]) AND license_number = ANY (@licenses::text[]);
