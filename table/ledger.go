package table

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Key names a topic partition.
type Key struct {
	Topic     string
	Partition int32
}

func (k Key) String() string { return k.Topic + "-" + strconv.Itoa(int(k.Partition)) }

// Record is what a table says of one topic partition: every offset of the epoch in [First, Next) has been
// decided: it is a row, filtered, a dead letter, or a gap that Kafka itself shows.
type Record struct {
	Cluster string
	TopicID string
	// Epoch is raised by everything that moves Next other than by loading, so that an equal number from before cannot match.
	Epoch int32
	First int64 // where the epoch began
	Next  int64
	// Cumulative over the epoch: Rows+Filtered+Dead+Gaps == Next-First.
	Rows, Filtered, Dead, Gaps int64
	MaxTimestamp               int64 // greatest Kafka timestamp seen, Unix milliseconds; -1: none
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
	// Move is the snapshot that the last move made: see Base.IsAncestor for what it is checked against.
	Move int64
}

// maxValue is the size that no property value exceeds: Glue and some metastores cut longer ones.
const maxValue = 3400

type ledgerHead struct {
	Version  int      `json:"version"`
	Number   int64    `json:"number"`
	CommitID string   `json:"commit_id"`
	Move     int64    `json:"snapshot"`
	Topics   []string `json:"topics"` // "cluster/topic id/topic", indexed by the records' first number
	Offsets  int      `json:"offsets"`
	Past     int      `json:"past"`
	Pending  int      `json:"pending"`
}

func ledgerKey(pipeline, part string) string { return Prefix + pipeline + "." + part }

// Properties encodes the ledger. prev are the table's properties now: those of this pipeline that are no longer
// needed are returned in unset.
func (l *Ledger) Properties(pipeline string, prev map[string]string) (set map[string]string, unset []string) {
	head := ledgerHead{Version: 1, Number: l.Number, CommitID: l.CommitID, Move: l.Move}
	index := map[string]int{}
	topic := func(k Key, r Record) int {
		name := r.Cluster + "/" + r.TopicID + "/" + k.Topic
		i, ok := index[name]
		if !ok {
			i = len(head.Topics)
			index[name] = i
			head.Topics = append(head.Topics, name)
		}
		return i
	}
	line := func(k Key, r Record) string {
		return fmt.Sprintf("%d:%d:%d:%d:%d:%d:%d:%d:%d:%d", topic(k, r), k.Partition, r.Epoch, r.First, r.Next, r.Rows, r.Filtered, r.Dead, r.Gaps, r.MaxTimestamp)
	}
	var offsets, past, pending []string
	for _, k := range slices.SortedFunc(maps.Keys(l.Records), compareKeys) {
		offsets = append(offsets, line(k, l.Records[k]))
	}
	for _, p := range l.Past {
		past = append(past, line(p.Key, p.Record))
	}
	for _, p := range l.Pending {
		pending = append(pending, strconv.FormatInt(p.Number, 10)+":"+p.ID)
	}
	set = map[string]string{}
	head.Offsets = pack(set, ledgerKey(pipeline, "offsets."), offsets)
	head.Past = pack(set, ledgerKey(pipeline, "past."), past)
	head.Pending = pack(set, ledgerKey(pipeline, "pending."), pending)
	topics := head.Topics
	head.Topics = nil
	pack(set, ledgerKey(pipeline, "topics."), topics)
	b, _ := json.Marshal(head) // cannot fail: only strings and numbers
	set[ledgerKey(pipeline, "ledger")] = string(b)
	for k := range prev {
		if _, ok := set[k]; !ok && strings.HasPrefix(k, Prefix+pipeline+".") {
			unset = append(unset, k)
		}
	}
	sort.Strings(unset)
	return set, unset
}

func compareKeys(a, b Key) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// pack joins items into properties prefix0, prefix1 ... each below maxValue bytes, and returns their number.
func pack(set map[string]string, prefix string, items []string) int {
	n, from, size := 0, 0, 0
	flush := func(to int) {
		if to > from {
			set[prefix+strconv.Itoa(n)] = strings.Join(items[from:to], ",")
			n, from, size = n+1, to, 0
		}
	}
	for i, s := range items {
		if size+len(s)+1 > maxValue {
			flush(i)
		}
		size += len(s) + 1
	}
	flush(len(items))
	return n
}

func unpack(props map[string]string, prefix string) []string {
	var out []string
	for i := 0; ; i++ {
		v, ok := props[prefix+strconv.Itoa(i)]
		if !ok {
			return out
		}
		out = append(out, strings.Split(v, ",")...)
	}
}

