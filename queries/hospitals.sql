-- name: HospitalList :many
SELECT
    h.id, h.address, h.capacity, h.city, h.code, h.created_at, h.email, h.license_number, h.name, h.name_ar, h.phone,
    h.status, h.updated_at
FROM hospitals h
WHERE (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
  AND (sqlc.narg(status)::text IS NULL OR h.status = sqlc.narg(status))
  AND (sqlc.narg(city)::text IS NULL OR h.city = sqlc.narg(city))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(h.search, sqlc.narg(search)))
ORDER BY /* ordering */ h.name, h.id
LIMIT @page_size OFFSET @page_offset;

-- name: HospitalCount :one
SELECT count(*)
FROM hospitals h
WHERE (sqlc.narg(scope)::uuid IS NULL OR h.id = sqlc.narg(scope))
  AND (sqlc.narg(status)::text IS NULL OR h.status = sqlc.narg(status))
  AND (sqlc.narg(city)::text IS NULL OR h.city = sqlc.narg(city))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(h.search, sqlc.narg(search)));

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
FOR UPDATE;

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
