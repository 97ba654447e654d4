DROP TABLE patients;
DROP TABLE physicians;
DROP TABLE user_roles;
ALTER TABLE users DROP CONSTRAINT users_department_id_fkey;
DROP TABLE departments;
DROP TABLE used_refresh_tokens;
DROP TABLE users;
DROP TABLE roles;
DROP TABLE hospitals;
