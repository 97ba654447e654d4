CREATE OR REPLACE FUNCTION search_matches(document text, query text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN document LIKE coalesce((search_patterns(query))[1], '%') AND document LIKE ALL (search_patterns(query));
