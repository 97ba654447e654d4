// Package queries is the way to the database: the SQL files that sqlc compiles into gen/db, one per noun, and the Go
// beside them: the pool and transactions (queries.go), retry with backoff (retry.go), pages of lists (list.go), their SQL
// (page.go), their counts (counts.go) and fair shares of connections (shares.go), the verdict on errors (verdict.go), the
// message for each constraint (constraints.go) and panics within a transaction (panic.go). It knows neither HTTP nor the
// rules of the domain, which are in queries/rules.
//
// # Lock order
//
// Every transaction takes its locks in this order, each those that it needs. So no two wait for each other, and
// TestNoDeadlocks finds none that do. Several locks of one line are taken in the order of their keys. W is the worker,
// which waits for neither 2 nor 4; S sends surveys; all the others are the server's operations.
//
//	   lock                          statement                      taken by
//	1  idempotency key, advisory     IdempotencyLock                events with a key
//	2  encounter, advisory           EventClaimEncounters,          W
//	                                 pg_try_advisory_xact_lock
//	                                 EventTry, for the session      W, an attempt
//	                                 EncounterLock                  creating a journey; changing an encounter id: the
//	                                                                old one and the new
//	3  hospital                      HospitalLockOf                 changing a department, physician, patient or journey
//	                                                                template: its hospital, and the one that it moves to;
//	                                                                creating a journey template or a webhook endpoint;
//	                                                                deleting a department
//	                                 HospitalLockCode               changing a hospital: and the one that has the code
//	   departments of a manager      DepartmentLockManaged,         deleting a user
//	                                 KEY SHARE
//	   user                          UserLockName                   changing a user: and the one who has the name
//	   journey template              JourneyTemplateLockOf,         changing, creating a stage template
//	                                 JourneyTemplateLock
//	4  journey                       JourneyClaim, SKIP LOCKED      W
//	                                 JourneyLock, JourneyLockOf     changing or deleting a journey or one of its stages
//	                                 PatientLockJourneys            changing a patient: the journeys have the names
//	                                 SurveyClaimDue, SHARE, with    S, a decision: no stage comes or goes meanwhile
//	                                 its surveys, SKIP LOCKED
//	5  the row itself                …Lock, then …Update or …Delete every change
//	   new rows                      …Insert                        every creation
//	   patient, SHARE                a trigger                      creating a journey
//	   default journey template      JourneyTemplateClearDefault    making another the default
//	   role PX Admin                 UserLockAdmins                 taking a PX Admin away
//	6  stages of the journey         StageComplete, StageUpdate, …  W, and as 4
//	   their surveys                 SurveySchedule                 W, and as 4
//	                                 SurveyInstanceLock             sending, resending, cancelling a survey
//	                                 SurveyLockByToken              answering, opting out
//	                                 SurveyLock                     S, when a message was sent
//	   patients of surveys           SurveyLockPatients             S, a decision: the contact cap is asked by one at a time
//	                                 SurveyOptOut                   opting out
//	   messages of surveys           SurveyMessageInsert, …Finish,  S, and as their surveys
//	                                 …Cancel
//	                                 SurveyMessageClaim, SKIP       S, and nothing else in its transaction
//	                                 LOCKED
//	   journey again                 JourneyComplete                W, and as 4
//	   actions                       ActionInsert                   answering, the last thing
//	                                 ActionLock                     changing an action: as 5
//	                                 ActionClaimDue, SKIP LOCKED    the watch of deadlines
//	   webhook endpoint              WebhookEndpointLock            changing, testing, replaying, delivering again: as 5
//	                                 WebhookLease, SKIP LOCKED      deliveries, and nothing else in its transaction
//	                                 WebhookRenew                   deliveries
//	   its messages                  WebhookFinish, …Replay,        as their endpoint
//	                                 …Redeliver
//	   webhook fan-out, advisory     WebhookFanOutAlone,            the fan-out
//	                                 pg_try_advisory_xact_lock
//	   emails to users               UserMessageInsert              as actions, and as endpoints
//	                                 UserMessageClaim, SKIP LOCKED  sending them, and nothing else in its transaction
//	7  events                        EventFinish                    W
//	                                 EventRequeue                   creating a journey, changing an encounter id
//	                                 EventInsert                    sending events, in the order of source_event_id
//
// A row is locked FOR NO KEY UPDATE unless the table says otherwise. It does not block the foreign keys of others, which
// take FOR KEY SHARE on what a written row refers to, last of all. Two kinds of writes do block them until they commit:
// a DELETE, which looks for rows that refer to what it deletes, and an UPDATE of a column with a unique index. So those
// wait for no transaction that could wait for them: where a row with a unique value refers to another of its kind, or two
// kinds refer to each other, a lock of line 3 comes first.
package queries
