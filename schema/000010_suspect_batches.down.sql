DROP TABLE suspect_batches;
