// Package worker applies pending events: it finds the journey of each, decides by package queries/rules, and writes all
// that follows together with the event's own outcome, in one transaction. Any number of workers, in any number of
// processes, share the queue, which is the events with status pending in the order of seq. The events of an encounter
// are applied in that order whoever applies them.
//
// # States of an event
//
//	               EventInsert
//	                    |
//	                    v
//	+--> +-----------------------------+
//	|    |           pending           | <---+
//	|    +-----------------------------+     | the attempt failed, tries < 3
//	|       |           |           |  |     | (not counted if it was no fault
//	|       | the rules | decide    |  +-----+  of the event's)
//	|       |           |           |
//	|       v           v           v        tries = 3: internal_error
//	|   processed    ignored     failed <--- (a poison event)
//	|                   |           |
//	+-------------------+-----------+
//	  EventReprocess: by hand
//	  EventRequeue: an ignored event whose journey was missing and is there now
//
// Events are applied in batches, one transaction each. If a batch fails for a reason of an event's own, which may be a
// statement that hangs or rules that loop endlessly, it is suspect: each of its events is attempted alone, whichever
// worker claims it, and each attempt is counted, in tries, before it is made. A statement of its first attempt may take a
// fifth of the statement_timeout only: the others of its batch wait for it, if it hangs, and not yet for its other
// attempts. Neither an event of a suspect batch nor one with tries > 0 is part of a batch; the later events of its
// encounter wait for it, and nobody else's do. Failures that are no fault of an event's (see transient) are retried in one
// place, the poller's loop, with backoff; a count that such a failure left behind is taken back first (see uncount).
//
// A suspect batch is marked by a row of suspect_batches, which another connection commits before the batch's transaction
// gives up its encounters. A worker that has just started marks a batch before it applies it, and unmarks it in the batch's
// transaction: if an event ends the process, the mark is there when the process is started again. Until then it may end
// one process for each worker that has run for longer. In a backlog only its first batches are marked so. Nothing tells a marked batch under way from one that
// failed, nor need it: who holds the mutex of one of its encounters knows that nobody else does.
//
// # A process that stops
//
// A worker that was killed leaves nothing behind: Postgres rolls its transactions back. One that stopped (SIGSTOP, a
// machine that hangs) keeps its locks until a timeout of Postgres ends its sessions:
//
//	where its session is                     what ends it
//	between two statements of a transaction  idle_in_transaction_session_timeout, 10 s
//	between two attempts                     idle_session_timeout, 10 s (EventTryBegin)
//	in a statement                           statement_timeout, 10 s; then one of the two above
//	writing an answer that the process       no timeout, but tcp_user_timeout, 10 s, where it is no Unix socket:
//	does not read                            another worker, after 10 to 12 s (watch.go)
//
// When it goes on it finds its connections closed, and nothing of what it had begun is stored.
//
// # What an event costs
//
// Round trips, from the socket to the commit: one for the caller, with the rate limits, and one for the INSERT, which the
// requests that wait at the same time share, as they share its commit. A notification follows, fifty a second of each server at
// most. From the claim to the outcome: about 15 statements for a batch, however many events it has, and one asynchronous commit.
// A poller lingers after a batch that was not full, so that events that come one by one share these too.
//
// Index entries: INSERT writes six (seq, id, encounter_id, received_at, and the two partial ones of pending events), with a
// source_event_id and an API key's two more; the outcome is no HOT update, as the partial indexes are about status and
// processed_at, and writes the first four again, and those of failed and ignored events.
//
// WAL and processor time, measured by `make bench` ("budget:") on a machine of two processors that also runs Postgres and the
// load; an event with its payload of 150 bytes, four events a journey with all effects:
//
//	                                    WAL bytes   µs in PX360   µs in Postgres
//	one event to its commit                 1,800           280              380
//	an event of a bulk of 1,000             1,300            17               40
//	from its claim to outcome, effects      1,400 to 2,100   17               55 to 70
//
// # Locks
//
// Package queries has the lock order. What a worker claims, the encounter's mutex and the journey, it claims without
// waiting: what another transaction holds is left for a later batch. So a worker that decides no_journey holds the mutex
// without which nobody can create the journey, and a worker that changes stages holds the journey without which nobody else
// can. A pending event is changed by the holder of its encounter's mutex only, so the mutex covers the events' rows too.
// Reprocessing an event locks its row, which is not pending, and nothing else.
package worker
