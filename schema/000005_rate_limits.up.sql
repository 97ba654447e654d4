-- The calls that count against a limit, by the time when each was admitted: a window that slides exactly
-- cannot do with less. One row per key is all there is of a small limit. The calls of a large one queue
-- through it: new ones are appended to newest, which is put aside as a block when it is full, and they
-- leave by oldest, which takes up the next block when it is empty. So a call costs the same under a limit
-- of a hundred as under one of a million, and no row grows to where it would be stored out of line.
--
-- Unlogged: a crash empties both tables, which opens every window afresh; and a commit that wrote
-- nothing else waits for no disk.
CREATE UNLOGGED TABLE rate_limits (
    key         text          COLLATE "C" PRIMARY KEY, -- policy and whom it is about: 'user <id>'
    oldest      timestamptz[] NOT NULL DEFAULT '{}',
    newest      timestamptz[] NOT NULL DEFAULT '{}',
    first_block bigint        NOT NULL DEFAULT 0, -- of those that follow oldest
    next_block  bigint        NOT NULL DEFAULT 0, -- the number that the next one gets
    expires_at  timestamptz   NOT NULL DEFAULT now() -- when the last call leaves the window and the row means nothing
) WITH (
    -- Every call rewrites its row: there must be room for that on the row's own page, and no index may
    -- change, so that what is left behind is cleaned up by the next call and not by a vacuum.
    fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000
);

