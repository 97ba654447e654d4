DROP FUNCTION uuid7();
DROP FUNCTION search_patterns(text);
DROP FUNCTION fold(text);
DROP EXTENSION IF EXISTS pg_trgm;
