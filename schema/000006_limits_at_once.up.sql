-- A call may count under several limits. Now the statement that asks who is calling counts it under all of
-- them, so that limits cost a request no round trip of their own, one that sends events included.
--
-- rate_limit_take_all, user_principal and config_principal stay for the processes of the version before.

-- rate_limits_take takes from several limits, or from none of them if one refuses. Element i of each list
-- belongs together. The keys must be sorted, so that two callers cannot each wait for the other, and only the
-- last may cost more than 1. Once a limit has refused, those after it are only looked at. It returns for each
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
