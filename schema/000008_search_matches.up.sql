-- The LIKE patterns of a search, as before. In PL/pgSQL, which keeps the plan of the query within: the function runs
-- while a statement is planned, several times for each search.
CREATE OR REPLACE FUNCTION search_patterns(query text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
BEGIN
    RETURN coalesce((
        SELECT array_agg('%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%' ORDER BY length(term) DESC, term)
        FROM regexp_split_to_table(fold(query), '[\s,]+') AS term
        WHERE term <> ''), '{}');
END
$$;

-- Whether a folded document has all terms of a query. Inlined into the statement that calls it: the longest term
-- becomes a plain LIKE, for which Postgres can use a trigram index (it uses none for LIKE ALL of an array), and
-- the patterns are constants by the time a statement is planned with its parameters. Not STRICT, or it would not
-- be inlined.
CREATE FUNCTION search_matches(document text, query text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN document LIKE coalesce((search_patterns(query))[1], '%') AND document LIKE ALL (search_patterns(query));

-- Functions that version 6 of the schema replaced. A database that was made since does not have them.
DROP FUNCTION IF EXISTS config_principal(bytea[], text, bigint, bigint, bigint);
DROP FUNCTION IF EXISTS user_principal(uuid, integer, text, bigint, bigint, bigint);
DROP FUNCTION IF EXISTS rate_limit_take_all(text[], bigint[], bigint[], bigint[]);
