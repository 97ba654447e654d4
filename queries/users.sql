-- name: UserList :many
SELECT
    u.id, u.created_at, u.department_id AS department, d.name AS department_name, u.email, u.employee_id, u.first_name,
    u.full_name,
    ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id)::uuid[] AS groups,
    u.hospital_id AS hospital, h.name AS hospital_name, u.is_active, u.language, u.last_login, u.last_name,
    u.phone,
    ARRAY(SELECT o.name FROM user_roles r JOIN roles o ON o.id = r.role_id WHERE r.user_id = u.id ORDER BY o.id)::text[] AS roles,
    u.updated_at, u.username
FROM users u
LEFT JOIN hospitals h ON h.id = u.hospital_id
LEFT JOIN departments d ON d.id = u.department_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR u.hospital_id = sqlc.narg(scope) OR u.id = sqlc.narg(self)::uuid)
  AND (sqlc.narg(is_active)::boolean IS NULL OR u.is_active = sqlc.narg(is_active))
  AND (sqlc.narg(hospital)::uuid IS NULL OR u.hospital_id = sqlc.narg(hospital))
  AND (sqlc.narg(department)::uuid IS NULL OR u.department_id = sqlc.narg(department))
  AND (sqlc.narg(groups)::uuid IS NULL OR EXISTS (SELECT FROM user_roles r WHERE r.user_id = u.id AND r.role_id = sqlc.narg(groups)))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(u.search, sqlc.narg(search)))
ORDER BY username, id;

-- name: UserGet :one
SELECT
    u.id, u.created_at, u.department_id AS department, d.name AS department_name, u.email, u.employee_id, u.first_name,
    u.full_name,
    ARRAY(SELECT r.role_id FROM user_roles r WHERE r.user_id = u.id ORDER BY r.role_id)::uuid[] AS groups,
    u.hospital_id AS hospital, h.name AS hospital_name, u.is_active, u.language, u.last_login, u.last_name,
    u.phone,
    ARRAY(SELECT o.name FROM user_roles r JOIN roles o ON o.id = r.role_id WHERE r.user_id = u.id ORDER BY o.id)::text[] AS roles,
    u.updated_at, u.username
FROM users u
LEFT JOIN hospitals h ON h.id = u.hospital_id
LEFT JOIN departments d ON d.id = u.department_id
WHERE u.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR u.hospital_id = sqlc.narg(scope) OR u.id = sqlc.narg(self)::uuid);

-- name: UserLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    password, username, email, first_name, last_name, phone, employee_id, language, hospital_id, department_id,
    is_active, id
FROM users u
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR u.hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: UserLockName :exec
-- Locks a user and the one that has the name that they are to have: two users who swap their names wait for each other
-- in this order.
SELECT FROM users u
WHERE u.username = @username OR u.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR u.hospital_id = sqlc.narg(scope))
ORDER BY u.id
FOR NO KEY UPDATE;

-- name: UserInsert :exec
INSERT INTO users (
    password, username, email, first_name, last_name, phone, employee_id, language, hospital_id, department_id,
    is_active, id
) VALUES (
    @password, @username, @email, @first_name, @last_name, @phone, @employee_id, @language, @hospital, @department,
    @is_active, @id
);

-- name: UserUpdate :exec
UPDATE users
SET password = @password, username = @username, email = @email, first_name = @first_name, last_name = @last_name,
    phone = @phone, employee_id = @employee_id, language = @language, hospital_id = @hospital,
    department_id = @department, is_active = @is_active,
    updated_at = now()
WHERE id = @id;

-- name: UserDelete :exec
DELETE FROM users WHERE id = @id;

-- name: UserForLogin :one
SELECT id, password, is_active, token_version, username, hospital_id, first_name, last_name, email
FROM users
WHERE username = @username;

-- name: UserPrincipal :one
-- Returns the user of a token, and counts the call against the rate limits of these keys, in this order; with
-- of_hospital, the user's hospital takes the place of {hospital} in them. The call counts only if the token is valid and,
-- with members_only, the user is a PX Admin, or belongs to a hospital and has one of the roles, if any are given: no
-- refused call uses up a limit.
SELECT
    u.id, u.username, u.hospital_id, u.department_id, u.is_active, u.token_version, u.roles::text[] AS roles,
    (CASE WHEN cardinality(@keys::text[]) > 0 AND u.is_active AND u.token_version = @token_version::integer
               AND (NOT @members_only::boolean OR 'PX Admin' = ANY (u.roles)
                    OR u.hospital_id IS NOT NULL AND (coalesce(cardinality(@member_roles::text[]), 0) = 0 OR u.roles::text[] && @member_roles))
        THEN rate_limits_take(
            CASE WHEN @of_hospital::boolean
                THEN ARRAY(
                    SELECT replace(k, '{hospital}', CASE WHEN u.hospital_id IS NULL OR 'PX Admin' = ANY (u.roles) THEN 'all' ELSE u.hospital_id::text END)
                    FROM unnest(@keys) k)
                ELSE @keys END,
            @numbers::bigint[])
    END)::bigint[] AS limits
FROM (
    SELECT
        v.id, v.username, v.hospital_id, v.department_id, v.is_active, v.token_version,
        ARRAY(SELECT o.name FROM user_roles r JOIN roles o ON o.id = r.role_id WHERE r.user_id = v.id) AS roles
    FROM users v
    WHERE v.id = @id::uuid
    OFFSET 0 -- an optimization fence: the roles are read once, and the generic plan is as cheap as a custom one
) u;

-- name: UserPassword :one
SELECT password FROM users WHERE id = @id FOR NO KEY UPDATE;

-- name: UserSetPassword :exec
-- Revokes all tokens of the user.
UPDATE users SET password = @password, token_version = token_version + 1, updated_at = now() WHERE id = @id;

-- name: UserLoggedIn :exec
-- Stores the time of the login and the rehashed password, if there is one, unless the password was
-- changed since it was verified.
UPDATE users SET last_login = now(), password = coalesce(sqlc.narg(password), password)
WHERE id = @id AND token_version = @token_version;

-- name: UserEndTokens :execrows
-- Revokes all tokens of the user; with a version, only if that is still the current one.
UPDATE users SET token_version = token_version + 1
WHERE id = @id AND token_version = coalesce(sqlc.narg(token_version), token_version);

-- name: UserRoles :many
SELECT o.name FROM user_roles r JOIN roles o ON o.id = r.role_id WHERE r.user_id = @id;

-- name: UserAddRole :execrows
INSERT INTO user_roles (user_id, role_id) VALUES (@user_id, @role_id) ON CONFLICT DO NOTHING;

-- name: UserRemoveRole :execrows
DELETE FROM user_roles WHERE user_id = @user_id AND role_id = @role_id;

-- name: UserLockAdmins :exec
-- Serializes the removal of PX Admins. It is a statement of its own, before the count: a statement that
-- waited for the lock would count with a snapshot from before.
SELECT FROM roles WHERE name = 'PX Admin' FOR NO KEY UPDATE;

-- name: UserOtherAdmins :one
-- Returns the number of other active PX Admins.
SELECT count(*)
FROM user_roles r
JOIN roles o ON o.id = r.role_id AND o.name = 'PX Admin'
JOIN users u ON u.id = r.user_id
WHERE u.is_active AND u.id <> @id;

-- name: UserAddAdmin :exec
INSERT INTO user_roles (user_id, role_id) SELECT @user_id, id FROM roles WHERE name = 'PX Admin';
