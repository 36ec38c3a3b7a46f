package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// maxValue is the size that no property value exceeds: Glue and some metastores cut longer ones.
const maxValue = 3400

type ledgerHead struct {
	Version  int    `json:"version"`
	Number   int64  `json:"number"`
	CommitID string `json:"commit_id"`
	Move     int64  `json:"snapshot"`
	Edit     int64  `json:"edit,omitempty"`
	// How many properties each part takes.
	Topics  int `json:"topics"`
	Offsets int `json:"offsets"`
	Past    int `json:"past"`
	Pending int `json:"pending"`
	Tables  int `json:"tables,omitempty"`
}

const (
	// routedVersion is the version of a ledger that lists tables: a program that does not know them would forget them.
	routedVersion = 2
	// eventVersion is that of a ledger with the event time of any record, which programs before cannot read.
	eventVersion = 3
)

func ledgerKey(pipeline, part string) string { return Prefix + pipeline + "." + part }

// isLedgerKey: the property belongs to the pipeline's ledger, and not to something else whose name begins alike.
func isLedgerKey(pipeline, key string) bool {
	part, ok := strings.CutPrefix(key, Prefix+pipeline+".")
	if !ok {
		return false
	}
	switch name, number, _ := strings.Cut(part, "."); name {
	case "ledger":
		return number == ""
	case "topics", "offsets", "past", "pending", "tables":
		_, err := strconv.ParseUint(number, 10, 31)
		return err == nil
	}
	return false
}

// topicText names a topic for the list of topics; ids are base64 and may contain slashes.
func topicText(k Key, r Record) string {
	return url.PathEscape(r.Cluster) + "/" + url.PathEscape(r.TopicID) + "/" + url.PathEscape(k.Topic)
}

func parseTopic(s string) (cluster, id, topic string, err error) {
	if cluster, id, topic, err = unescape3(s); err != nil {
		return "", "", "", fmt.Errorf("topic %q: want cluster/id/name: %w", s, err)
	}
	return cluster, id, topic, nil
}

// unescape3 splits three parts with slashes between.
func unescape3(s string) (a, b, c string, err error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return "", "", "", fmt.Errorf("there are %d parts, not 3", len(parts))
	}
	for i := range parts {
		if parts[i], err = url.PathUnescape(parts[i]); err != nil {
			return "", "", "", err
		}
	}
	return parts[0], parts[1], parts[2], nil
}

