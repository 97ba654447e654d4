DROP FUNCTION rate_limits_take(text[], bigint[]);
ALTER TABLE rate_limits DROP COLUMN refilled_at;
