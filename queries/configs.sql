-- name: ConfigList :many
SELECT
    c.id, c.api_url, c.config_json, c.created_at, c.description, c.hospital_id AS hospital, h.name AS hospital_name,
    ARRAY(SELECT m.hospital_id FROM integration_config_hospitals m WHERE m.config_id = c.id ORDER BY m.hospital_id)::uuid[] AS hospitals,
    c.is_active, c.name, c.source_system, c.updated_at
FROM integration_configs c
LEFT JOIN hospitals h ON h.id = c.hospital_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(source_system)::text IS NULL OR c.source_system = sqlc.narg(source_system))
  AND (sqlc.narg(hospital)::uuid IS NULL OR c.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(is_active)::boolean IS NULL OR c.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(c.search, sqlc.narg(search)))
ORDER BY id DESC;

-- name: ConfigGet :one
SELECT
    c.id, c.api_url, c.config_json, c.created_at, c.description, c.hospital_id AS hospital, h.name AS hospital_name,
    ARRAY(SELECT m.hospital_id FROM integration_config_hospitals m WHERE m.config_id = c.id ORDER BY m.hospital_id)::uuid[] AS hospitals,
    c.is_active, c.name, c.source_system, c.updated_at
FROM integration_configs c
LEFT JOIN hospitals h ON h.id = c.hospital_id
WHERE c.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope));

-- name: ConfigLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    id, ARRAY(SELECT m.hospital_id FROM integration_config_hospitals m WHERE m.config_id = c.id ORDER BY m.hospital_id)::uuid[] AS hospitals,
    name, source_system, hospital_id, description, api_url, api_key_hash, is_active, config_json
FROM integration_configs c
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR c.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: ConfigInsert :exec
WITH config AS (
    INSERT INTO integration_configs (
        name, source_system, hospital_id, description, api_url, api_key_hash, is_active, config_json, id
    ) VALUES (
        @name, @source_system, @hospital, @description, @api_url, @api_key_hash, @is_active, @config_json, @id
    )
)
INSERT INTO integration_config_hospitals (config_id, hospital_id)
SELECT DISTINCT @id, m FROM unnest(@hospitals::uuid[]) m;

-- name: ConfigUpdate :exec
WITH config AS (
    UPDATE integration_configs
    SET name = @name, source_system = @source_system, hospital_id = @hospital, description = @description,
        api_url = @api_url, api_key_hash = @api_key_hash, is_active = @is_active, config_json = @config_json,
        updated_at = now()
    WHERE id = @id
), gone AS (
    DELETE FROM integration_config_hospitals WHERE config_id = @id AND hospital_id <> ALL (@hospitals::uuid[])
)
INSERT INTO integration_config_hospitals (config_id, hospital_id)
SELECT DISTINCT @id, m FROM unnest(@hospitals::uuid[]) m
ON CONFLICT DO NOTHING;

-- name: ConfigDelete :exec
DELETE FROM integration_configs WHERE id = @id;

-- name: ConfigHasKey :one
-- Reports whether another config has an API key with one of these hashes.
SELECT EXISTS (SELECT FROM integration_configs WHERE api_key_hash = ANY (@hashes::bytea[]) AND id <> @id);

-- name: ConfigPrincipal :one
-- Returns the active config of an API key, and counts the call against the rate limits of these policies, in this
-- order. Whom each is about depends on the config: its hospital and source system for the policy events, its source
-- system for the policy source, its id for any other.
SELECT
    c.id, c.name, c.source_system, c.hospital_id, c.api_key_hash,
    ARRAY(SELECT m.hospital_id FROM integration_config_hospitals m WHERE m.config_id = c.id)::uuid[] AS hospitals,
    (CASE WHEN cardinality(@policies::text[]) > 0
        THEN rate_limits_take(
            ARRAY(
                SELECT p || ' ' || CASE p
                    WHEN 'events' THEN coalesce(c.hospital_id::text, 'all') || ' ' || c.source_system
                    WHEN 'source' THEN c.source_system
                    ELSE c.id::text END
                FROM unnest(@policies) p),
            @numbers::bigint[])
    END)::bigint[] AS limits
FROM integration_configs c
WHERE c.api_key_hash IN (@hash::bytea, @previous_hash::bytea) AND c.is_active;
