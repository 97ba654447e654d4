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
// Events are applied in batches, one transaction each. If a batch fails for a reason of an event's own, each of its
// events is attempted alone, and each attempt is counted, in tries, before it is made. An event with tries > 0 is not
// part of a batch; the later events of its encounter wait for it, and nobody else's do. Failures that are no fault of an
// event's (see transient) are retried in one place, the poller's loop, with backoff; a count that such a failure left
// behind is taken back first (see uncount).
//
// # Locks
//
// Package queries has the lock order. What a worker claims it claims without waiting: the first pending event of an
// encounter, the encounter's mutex, the journey. What another transaction holds is left for a later batch. So a worker
// that decides no_journey holds the mutex without which nobody can create the journey, and a worker that changes stages
// holds the journey without which nobody else can. Reprocessing an event locks its row and nothing else.
package worker
