-- A sliding window log: for each key, the time of each admitted call that is still in the window. An exact
-- sliding window needs all of them. A small limit is one row. The calls of a large one form a FIFO queue in
-- blocks: new calls are appended to newest, which is moved to rate_limit_blocks when it is full, and calls
-- expire from oldest, which is replaced by the next block when it is empty. So the cost of a call does not
-- depend on the limit, and no row grows so large that Postgres would store it out of line (TOAST).
--
-- Unlogged: a crash truncates both tables, so that every limit starts anew; and a commit that wrote nothing
-- else does not wait for the disk.
CREATE UNLOGGED TABLE rate_limits (
    key         text          COLLATE "C" PRIMARY KEY, -- policy and whom it is about: 'user <id>'
    oldest      timestamptz[] NOT NULL DEFAULT '{}',
    newest      timestamptz[] NOT NULL DEFAULT '{}',
    first_block bigint        NOT NULL DEFAULT 0, -- of those that follow oldest
    next_block  bigint        NOT NULL DEFAULT 0, -- the number that the next one gets
    expires_at  timestamptz   NOT NULL DEFAULT now() -- when the last call leaves the window and the row means nothing
) WITH (
    -- Every call updates its row. With free space on the page and no indexed column changed it is a HOT update,
    -- whose dead row versions are pruned by later calls instead of by a vacuum.
    fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000
);

CREATE UNLOGGED TABLE rate_limit_blocks (
    key    text          COLLATE "C" NOT NULL,
    number bigint        NOT NULL,
    calls  timestamptz[] NOT NULL, -- 64
    PRIMARY KEY (key, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- rate_limit_take admits a call that costs so much, and counts it, if no more than quota are then counted
-- within the window that ends now; otherwise it changes nothing. With cost 0 it only reads. It returns
-- what remains, after how long the oldest call leaves the window, and how long this call (with cost 0:
-- one of cost 1) would have to wait: 0 if it need not. All times are microseconds.
--
-- The row lock serializes concurrent calls of one key, and the clock is read while it is held. Volatile, so
-- that each statement sees what was committed before it.
CREATE FUNCTION rate_limit_take(
    key text, cost bigint, quota bigint, window_us bigint, OUT remaining bigint, OUT reset bigint, OUT wait bigint
) LANGUAGE plpgsql VOLATILE STRICT
-- The plans never depend on the values, and planning each call would be half the cost.
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

-- rate_limits_take takes from several limits, or from none of them if one refuses. Element i of each list
-- belongs together. The keys must be sorted, so that concurrent callers cannot deadlock, and only the
-- last may cost more than 1. Once a limit has refused, those after it are only read. It returns for each
-- limit in turn what rate_limit_take does: what remains, the reset and the wait.
CREATE FUNCTION rate_limits_take(keys text[], costs bigint[], quotas bigint[], windows_us bigint[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE STRICT
SET plan_cache_mode TO force_generic_plan
AS $$
DECLARE
    block   CONSTANT integer := 64; -- as in rate_limit_take
    span    interval;
    taken   bigint[];
    answer  bigint[] := '{}';
    refused boolean := false;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        taken := NULL;
        -- Most calls are admitted and move nothing from one part of the queue to the next. For those one
        -- statement does it all. Each clock_timestamp() here is read with the row locked, and a later reading
        -- only ever counts fewer calls.
        IF costs[i] = 1 AND NOT refused THEN
            span := windows_us[i] * interval '1 microsecond';
            UPDATE rate_limits r
            SET oldest = r.oldest[1 + width_bucket(clock_timestamp() - span, r.oldest):],
                newest = r.newest || clock_timestamp(),
                expires_at = clock_timestamp() + span
            WHERE r.key = keys[i]
              AND cardinality(r.newest) BETWEEN 1 AND block - 1
              AND r.newest[cardinality(r.newest)] <= clock_timestamp()
              AND coalesce(r.oldest[cardinality(r.oldest)], r.newest[1]) > clock_timestamp() - span
              AND cardinality(r.oldest) - width_bucket(clock_timestamp() - span, r.oldest)
                  + (r.next_block - r.first_block) * block + cardinality(r.newest) < quotas[i]
            RETURNING ARRAY[
                quotas[i] - cardinality(r.oldest) - (r.next_block - r.first_block) * block - cardinality(r.newest),
                (date_part('epoch', coalesce(r.oldest[1], r.newest[1]) + span - clock_timestamp()) * 1000000)::bigint, 0]
            INTO taken;
        END IF;
        IF taken IS NULL THEN
            SELECT ARRAY[t.remaining, t.reset, t.wait] INTO taken
            FROM rate_limit_take(keys[i], CASE WHEN refused THEN 0 ELSE costs[i] END, quotas[i], windows_us[i]) t;
        END IF;
        answer := answer || taken;
        IF taken[3] > 0 AND NOT refused THEN
            refused := true;
            -- Gives back what was taken so far. The rows are locked since, so it is what was put there last.
            FOR j IN 1 .. i - 1 LOOP
                IF costs[j] > 0 THEN
                    UPDATE rate_limits r SET newest = trim_array(r.newest, 1) WHERE r.key = keys[j];
                    answer[3 * j - 2] := answer[3 * j - 2] + 1;
                END IF;
            END LOOP;
        END IF;
    END LOOP;
    RETURN answer;
END
$$;
