package table

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Key names a topic partition.
type Key struct {
	Topic     string
	Partition int32
}

func (k Key) String() string { return k.Topic + "-" + strconv.Itoa(int(k.Partition)) }

func compareKeys(a, b Key) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// Record is what a table says of one topic partition: every offset of the epoch in [First, Next) has been
// decided: it is a row, filtered, a dead letter, or a gap that Kafka itself shows.
type Record struct {
	Cluster string
	TopicID string
	// Epoch is raised by everything that moves Next other than by loading, so that an equal number from before cannot match.
	Epoch int32
	First int64 // where the epoch began
	Next  int64
	Counts
	MaxTimestamp int64 // greatest Kafka timestamp seen, Unix milliseconds; -1: none
	// Leader is the leader epoch of the partition's record before Next, plus 1; 0: not known. By it a log that was truncated
	// and written anew is told from the one that was read.
	Leader int32 `json:",omitempty"`
	// Event is the greatest time in the table's time column over the rows of the epoch, Unix milliseconds, none later than
	// Kafka had the record; 0: not known. It is kept for pipelines that say what is complete (jobs, Completer). A record that
	// forgets it is right, and only later than it need be.
	Event int64 `json:",omitempty"`
}

// Counts says what became of offsets. Of an epoch they are cumulative, and their sum is Next-First.
type Counts struct {
	Rows, Filtered, Dead, Gaps int64
	// Removed are the offsets whose rows a job has taken away since: a rewind, a backfill of a later epoch, retention.
	Removed int64
}

// Sum is the number of offsets.
func (c Counts) Sum() int64 { return c.Rows + c.Filtered + c.Dead + c.Gaps + c.Removed }

// Plus adds o.
func (c Counts) Plus(o Counts) Counts {
	return Counts{c.Rows + o.Rows, c.Filtered + o.Filtered, c.Dead + o.Dead, c.Gaps + o.Gaps, c.Removed + o.Removed}
}

// Minus takes o away.
func (c Counts) Minus(o Counts) Counts {
	return Counts{c.Rows - o.Rows, c.Filtered - o.Filtered, c.Dead - o.Dead, c.Gaps - o.Gaps, c.Removed - o.Removed}
}

// Same reports whether a loader that read a partition from r may move it on from o: the comparison From = table.
func (r Record) Same(o Record) bool {
	return r.Cluster == o.Cluster && r.TopicID == o.TopicID && r.Epoch == o.Epoch && r.Next == o.Next
}

// PastEpoch is an epoch of a partition that has ended: its rows are still in the table.
type PastEpoch struct {
	Key
	Record
}

// Pending is a committed round whose other tables may not have its files yet.
type Pending struct {
	Number int64
	ID     string
}

// Routed is a table, not the primary, that rows of the pipeline have gone to.
type Routed struct {
	Ident
	// Value is what the table was named after; the rows of no other value go there. Empty: the configuration names it.
	Value string
}

// Ledger is what the properties of a primary table say of one pipeline. It is rewritten in every move, in the
// same swap that adds the files.
type Ledger struct {
	Records map[Key]Record
	Past    []PastEpoch
	// Number is that of the last committed round; rounds are numbered from 1.
	Number int64
	// CommitID is the id of the last committed round.
	CommitID string
	Pending  []Pending // ascending by number
	// Edit is the number of the last round that changed what was decided before it; 0: none has.
	Edit int64
	// Tables are all that rows were ever routed to, in the order in which they were first used; none is ever taken out.
	Tables []Routed
	// Move is the snapshot that the last move made: see Base.IsAncestor for what it is checked against.
	Move int64
}

// Routed finds a table among those that rows were routed to; nil: it is not one of them.
func (l *Ledger) Routed(id Ident) *Routed {
	for i := range l.Tables {
		if l.Tables[i].Ident == id {
			return &l.Tables[i]
		}
	}
	return nil
}

// Clone returns a copy that shares nothing with l.
func (l *Ledger) Clone() *Ledger {
	c := *l
	c.Records = maps.Clone(l.Records)
	c.Past = slices.Clone(l.Past)
	c.Pending = slices.Clone(l.Pending)
	c.Tables = slices.Clone(l.Tables)
	return &c
}
