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
