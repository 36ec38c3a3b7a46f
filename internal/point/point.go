// Package point names the steps of the exactly-once protocol, so that the fault suite (test/chaos) can strike between any
// two of them. In the binary that is shipped all of it compiles to nothing; with the build tag chaos a process tells its
// steps to the suite that started it, and does at a step what the suite has armed there: die, freeze, or wait.
package point

// The named steps, in the order of a round.
const (
	Assigned           = "assigned"             // partitions start from what the table says
	FirstRecord        = "first-record"         // a round has begun
	BeforeFiles        = "before-files"         // the round ends: its files are about to be finished
	AfterFiles         = "after-files"          // they are durable
	BeforeRoundObject  = "before-round-object"  // the round object is about to be written
	AfterRoundObject   = "after-round-object"   // it is durable
	BeforeSwap         = "before-swap"          // the checks against the base have passed
	BeforeCatalog      = "before-catalog"       // the manifests of a swap, of any table, are durable; its request is about to be sent
	AfterSwap          = "after-swap"           // the primary table has the round
	BeforeApply        = "before-apply"         // the round is about to be added to another table
	AfterApply         = "after-apply"          // it was
	BeforeCommitted    = "before-committed"     // committed/<n> is about to be written
	AfterCommitted     = "after-committed"      // it is durable
	BeforeLeavePending = "before-leave-pending" // finished rounds are about to be taken out of pending
	Committed          = "committed"            // the round is over
	Dropped            = "dropped"              // the round was given up
	HandOver           = "hand-over"            // a rebalance takes partitions away
	Settle             = "settle"               // pending rounds are about to be finished, without a round of one's own
	Reload             = "reload"               // the table is about to be read after a dropped round
)
