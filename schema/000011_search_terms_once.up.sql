-- Of a search, each term counts once, and of more than ten the first ten: every term is compared with every row.
CREATE OR REPLACE FUNCTION search_patterns(query text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
BEGIN
    RETURN coalesce((
        SELECT array_agg('%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%' ORDER BY length(term) DESC, term)
        FROM (
            SELECT term
            FROM regexp_split_to_table(fold(query), '[\s,]+') WITH ORDINALITY AS split (term, place)
            WHERE term <> ''
            GROUP BY term
            ORDER BY min(place)
            LIMIT 10) AS counted), '{}');
END
$$;
