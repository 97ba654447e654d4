// Package surveys sends surveys to patients. It has two queues, both drained by SKIP LOCKED, by any number of processes:
// surveys that are due, on which it decides by package queries/rules, and the messages that follow from that.
//
// # States of a message
//
//	  decide.go
//	     |
//	     v         claimed: attempt + 1, next_at in 2 minutes
//	+--------+  ------------------------------------------------>  +---------+ --+ next_at has passed:
//	| queued |                                                     | sending |   | another attempt
//	+--------+  <------------------------------------------------  +---------+ <-+
//	     |         temporary fault: next_at after the backoff        |     |
//	     |                                                           v     v
//	     +--> cancelled (the survey has ended meanwhile)           sent  failed: the next channel has a new message
//
// Of a message, the claim is a transaction, then comes the network, and what became of it is another transaction. A
// process that dies in between leaves it as sending, and it is sent again under the same id and with the same link. What
// a sender that comes late says is fenced off by the attempt. A message that is only given back, because quiet hours have
// begun or the sender is told to stop, has had no attempt; one that is claimed again and again without an outcome is
// given up.
//
// # Locks
//
// A decision locks surveys, with their journeys FOR SHARE so that no stage comes or goes, then the patients, then writes
// messages. The outcome of messages locks their surveys, then the messages. See the lock order in package queries.
package surveys
