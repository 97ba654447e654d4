DROP FUNCTION config_principal(bytea[], text, bigint, bigint, bigint);
DROP FUNCTION user_principal(uuid, integer, text, bigint, bigint, bigint);
DROP FUNCTION rate_limit_take_all(text[], bigint[], bigint[], bigint[]);
DROP FUNCTION rate_limit_take(text, bigint, bigint, bigint);
DROP TABLE rate_limit_blocks;
DROP TABLE rate_limits;
