-- name: PatientList :many
SELECT
    p.id, p.address, p.city, p.created_at, p.date_of_birth, p.email, p.first_name, p.first_name_ar, p.full_name, p.gender,
    p.language, p.last_name, p.last_name_ar, p.mrn, p.national_id, p.phone, p.primary_hospital_id AS primary_hospital,
    h.name AS primary_hospital_name, p.status, p.survey_opt_out, p.updated_at
FROM patients p
LEFT JOIN hospitals h ON h.id = p.primary_hospital_id
WHERE (sqlc.narg(scope)::uuid IS NULL OR p.primary_hospital_id = sqlc.narg(scope))
  AND (sqlc.narg(primary_hospital)::uuid IS NULL OR p.primary_hospital_id = sqlc.narg(primary_hospital))
  AND (sqlc.narg(gender)::text IS NULL OR p.gender = sqlc.narg(gender))
  AND (sqlc.narg(city)::text IS NULL OR p.city = sqlc.narg(city))
  AND (sqlc.narg(mrn)::text IS NULL OR p.mrn = sqlc.narg(mrn))
  AND (sqlc.narg(national_id)::text IS NULL OR p.national_id = sqlc.narg(national_id))
  AND (sqlc.narg(phone)::text IS NULL OR p.phone = sqlc.narg(phone))
  AND (sqlc.narg(status)::text IS NULL OR p.status = sqlc.narg(status))
  AND (sqlc.narg(search)::text IS NULL OR search_matches(p.search, sqlc.narg(search)))
ORDER BY last_name, first_name, id;

-- name: PatientGet :one
SELECT
    p.id, p.address, p.city, p.created_at, p.date_of_birth, p.email, p.first_name, p.first_name_ar, p.full_name, p.gender,
    p.language, p.last_name, p.last_name_ar, p.mrn, p.national_id, p.phone, p.primary_hospital_id AS primary_hospital,
    h.name AS primary_hospital_name, p.status, p.survey_opt_out, p.updated_at
FROM patients p
LEFT JOIN hospitals h ON h.id = p.primary_hospital_id
WHERE p.id = @id AND (sqlc.narg(scope)::uuid IS NULL OR p.primary_hospital_id = sqlc.narg(scope));

-- name: PatientLock :one
-- Locks the row and returns the writable columns, to which a PATCH is applied.
SELECT
    mrn, national_id, first_name, last_name, first_name_ar, last_name_ar, date_of_birth, gender, phone, email,
    address, city, primary_hospital_id, status, language, survey_opt_out, id
FROM patients p
WHERE id = @id AND (sqlc.narg(scope)::uuid IS NULL OR p.primary_hospital_id = sqlc.narg(scope))
FOR NO KEY UPDATE;

-- name: PatientLockJourneys :many
-- Locks the journeys of a patient, which are found by the patient's names: a trigger writes new ones into them.
SELECT id FROM journey_instances WHERE patient_id = @id ORDER BY id FOR NO KEY UPDATE;

-- name: PatientInsert :exec
INSERT INTO patients (
    mrn, national_id, first_name, last_name, first_name_ar, last_name_ar, date_of_birth, gender, phone, email,
    address, city, primary_hospital_id, status, language, survey_opt_out, id
) VALUES (
    @mrn, @national_id, @first_name, @last_name, @first_name_ar, @last_name_ar, @date_of_birth, @gender, @phone,
    @email, @address, @city, @primary_hospital, @status, @language, @survey_opt_out, @id
);

-- name: PatientUpdate :exec
UPDATE patients
SET mrn = @mrn, national_id = @national_id, first_name = @first_name, last_name = @last_name,
    first_name_ar = @first_name_ar, last_name_ar = @last_name_ar, date_of_birth = @date_of_birth, gender = @gender,
    phone = @phone, email = @email, address = @address, city = @city, primary_hospital_id = @primary_hospital,
    status = @status, language = @language, survey_opt_out = @survey_opt_out,
    updated_at = now()
WHERE id = @id;

-- name: PatientDelete :exec
DELETE FROM patients WHERE id = @id;
