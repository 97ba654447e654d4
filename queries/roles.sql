-- name: RoleList :many
SELECT
    r.id, r.created_at, r.description, r.name, r.updated_at
FROM roles r
WHERE (sqlc.narg(search)::text IS NULL OR search_matches(fold(r.name), sqlc.narg(search)))
ORDER BY /* ordering */ r.id
LIMIT @page_size OFFSET @page_offset;

-- name: RoleCount :one
SELECT count(*)
FROM roles r
WHERE (sqlc.narg(search)::text IS NULL OR search_matches(fold(r.name), sqlc.narg(search)));

-- name: RoleGet :one
SELECT
    r.id, r.created_at, r.description, r.name, r.updated_at
FROM roles r
WHERE r.id = @id;
