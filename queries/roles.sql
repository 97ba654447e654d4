-- name: RoleList :many
SELECT
    r.id, r.created_at, r.description, r.name, r.updated_at
FROM roles r
WHERE (sqlc.narg(id)::uuid IS NULL OR r.id = sqlc.narg(id))
  AND (sqlc.narg(search)::text IS NULL OR fold(r.name) LIKE ALL (search_patterns(sqlc.narg(search))))
ORDER BY /* ordering */ r.id
LIMIT @page_size OFFSET @page_offset;

-- name: RoleCount :one
SELECT count(*)
FROM roles r
WHERE (sqlc.narg(id)::uuid IS NULL OR r.id = sqlc.narg(id))
  AND (sqlc.narg(search)::text IS NULL OR fold(r.name) LIKE ALL (search_patterns(sqlc.narg(search))));
