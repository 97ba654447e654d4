-- Of a search, the two longest terms are conditions for an index: few names have both a frequent first name and a frequent last
-- name. Each term is one condition, so that Postgres expects as many rows as there are.
CREATE OR REPLACE FUNCTION search_matches(document text, query text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN document LIKE coalesce((search_patterns(query))[1], '%')
    AND CASE WHEN cardinality(search_patterns(query)) > 1 THEN document LIKE (search_patterns(query))[2] ELSE true END
    AND CASE WHEN cardinality(search_patterns(query)) > 2 THEN document LIKE ALL ((search_patterns(query))[3:]) ELSE true END;