// Properties encodes the ledger. prev are the table's properties now: those of this pipeline that are no longer
// needed are returned in unset.
func (l *Ledger) Properties(pipeline string, prev map[string]string) (set map[string]string, unset []string) {
	head := ledgerHead{Version: 1, Number: l.Number, CommitID: l.CommitID, Move: l.Move, Edit: l.Edit}
	var topics []string // indexed by the records' first number
	index := map[string]int{}
	topic := func(k Key, r Record) int {
		name := topicText(k, r)
		i, ok := index[name]
		if !ok {
			i = len(topics)
			index[name] = i
			topics = append(topics, name)
		}
		return i
	}
	line := func(k Key, r Record) string {
		s := fmt.Sprintf("%d:%d:%d:%d:%d:%d:%d:%d:%d:%d:%d", topic(k, r), k.Partition, r.Epoch, r.First, r.Next, r.Rows, r.Filtered, r.Dead, r.Gaps, r.Removed, r.MaxTimestamp)
		switch {
		case r.Event > 0:
			head.Version = eventVersion
			s += fmt.Sprintf(":%d:%d", r.Leader, r.Event)
		case r.Leader > 0:
			s += fmt.Sprint(":", r.Leader)
		}
		return s
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
	pack := func(part string, items []string) int {
		return pack(set, ledgerKey(pipeline, part)+".", items, head.seal)
	}
	var tables []string
	for _, t := range l.Tables {
		tables = append(tables, url.PathEscape(t.Namespace)+"/"+url.PathEscape(t.Name)+"/"+url.PathEscape(t.Value))
	}
	head.Offsets, head.Past, head.Pending, head.Topics = pack("offsets", offsets), pack("past", past), pack("pending", pending), pack("topics", topics)
	if head.Tables = pack("tables", tables); head.Tables > 0 {
		head.Version = max(head.Version, routedVersion)
	}
	b, _ := json.Marshal(head) // cannot fail: only strings and numbers
	set[ledgerKey(pipeline, "ledger")] = string(b)
	for k := range prev {
		if _, ok := set[k]; !ok && isLedgerKey(pipeline, k) {
			unset = append(unset, k)
		}
	}
	sort.Strings(unset)
	return set, unset
}

// sealSize is what a seal adds to a value.
const sealSize = 9

// seal ends the value of a part with a checksum that covers the move too: a value that a metastore cut short, or that is
// left of another move, must not pass for offsets.
func (h *ledgerHead) seal(text string) string {
	return fmt.Sprintf("%s#%08x", text, crc32.ChecksumIEEE(fmt.Appendf(nil, "%d/%s/%d/%s", h.Number, h.CommitID, h.Move, text)))
}

// pack joins items into properties prefix0, prefix1 ... each below maxValue bytes, and returns their number.
func pack(set map[string]string, prefix string, items []string, seal func(string) string) int {
	n, from, size := 0, 0, sealSize
	flush := func(to int) {
		if to > from {
			set[prefix+strconv.Itoa(n)] = seal(strings.Join(items[from:to], ","))
			n, from, size = n+1, to, sealSize
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

// parser reads the parts of a ledger from properties.
type parser struct {
	pipeline string
	props    map[string]string
	head     ledgerHead
	topics   []string
}

// bad says which property cannot be read.
func (p *parser) bad(part, text string, err error) error {
	if len(text) > 100 {
		text = text[:100] + "..."
	}
	return fmt.Errorf("the table's property %s cannot be read (%q): %w", ledgerKey(p.pipeline, part), text, err)
}

// each calls f with the items of n properties; there must be just as many.
func (p *parser) each(part string, n int, f func(item string) error) error {
	for i := range n {
		name := part + "." + strconv.Itoa(i)
		v, ok := p.props[ledgerKey(p.pipeline, name)]
		if !ok {
			return fmt.Errorf("the table's property %s is missing: it is number %d of %d; restore the table's properties from an earlier metadata file", ledgerKey(p.pipeline, name), i+1, n)
		}
		text := v[:max(0, len(v)-sealSize)]
		if p.head.seal(text) != v {
			return p.bad(name, v, errors.New("its checksum is wrong: it was cut, changed, or is of another time than the rest; restore the table's properties from an earlier metadata file"))
		}
		for item := range strings.SplitSeq(text, ",") {
			if err := f(item); err != nil {
				return p.bad(name, item, err)
			}
		}
	}
	if name := ledgerKey(p.pipeline, part+"."+strconv.Itoa(n)); p.props[name] != "" {
		return fmt.Errorf("the table's property %s is one more than the %d that its ledger has: they are not of one time; restore the table's properties from an earlier metadata file", name, n)
	}
	return nil
}

// ParseLedger reads a pipeline's ledger; nil without an error means that the table has none.
func ParseLedger(pipeline string, props map[string]string) (*Ledger, error) {
	p := &parser{pipeline: pipeline, props: props}
	text, ok := props[ledgerKey(pipeline, "ledger")]
	if !ok {
		for _, k := range slices.Sorted(maps.Keys(props)) {
			if isLedgerKey(pipeline, k) {
				return nil, fmt.Errorf("the table has the property %s but not %s: someone removed a part of the ledger; restore the table's properties from an earlier metadata file", k, ledgerKey(pipeline, "ledger"))
			}
		}
		return nil, nil
	}
	head := &p.head
	if err := json.Unmarshal([]byte(text), head); err != nil {
		return nil, p.bad("ledger", text, err)
	}
	if head.Version < 1 || head.Version > eventVersion {
		return nil, p.bad("ledger", text, fmt.Errorf("version %d was written by a newer lakeloader", head.Version))
	}
	l := &Ledger{Records: map[Key]Record{}, Number: head.Number, CommitID: head.CommitID, Move: head.Move, Edit: head.Edit}
	if err := p.each("topics", head.Topics, func(s string) error { p.topics = append(p.topics, s); return nil }); err != nil {
		return nil, err
	}
	if err := p.each("offsets", head.Offsets, func(s string) error {
		k, r, err := p.record(s)
		if _, twice := l.Records[k]; err == nil && twice {
			err = fmt.Errorf("%s is there twice", k)
		}
		l.Records[k] = r
		return err
	}); err != nil {
		return nil, err
	}
	if err := p.each("past", head.Past, func(s string) error {
		k, r, err := p.record(s)
		l.Past = append(l.Past, PastEpoch{k, r})
		return err
	}); err != nil {
		return nil, err
	}
	if err := p.each("pending", head.Pending, func(s string) error {
		n, id, _ := strings.Cut(s, ":")
		num, err := strconv.ParseInt(n, 10, 64)
		if err != nil || id == "" {
			return errors.New("want number:id")
		}
		if last := len(l.Pending) - 1; num > l.Number || last >= 0 && num <= l.Pending[last].Number {
			return fmt.Errorf("pending rounds must ascend up to the last number, %d", l.Number)
		}
		l.Pending = append(l.Pending, Pending{num, id})
		return nil
	}); err != nil {
		return nil, err
	}
	if err := p.each("tables", head.Tables, func(s string) error {
		var t Routed
		var err error
		if t.Namespace, t.Name, t.Value, err = unescape3(s); err == nil && l.Routed(t.Ident) != nil {
			err = fmt.Errorf("table %s is there twice", t.Ident)
		}
		l.Tables = append(l.Tables, t)
		return err
	}); err != nil {
		return nil, err
	}
	return l, nil
}

func (p *parser) record(s string) (k Key, r Record, err error) {
	f := strings.Split(s, ":")
	var v [13]int64 // the last ones are left out where they are not known
	if len(f) > len(v) || len(f) < len(v)-2 {
		return k, r, fmt.Errorf("want %d to %d numbers, got %d", len(v)-2, len(v), len(f))
	}
	for i := range f {
		if v[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return k, r, err
		}
		if v[i] < 0 && i != 10 {
			return k, r, fmt.Errorf("number %d is negative", i+1)
		}
	}
	if v[0] >= int64(len(p.topics)) {
		return k, r, fmt.Errorf("topic number %d is not in the list", v[0])
	}
	if v[1] > math.MaxInt32 || v[2] > math.MaxInt32 || v[11] > math.MaxInt32 || v[3] > v[4] {
		return k, r, fmt.Errorf("partition %d, epoch %d, offsets %d to %d cannot be", v[1], v[2], v[3], v[4])
	}
	k.Partition = int32(v[1])
	if r.Cluster, r.TopicID, k.Topic, err = parseTopic(p.topics[v[0]]); err != nil {
		return k, r, err
	}
	r.Epoch, r.First, r.Next, r.MaxTimestamp, r.Leader, r.Event = int32(v[2]), v[3], v[4], v[10], int32(v[11]), v[12]
	r.Counts = Counts{Rows: v[5], Filtered: v[6], Dead: v[7], Gaps: v[8], Removed: v[9]}
	return k, r, nil
}