CREATE UNLOGGED TABLE rate_limit_blocks (
    key    text          COLLATE "C" NOT NULL,
    number bigint        NOT NULL,
    calls  timestamptz[] NOT NULL, -- 64
    PRIMARY KEY (key, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- rate_limit_take admits a call that costs so much, and counts it, if no more than quota are then counted
-- within the window that ends now; otherwise it changes nothing. Without a cost it only looks. It tells
-- what remains, after how long the oldest call leaves the window, and how long this call (without a
-- cost: one of cost 1) would have to wait: 0 if it need not. All times are microseconds.
--
-- The row is the lock under which concurrent calls of one key come one after the other, and the clock is
-- read when it is held. Volatile, so that each statement sees what was committed before it.
CREATE FUNCTION rate_limit_take(
    key text, cost bigint, quota bigint, window_us bigint, OUT remaining bigint, OUT reset bigint, OUT wait bigint
) LANGUAGE plpgsql VOLATILE STRICT
-- The plans never depend on the values, and making them anew would be half the cost.
SET plan_cache_mode TO force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    block    CONSTANT integer := 64;
    span     CONSTANT interval := window_us * interval '1 microsecond';
    l        rate_limits;
    at       timestamptz;
    was      bigint;      -- first_block as it is stored
    gone     integer := 0;
    excess   bigint;      -- how many calls must leave before this one may come
    leaving  timestamptz; -- the last of those
BEGIN
    LOOP
        IF cost = 0 THEN
            SELECT * INTO l FROM rate_limits r WHERE r.key = rate_limit_take.key;
        ELSE
            SELECT * INTO l FROM rate_limits r WHERE r.key = rate_limit_take.key FOR NO KEY UPDATE;
        END IF;
        EXIT WHEN FOUND;
        IF cost = 0 THEN
            l := (rate_limit_take.key, '{}', '{}', 0, 0, '-infinity');
            EXIT;
        END IF;
        INSERT INTO rate_limits (key) VALUES (rate_limit_take.key) ON CONFLICT DO NOTHING;
    END LOOP;
    at := clock_timestamp();
    was := l.first_block;

    -- Forget what has left the window, and everything if the clock was set back by more than a window:
    -- nobody must wait for it to come round again.
    IF l.expires_at <= at OR l.newest[cardinality(l.newest)] > at + span THEN
        l.oldest := '{}';
        l.newest := '{}';
        l.first_block := l.next_block;
    ELSE
        at := greatest(at, l.newest[cardinality(l.newest)]); -- the arrays stay sorted
        LOOP
            gone := width_bucket(at - span, l.oldest); -- how many are not later
            EXIT WHEN gone < cardinality(l.oldest);
            IF l.first_block < l.next_block THEN
                l.oldest := coalesce((SELECT b.calls FROM rate_limit_blocks b WHERE b.key = l.key AND b.number = l.first_block), '{}');
                l.first_block := l.first_block + 1;
            ELSE
                l.oldest := l.newest;
                l.newest := '{}';
                gone := width_bucket(at - span, l.oldest);
                EXIT;
            END IF;
        END LOOP;
        IF gone > 0 THEN
            l.oldest := l.oldest[gone + 1:];
        END IF;
    END IF;

    remaining := quota - cardinality(l.oldest) - (l.next_block - l.first_block) * block - cardinality(l.newest);
    excess := greatest(cost, 1) - remaining;
    reset := coalesce(extract(epoch FROM l.oldest[1] + span - at) * 1000000, CASE WHEN cost > 0 THEN window_us ELSE 0 END);
    wait := 0;
    IF excess > 0 THEN
        remaining := greatest(remaining, 0);
        excess := excess - cardinality(l.oldest);
        leaving := CASE
            WHEN excess <= 0 THEN l.oldest[excess + cardinality(l.oldest)]
            WHEN excess <= (l.next_block - l.first_block) * block THEN (
                SELECT b.calls[(excess - 1) % block + 1]
                FROM rate_limit_blocks b
                WHERE b.key = l.key AND b.number = l.first_block + (excess - 1) / block)
            ELSE l.newest[excess - (l.next_block - l.first_block) * block]
        END;
        -- What costs more than the quota can only be told to wait for all of it.
        wait := greatest(coalesce(extract(epoch FROM leaving + span - at) * 1000000, window_us), 1);
        RETURN;
    END IF;
    IF cost = 0 THEN
        RETURN;
    END IF;

    FOR i IN 1 .. cost LOOP
        IF cardinality(l.newest) >= block THEN
            INSERT INTO rate_limit_blocks (key, number, calls) VALUES (l.key, l.next_block, l.newest)
            ON CONFLICT (key, number) DO UPDATE SET calls = excluded.calls;
            l.next_block := l.next_block + 1;
            l.newest := '{}';
        END IF;
        l.newest := l.newest || at;
    END LOOP;
    UPDATE rate_limits r
    SET oldest = l.oldest, newest = l.newest, first_block = l.first_block, next_block = l.next_block, expires_at = at + span
    WHERE r.key = l.key;
    IF l.first_block > was THEN
        DELETE FROM rate_limit_blocks b WHERE b.key = l.key AND b.number < l.first_block;
    END IF;
    remaining := remaining - cost;
END
$$;

-- rate_limit_take_all takes from several limits, or from none of them if one of them refuses. Element i of
-- each list belongs together; keys must be sorted, so that two callers cannot each wait for the other.
CREATE FUNCTION rate_limit_take_all(
    keys text[], costs bigint[], quotas bigint[], windows_us bigint[], OUT remaining bigint[], OUT resets bigint[], OUT waits bigint[]
) LANGUAGE plpgsql VOLATILE STRICT
SET plan_cache_mode TO force_generic_plan
AS $$
DECLARE
    taken record;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        SELECT * INTO taken FROM rate_limit_take(keys[i], costs[i], quotas[i], windows_us[i]);
        remaining[i] := taken.remaining;
        resets[i] := taken.reset;
        waits[i] := taken.wait;
    END LOOP;
    IF 0 < ANY (waits) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX429';
    END IF;
EXCEPTION WHEN SQLSTATE 'PX429' THEN
    -- The tables are as before. What was found out stays in the variables, and nothing was taken.
    FOR i IN 1 .. cardinality(keys) LOOP
        IF waits[i] = 0 THEN
            remaining[i] := remaining[i] + costs[i];
        END IF;
    END LOOP;
END
$$;

-- Who a token or an API key belongs to, as things stand now, and what is left to them under a rate limit
-- after a call of this cost: one round trip before every request's own. The call counts only if the
-- credential is good; without a policy nothing is counted. As plain queries these would be planned anew for
-- each request, which costs more than to run them.
CREATE FUNCTION user_principal(
    user_id uuid, version integer, policy text, cost bigint, quota bigint, window_us bigint,
    OUT id uuid, OUT username text, OUT hospital_id uuid, OUT department_id uuid, OUT is_active boolean, OUT token_version integer,
    OUT roles text[], OUT remaining bigint, OUT reset bigint, OUT wait bigint
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
AS $$
BEGIN
    SELECT
        u.id, u.username, u.hospital_id, u.department_id, u.is_active, u.token_version,
        ARRAY(SELECT o.name FROM user_roles r JOIN roles o ON o.id = r.role_id WHERE r.user_id = u.id), 0, 0, 0
    INTO id, username, hospital_id, department_id, is_active, token_version, roles, remaining, reset, wait
    FROM users u
    WHERE u.id = user_id;
    IF policy IS NOT NULL AND is_active AND token_version = version THEN
        SELECT t.remaining, t.reset, t.wait INTO remaining, reset, wait
        FROM rate_limit_take(policy || ' ' || user_id, cost, quota, window_us) t;
    END IF;
END
$$;

CREATE FUNCTION config_principal(
    hashes bytea[], policy text, cost bigint, quota bigint, window_us bigint,
    OUT id uuid, OUT name text, OUT source_system text, OUT hospital_id uuid, OUT api_key_hash bytea,
    OUT remaining bigint, OUT reset bigint, OUT wait bigint
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode TO force_generic_plan
AS $$
BEGIN
    SELECT c.id, c.name, c.source_system, c.hospital_id, c.api_key_hash, 0, 0, 0
    INTO id, name, source_system, hospital_id, api_key_hash, remaining, reset, wait
    FROM integration_configs c
    WHERE c.api_key_hash = ANY (hashes) AND c.is_active;
    IF policy IS NOT NULL AND FOUND THEN
        SELECT t.remaining, t.reset, t.wait INTO remaining, reset, wait
        FROM rate_limit_take(policy || ' ' || id, cost, quota, window_us) t;
    END IF;
END
$$;
