-- name: SuspectBatchInsert :exec
-- Marks a batch as one that failed, or may fail. The mark need not survive a crash of the database.
INSERT INTO suspect_batches (id, encounters, last_seq) VALUES (@id, @encounters::text[], @last_seq);

-- name: SuspectBatchDelete :exec
DELETE FROM suspect_batches WHERE id = @id;

-- name: SuspectBatchExpire :execrows
-- Deletes those whose events are all finished. Whoever holds the row of a batch is about to delete it.
DELETE FROM suspect_batches
WHERE id IN (
    SELECT b.id FROM suspect_batches b
    WHERE NOT EXISTS (
        SELECT FROM events e
        WHERE e.encounter_id = ANY (b.encounters) AND e.processed_at IS NULL AND e.seq <= b.last_seq)
    LIMIT sqlc.arg(most)::integer
    FOR UPDATE SKIP LOCKED
);

-- name: SuspectBatchSavepoint :exec
-- Keeps the locks that the transaction holds until it is rolled back: an error after the savepoint releases only those
-- that were taken since.
SAVEPOINT claimed;
