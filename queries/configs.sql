-- name: ConfigList :many
SELECT
    c.id, c.api_url, c.config_json, c.created_at, c.description, c.hospital_id AS hospital, h.name AS hospital_name, 
    c.is_active, c.name, c.source_system, c.updated_at
FROM integration_configs c
LEFT JOIN hospitals h ON h.id = c.hospital_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(id)::uuid IS NULL OR c.id = sqlc.narg(id))
  AND (sqlc.narg(source_system)::text IS NULL OR c.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(hospital)::uuid IS NULL OR c.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR c.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(search)::text IS NULL OR c.search LIKE ALL (search_patterns(sqlc.narg(search))))
ORDER BY /* ordering */ c.id DESC
LIMIT @page_size OFFSET @page_offset;

-- name: ConfigCount :one
SELECT count(*)
FROM integration_configs c
WHERE (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(id)::uuid IS NULL OR c.id = sqlc.narg(id))
  AND (sqlc.narg(source_system)::text IS NULL OR c.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(hospital)::uuid IS NULL OR c.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR c.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(search)::text IS NULL OR c.search LIKE ALL (search_patterns(sqlc.narg(search))));

-- name: ConfigLock :one
-- The writable columns, for a change to start from.
SELECT
    name, source_system, hospital_id, description, api_url, api_key_hash, is_active, config_json, id
FROM integration_configs c
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope))
FOR UPDATE;

-- name: ConfigInsert :exec
INSERT INTO integration_configs (
    name, source_system, hospital_id, description, api_url, api_key_hash, is_active, config_json, id
) VALUES (
    @name, @source_system, @hospital, @description, @api_url, @api_key_hash, @is_active, @config_json, @id
);

-- name: ConfigUpdate :exec
UPDATE integration_configs
SET name = @name, source_system = @source_system, hospital_id = @hospital, description = @description,
    api_url = @api_url, api_key_hash = @api_key_hash, is_active = @is_active, config_json = @config_json,
    updated_at = now()
WHERE id = @id;

-- name: ConfigDelete :exec
DELETE FROM integration_configs WHERE id = @id;

-- name: ConfigPrincipal :one
-- Which active config an API key belongs to, and what is left to it under a rate limit; see the function.
SELECT
    p.id::uuid AS id, p.name::text AS name, p.source_system::text AS source_system, p.hospital_id, p.api_key_hash::bytea AS api_key_hash,
    p.remaining::bigint AS remaining, p.reset::bigint AS reset, p.wait::bigint AS wait
FROM config_principal(@api_key_hashes::bytea[], sqlc.narg(policy)::text, @cost::bigint, @quota::bigint, @window_us::bigint) p
WHERE p.id IS NOT NULL;
