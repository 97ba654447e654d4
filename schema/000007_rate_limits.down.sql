DROP FUNCTION rate_limits_take(text[], bigint[], bigint[], bigint[]);
DROP FUNCTION rate_limit_take(text, bigint, bigint, bigint);
DROP TABLE rate_limit_blocks;
DROP TABLE rate_limits;
