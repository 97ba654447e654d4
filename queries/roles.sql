-- name: RoleList :many
SELECT
    r.id, r.created_at, r.description, r.name, r.updated_at
FROM roles r
WHERE (sqlc.narg(search)::text IS NULL OR search_matches(fold(r.name), sqlc.narg(search)))
ORDER BY id;

-- name: RoleGet :one
SELECT
    r.id, r.created_at, r.description, r.name, r.updated_at
FROM roles r
WHERE r.id = @id;