// ParseLedger reads a pipeline's ledger; nil without an error means that the table has none.
func ParseLedger(pipeline string, props map[string]string) (*Ledger, error) {
	text, ok := props[ledgerKey(pipeline, "ledger")]
	if !ok {
		for k := range props {
			if strings.HasPrefix(k, Prefix+pipeline+".") {
				return nil, fmt.Errorf("the table has the property %s but not %s: someone removed a part of the ledger; restore the table's properties from an earlier metadata file", k, ledgerKey(pipeline, "ledger"))
			}
		}
		return nil, nil
	}
	bad := func(part, text string, err error) error {
		return fmt.Errorf("the table's property %s cannot be read (%q): %w", ledgerKey(pipeline, part), text, err)
	}
	var head ledgerHead
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		return nil, bad("ledger", text, err)
	}
	if head.Version != 1 {
		return nil, bad("ledger", text, fmt.Errorf("version %d was written by a newer lakeloader", head.Version))
	}
	l := &Ledger{Records: map[Key]Record{}, Number: head.Number, CommitID: head.CommitID, Move: head.Move}
	topics := unpack(props, ledgerKey(pipeline, "topics."))
	for _, s := range unpack(props, ledgerKey(pipeline, "offsets.")) {
		k, r, err := parseRecord(s, topics)
		if err != nil {
			return nil, bad("offsets", s, err)
		}
		if _, ok := l.Records[k]; ok {
			return nil, bad("offsets", s, fmt.Errorf("%s is there twice", k))
		}
		l.Records[k] = r
	}
	for _, s := range unpack(props, ledgerKey(pipeline, "past.")) {
		k, r, err := parseRecord(s, topics)
		if err != nil {
			return nil, bad("past", s, err)
		}
		l.Past = append(l.Past, PastEpoch{k, r})
	}
	for _, s := range unpack(props, ledgerKey(pipeline, "pending.")) {
		n, id, _ := strings.Cut(s, ":")
		num, err := strconv.ParseInt(n, 10, 64)
		if err != nil || id == "" {
			return nil, bad("pending", s, fmt.Errorf("want number:id"))
		}
		l.Pending = append(l.Pending, Pending{num, id})
	}
	for _, c := range []struct {
		part string
		want int
	}{{"offsets.", head.Offsets}, {"past.", head.Past}, {"pending.", head.Pending}} {
		if c.want > 0 {
			if _, ok := props[ledgerKey(pipeline, c.part)+strconv.Itoa(c.want-1)]; !ok {
				return nil, bad(c.part, "", fmt.Errorf("%d parts are expected and some are missing", c.want))
			}
		}
	}
	return l, nil
}

func parseRecord(s string, topics []string) (k Key, r Record, err error) {
	f := strings.Split(s, ":")
	if len(f) != 10 {
		return k, r, fmt.Errorf("want 10 numbers, got %d", len(f))
	}
	var v [10]int64
	for i := range f {
		if v[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return k, r, err
		}
	}
	if v[0] < 0 || int(v[0]) >= len(topics) {
		return k, r, fmt.Errorf("topic number %d is not in the list", v[0])
	}
	t := strings.SplitN(topics[v[0]], "/", 3)
	if len(t) != 3 {
		return k, r, fmt.Errorf("topic %q: want cluster/id/name", topics[v[0]])
	}
	k = Key{t[2], int32(v[1])}
	r = Record{Cluster: t[0], TopicID: t[1], Epoch: int32(v[2]), First: v[3], Next: v[4], Rows: v[5], Filtered: v[6], Dead: v[7], Gaps: v[8], MaxTimestamp: v[9]}
	return k, r, nil
}

// Clone returns a copy that shares nothing with l.
func (l *Ledger) Clone() *Ledger {
	c := *l
	c.Records = maps.Clone(l.Records)
	c.Past = slices.Clone(l.Past)
	c.Pending = slices.Clone(l.Pending)
	return &c
}

// Applied is what a table other than the primary says of a pipeline: which rounds' files it has.
type Applied struct {
	UUID     string `json:"uuid"`   // of the primary table that numbers the rounds
	Number   int64  `json:"number"` // every pending round up to this one has been applied
	Snapshot int64  `json:"snapshot"`
}

func appliedKey(pipeline string) string { return Prefix + "applied." + pipeline }

// Property encodes a.
func (a Applied) Property(pipeline string) map[string]string {
	b, _ := json.Marshal(a) // cannot fail: only strings and numbers
	return map[string]string{appliedKey(pipeline): string(b)}
}

// ParseApplied reads what props say; the zero Applied when they say nothing.
func ParseApplied(pipeline string, props map[string]string) (a Applied, err error) {
	text, ok := props[appliedKey(pipeline)]
	if !ok {
		return a, nil
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, fmt.Errorf("the table's property %s cannot be read (%q): %w", appliedKey(pipeline), text, err)
	}
	return a, nil
}
