DROP FUNCTION rate_limits_take(text[], bigint[], bigint[], bigint[]);
