DROP FUNCTION search_matches(text, text);
CREATE OR REPLACE FUNCTION search_patterns(query text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN coalesce((
    SELECT array_agg('%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%' ORDER BY length(term) DESC, term)
    FROM regexp_split_to_table(fold(query), '[\s,]+') AS term
    WHERE term <> ''), '{}');
