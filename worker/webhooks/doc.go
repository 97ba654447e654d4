// Package webhooks tells partners what happens. Changes write what there is to tell into an outbox, in their own
// transaction; from there it goes on in two steps:
//
//	outbox --fan-out--> a message for each endpoint --delivery--> HTTP, by Standard Webhooks 1.0
//
// # Fan-out
//
// One transaction at a time, whichever process it is in, gives each endpoint its messages, in the order of the outbox. An
// object's rows are in order there, as they are written under the object's lock.
//
// # Delivery
//
// An endpoint is leased to one process, which is its owner until the lease ends. So that it has ten requests under way at
// most, and of each object one, needs no lock: the owner keeps account in memory. It claims more than is under way, so that no
// attempt waits for the database, and writes results together. What it claims stays pending; if it dies, the next owner
// delivers it again, under the same id. An owner that stopped for longer than its lease cannot write what
// came of its attempts any more.
//
// A message that fails holds back the later ones of its own object, until it is delivered or given up.
package webhooks
