-- A limit may also bound the bytes that its calls bring along, by a token bucket (GCRA): it holds what a window may
-- bring, and refills at that rate. Its state is one time, so that the call's row need not grow.
ALTER TABLE rate_limits ADD COLUMN refilled_at timestamptz NOT NULL DEFAULT 'epoch'; -- when the bucket is full again

-- rate_limits_take is as before, with bytes, and with five numbers for each key in turn: the cost, the quota, the window,
-- how long the bucket takes to make up for the bytes of this call, and how long an empty one takes to fill; all times are
-- microseconds. A call that has nothing to be made up for counts no bytes. The keys must have one order for all callers,
-- and only the last may cost more than 1, then without bytes. It returns five numbers for each key: what remains, the
-- reset and the wait, then after how long the bucket is full, and how long this call has to wait for it.
--
-- The function of four lists stays for servers of the version before.
CREATE FUNCTION rate_limits_take(keys text[], numbers bigint[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE STRICT
SET plan_cache_mode TO force_generic_plan
AS $$
DECLARE
    block   CONSTANT integer := 64; -- as in rate_limit_take
    n       integer; -- before the numbers of a key
    span    interval;
    refill  interval;
    level   bigint; -- what the bucket lacks, as the time that it takes to refill
    taken   bigint[];
    answer  bigint[] := '{}';
    refused boolean := false;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        taken := NULL;
        n := 5 * i - 5;
        refill := numbers[n + 4] * interval '1 microsecond';
        -- Most calls are admitted and move nothing from one part of the queue to the next. For those one
        -- statement does it all. Each clock_timestamp() here is read with the row locked, and a later reading
        -- only ever counts fewer calls and bytes.
        IF numbers[n + 1] = 1 AND NOT refused THEN
            span := numbers[n + 3] * interval '1 microsecond';
            UPDATE rate_limits r
            SET oldest = r.oldest[1 + width_bucket(clock_timestamp() - span, r.oldest):],
                newest = r.newest || clock_timestamp(),
                refilled_at = greatest(r.refilled_at, clock_timestamp()) + refill,
                expires_at = greatest(r.refilled_at + refill, clock_timestamp() + greatest(span, refill))
            WHERE r.key = keys[i]
              AND cardinality(r.newest) BETWEEN 1 AND block - 1
              AND r.newest[cardinality(r.newest)] <= clock_timestamp()
              AND coalesce(r.oldest[cardinality(r.oldest)], r.newest[1]) > clock_timestamp() - span
              AND cardinality(r.oldest) - width_bucket(clock_timestamp() - span, r.oldest)
                  + (r.next_block - r.first_block) * block + cardinality(r.newest) < numbers[n + 2]
              AND (numbers[n + 4] = 0
                  OR greatest(r.refilled_at, clock_timestamp()) + refill <= clock_timestamp() + numbers[n + 5] * interval '1 microsecond')
            RETURNING ARRAY[
                numbers[n + 2] - cardinality(r.oldest) - (r.next_block - r.first_block) * block - cardinality(r.newest),
                (date_part('epoch', coalesce(r.oldest[1], r.newest[1]) + span - clock_timestamp()) * 1000000)::bigint, 0,
                greatest(date_part('epoch', r.refilled_at - clock_timestamp()) * 1000000, 0)::bigint, 0]
            INTO taken;
        END IF;
        IF taken IS NULL THEN
            SELECT ARRAY[t.remaining, t.reset, t.wait, 0, 0] INTO taken
            FROM rate_limit_take(keys[i], CASE WHEN refused THEN 0 ELSE numbers[n + 1] END, numbers[n + 2], numbers[n + 3]) t;
            IF numbers[n + 4] > 0 THEN
                -- The call's row is locked now, unless the call only reads.
                level := coalesce((
                    SELECT greatest(date_part('epoch', r.refilled_at - clock_timestamp()) * 1000000, 0)
                    FROM rate_limits r WHERE r.key = keys[i]), 0);
                IF level > numbers[n + 5] THEN -- the clock was set back
                    level := 0;
                END IF;
                taken[4] := level;
                taken[5] := greatest(level + numbers[n + 4] - numbers[n + 5], 0);
                IF numbers[n + 1] > 0 AND NOT refused AND taken[3] = 0 THEN
                    IF taken[5] = 0 THEN
                        taken[4] := level + numbers[n + 4];
                        UPDATE rate_limits r
                        SET refilled_at = clock_timestamp() + taken[4] * interval '1 microsecond',
                            expires_at = greatest(r.expires_at, clock_timestamp() + taken[4] * interval '1 microsecond')
                        WHERE r.key = keys[i];
                    ELSE -- the bucket refuses what was admitted and counted as a call
                        UPDATE rate_limits r SET newest = trim_array(r.newest, 1) WHERE r.key = keys[i];
                        taken[1] := taken[1] + 1;
                    END IF;
                END IF;
            END IF;
        END IF;
        answer := answer || taken;
        IF greatest(taken[3], taken[5]) > 0 AND NOT refused THEN
            refused := true;
            -- Gives back what was taken so far. The rows are locked since, so it is what was put there last.
            FOR j IN 1 .. i - 1 LOOP
                IF numbers[5 * j - 4] > 0 THEN
                    UPDATE rate_limits r
                    SET newest = trim_array(r.newest, 1), refilled_at = r.refilled_at - numbers[5 * j - 1] * interval '1 microsecond'
                    WHERE r.key = keys[j];
                    answer[5 * j - 4] := answer[5 * j - 4] + 1;
                    answer[5 * j - 1] := answer[5 * j - 1] - numbers[5 * j - 1];
                END IF;
            END LOOP;
        END IF;
    END LOOP;
    RETURN answer;
END
$$;
