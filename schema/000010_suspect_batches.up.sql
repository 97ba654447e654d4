-- Batches of events that failed for a reason of an event's own, or that ended with their worker's process: of the
-- encounters, the events up to last_seq are applied one by one instead of in another batch. A new worker also adds each
-- batch before it applies it, and deletes it in the batch's transaction. The table is nearly always empty.
--
-- Unlogged: a crash of the database empties it, which costs no more than that a batch fails once again.
CREATE UNLOGGED TABLE suspect_batches (
    id         uuid        PRIMARY KEY,
    encounters text[]      NOT NULL,
    last_seq   bigint      NOT NULL,
    marked_at  timestamptz NOT NULL DEFAULT now()
);
