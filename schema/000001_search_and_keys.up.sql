-- Functions that the tables and queries use, for text search and for primary keys.

-- Search ignores case and the differences between interchangeable Arabic letter forms: fold() normalizes
-- both the stored text and the search terms.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- Lower case; hamza and madda carriers to alef, alef maqsura to ya, ta marbuta to ha; tatweel and
-- diacritics dropped (translate() deletes what has no counterpart).
CREATE FUNCTION fold(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(translate(value,
    U&'\0623\0625\0622\0671\0649\0629\0640\064B\064C\064D\064E\064F\0650\0651\0652\0653\0654\0655\0670',
    U&'\0627\0627\0627\0627\064A\0647'));

-- The LIKE patterns of a search: terms split at white space and commas, folded, with the wildcards
-- of LIKE escaped. The longest comes first, because it is the most selective one for an index.
CREATE FUNCTION search_patterns(query text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN coalesce((
    SELECT array_agg('%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%' ORDER BY length(term) DESC, term)
    FROM regexp_split_to_table(fold(query), '[\s,]+') AS term
    WHERE term <> ''), '{}');

-- A UUID of version 7 (RFC 9562): 48 bits of milliseconds, the rest random, so that keys made one
-- after the other are adjacent in an index.
CREATE FUNCTION uuid7() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN encode(
    set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid;
