-- name: ReferenceMissing :many
-- Returns which of these references, pairs of a noun and an id in parallel arrays, do not exist or are
-- invisible to the caller. Users of one hospital cannot see the rows of another.
SELECT r.i::integer AS i
FROM (SELECT unnest(@positions::integer[]) AS i, unnest(@nouns::text[]) AS noun, unnest(@ids::uuid[]) AS id) r
WHERE NOT CASE r.noun
    WHEN 'hospital' THEN EXISTS (SELECT FROM hospitals x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.id = sqlc.narg(scope)))
    WHEN 'department' THEN EXISTS (SELECT FROM departments x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'user' THEN EXISTS (SELECT FROM users x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope) OR x.id = sqlc.narg(self)::uuid))
    WHEN 'role' THEN EXISTS (SELECT FROM roles x WHERE x.id = r.id)
    WHEN 'physician' THEN EXISTS (SELECT FROM physicians x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'patient' THEN EXISTS (SELECT FROM patients x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.primary_hospital_id = sqlc.narg(scope)))
    WHEN 'survey_template' THEN EXISTS (SELECT FROM survey_templates x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'journey_template' THEN EXISTS (SELECT FROM journey_templates x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'stage_template' THEN EXISTS (SELECT FROM stage_templates x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'journey_instance' THEN EXISTS (SELECT FROM journey_instances x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'stage_instance' THEN EXISTS (SELECT FROM stage_instances x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'survey_instance' THEN EXISTS (SELECT FROM surveys x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'action' THEN EXISTS (SELECT FROM actions x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'webhook_endpoint' THEN EXISTS (SELECT FROM webhook_endpoints x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'webhook_message' THEN EXISTS (SELECT FROM webhook_messages m JOIN webhook_endpoints x ON x.id = m.endpoint_id WHERE m.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    WHEN 'config' THEN EXISTS (SELECT FROM integration_configs x WHERE x.id = r.id AND (sqlc.narg(scope)::uuid IS NULL OR x.hospital_id = sqlc.narg(scope)))
    ELSE false
END;
