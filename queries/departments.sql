-- name: DepartmentList :many
SELECT
    d.id, d.code, d.created_at, d.hospital_id AS hospital, h.name AS hospital_name, d.location,
    d.manager_id AS manager, m.full_name AS manager_name, d.name, d.name_ar, d.parent_id AS parent,
    p.name AS parent_name, d.phone, d.status, d.updated_at
FROM departments d
JOIN hospitals h ON h.id = d.hospital_id
LEFT JOIN departments p ON p.id = d.parent_id
LEFT JOIN users m ON m.id = d.manager_id AND (m.hospital_id = d.hospital_id OR m.hospital_id IS NULL)
WHERE (sqlc.narg(scope)::uuid IS NULL OR d.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(hospital)::uuid IS NULL OR d.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(parent)::uuid IS NULL OR d.parent_id = sqlc.narg(parent))
  AND (sqlc.narg(status)::text IS NULL OR d.status = sqlc.narg(status))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(d.search, sqlc.narg(search)))
ORDER BY name, id;

-- name: DepartmentGet :one
SELECT
    d.id, d.code, d.created_at, d.hospital_id AS hospital, h.name AS hospital_name, d.location,
    d.manager_id AS manager, m.full_name AS manager_name, d.name, d.name_ar, d.parent_id AS parent,
    p.name AS parent_name, d.phone, d.status, d.updated_at
FROM departments d
JOIN hospitals h ON h.id = d.hospital_id
LEFT JOIN departments p ON p.id = d.parent_id
LEFT JOIN users m ON m.id = d.manager_id AND (m.hospital_id = d.hospital_id OR m.hospital_id IS NULL)
WHERE d.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR d.hospital_id = sqlc.narg(scope));

-- name: DepartmentLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    hospital_id, name, name_ar, code, parent_id, manager_id, phone, location, status, id
FROM departments d
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR d.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: DepartmentInsert :exec
INSERT INTO departments (
    hospital_id, name, name_ar, code, parent_id, manager_id, phone, location, status, id
) VALUES (
    @hospital, @name, @name_ar, @code, @parent, @manager, @phone, @location, @status, @id
);

-- name: DepartmentUpdate :exec
UPDATE departments
SET hospital_id = @hospital, name = @name, name_ar = @name_ar, code = @code, parent_id = @parent,
    manager_id = @manager, phone = @phone, location = @location, status = @status,
    updated_at = now()
WHERE id = @id;

-- name: DepartmentDelete :exec
DELETE FROM departments WHERE id = @id;

-- name: DepartmentLockManaged :exec
-- Locks the departments that a user manages, before the user is deleted: a department that is being deleted looks for
-- its users, and a user for the departments.
SELECT FROM departments WHERE manager_id = @manager::uuid ORDER BY id FOR KEY SHARE;

-- name: DepartmentIsBelow :one
-- Reports whether the department is or is below the other, so that it cannot become its parent.
WITH RECURSIVE above AS (
    SELECT d.id, d.parent_id FROM departments d WHERE d.id = @department::uuid
    UNION
    SELECT d.id, d.parent_id FROM departments d JOIN above ON d.id = above.parent_id
)
SELECT EXISTS (SELECT FROM above WHERE above.id = @above::uuid);

-- name: DepartmentByCode :many
-- Looks up the departments that events name.
SELECT id, hospital_id, code
FROM departments
WHERE hospital_id = ANY (@hospitals::uuid[]) AND code = ANY (@codes::text[]);
