DROP INDEX events_unapplied_idx;
