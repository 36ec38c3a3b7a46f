package table

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// longest is what Glue and Hive's metastore take at most, 3,500 bytes being the promise of the design.
const longest = 3500

// topicIDs are 16 random bytes in standard base64 without padding, as librdkafka writes them: with slashes and pluses.
func topicIDs() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")
		return base64.RawStdEncoding.EncodeToString(b)
	})
}

func records(t *rapid.T, k Key) Record {
	n := func(label string) int64 { return rapid.Int64Range(0, 1<<62).Draw(t, label) }
	r := Record{Cluster: rapid.SampledFrom([]string{"", "5L6g3nShT-eMCtK--X86sw", "redpanda.0b1d/c,%", "kfake"}).Draw(t, "cluster"), TopicID: topicIDs().Draw(t, "id"),
		Epoch: rapid.Int32Range(0, 1<<31-1).Draw(t, "epoch"), First: n("first"), Counts: Counts{n("rows"), n("filtered"), n("dead"), n("gaps"), n("removed")},
		MaxTimestamp: rapid.Int64Range(-1, 1<<50).Draw(t, "ts"), Leader: rapid.Int32Range(0, 1<<31-1).Draw(t, "leader")}
	if rapid.Bool().Draw(t, "timed") {
		r.Event = rapid.Int64Range(0, 1<<50).Draw(t, "event")
	}
	r.Next = r.First + rapid.Int64Range(0, 1<<60).Draw(t, "more")
	return r
}

func ledgers() *rapid.Generator[*Ledger] {
	return rapid.Custom(func(t *rapid.T) *Ledger {
		l := &Ledger{Records: map[Key]Record{}, Number: rapid.Int64Range(0, 1<<40).Draw(t, "number"), Move: rapid.Int64().Draw(t, "move"),
			CommitID: rapid.StringMatching(`[0-9a-f-]{0,36}`).Draw(t, "id"), Edit: rapid.Int64Range(0, 1<<40).Draw(t, "edit")}
		keys := rapid.Custom(func(t *rapid.T) Key {
			return Key{rapid.StringMatching(`[A-Za-z0-9._-]{1,249}`).Draw(t, "topic"), rapid.Int32Range(0, 1<<31-1).Draw(t, "partition")}
		})
		for _, k := range rapid.SliceOfNDistinct(keys, 0, 40, rapid.ID).Draw(t, "keys") {
			l.Records[k] = records(t, k)
		}
		for _, k := range rapid.SliceOfN(keys, 0, 30).Draw(t, "past") {
			l.Past = append(l.Past, PastEpoch{k, records(t, k)})
		}
		for n := int64(1); n <= l.Number && rapid.IntRange(0, 9).Draw(t, "more") > 0 && n < 200; n++ {
			l.Pending = append(l.Pending, Pending{n, rapid.StringMatching(`[0-9a-f-]{36}`).Draw(t, "pending")})
		}
		tables := rapid.Custom(func(t *rapid.T) Routed {
			return Routed{Ident{rapid.StringMatching(`[a-z.]{1,9}`).Draw(t, "namespace"), rapid.StringMatching(`[A-Za-z0-9_]{1,128}`).Draw(t, "name")}, rapid.StringN(0, 64, 128).Draw(t, "value")}
		})
		l.Tables = append(l.Tables, rapid.SliceOfNDistinct(tables, 0, 60, func(r Routed) Ident { return r.Ident }).Draw(t, "tables")...)
		return l
	})
}

// checkSizes: Glue cuts longer values without a word.
func checkSizes(t interface {
	Helper()
	Fatalf(string, ...any)
}, set map[string]string) {
	t.Helper()
	for k, v := range set {
		if len(v) > longest {
			t.Fatalf("property %s has %d bytes", k, len(v))
		}
	}
}

// What is read is what was written, whatever the ids, also after parts are no longer needed.
func TestLedgerSurvivesTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		props := map[string]string{"owner": "x", Prefix + "other.ledger": "{}", Prefix + "pq.offsets.0": "x", markerLike: "1"}
		foreign := maps.Clone(props)
		for range 2 { // the second one may need fewer properties
			l := ledgers().Draw(t, "ledger")
			set, unset := l.Properties("p", props)
			checkSizes(t, set)
			maps.Copy(props, set)
			for _, k := range unset {
				if _, ok := set[k]; ok {
					t.Fatalf("%s is both set and unset", k)
				}
				delete(props, k)
			}
			got, err := ParseLedger("p", props)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, l) {
				t.Fatalf("read\n%+v\nwritten\n%+v", got, l)
			}
			for k, v := range foreign {
				if props[k] != v {
					t.Fatalf("%s was %q and is %q", k, v, props[k])
				}
			}
		}
		empty := &Ledger{Records: map[Key]Record{}}
		set, unset := empty.Properties("p", props)
		if len(set) != 1 {
			t.Fatalf("an empty ledger needs %v", set)
		}
		left := maps.Clone(props)
		for _, k := range unset {
			delete(left, k)
		}
		delete(left, Prefix+"p.ledger")
		if !maps.Equal(left, foreign) {
			t.Fatalf("an empty ledger leaves %v", left)
		}
	})
}

// markerLike is a property beside the ledger whose name begins as a ledger's would if the pipeline were named pipeline.
const markerLike = Prefix + "pipeline.pipeline"

func TestLedgerOfPipelineNamedLikeAnotherProperty(t *testing.T) {
	l, err := ParseLedger("pipeline", map[string]string{markerLike: "1"})
	if l != nil || err != nil {
		t.Fatalf("%v, %v", l, err)
	}
	_, unset := (&Ledger{}).Properties("pipeline", map[string]string{markerLike: "1", Prefix + "pipeline.offsets.3": "x"})
	if !slices.Equal(unset, []string{Prefix + "pipeline.offsets.3"}) {
		t.Fatalf("unset %v", unset)
	}
}

func bigLedger(partitions int) *Ledger {
	l := &Ledger{Records: map[Key]Record{}, Number: 123456, CommitID: "0193d4f2-8b1e-7c3a-9f10-aabbccddeeff", Move: 1 << 62}
	for i := range partitions {
		l.Records[Key{fmt.Sprintf("topic-%d", i%7), int32(i / 7)}] = Record{Cluster: "5L6g3nShT-eMCtK--X86sw", TopicID: fmt.Sprintf("ab/+%dBCDEFGHIJKLMNOPQR", i%7), Epoch: 3,
			First: 1e12, Next: 2e12, Counts: Counts{Rows: 4e11, Filtered: 3e11, Dead: 2e11, Gaps: 1e11, Removed: 1e9}, MaxTimestamp: 1767225600123}
	}
	for i := range 300 {
		l.Pending = append(l.Pending, Pending{int64(100000 + i), fmt.Sprintf("0193d4f2-8b1e-7c3a-9f10-%012d", i)})
		l.Tables = append(l.Tables, Routed{Ident{"lake", fmt.Sprintf("events_%d_%s", i, strings.Repeat("x", 100))}, strings.Repeat("x/", 20)})
		l.Past = append(l.Past, PastEpoch{Key{"topic-0", int32(i)}, Record{Cluster: "c", TopicID: "old/", Epoch: 2, First: 5, Next: 9, Counts: Counts{Rows: 4}, MaxTimestamp: -1}})
	}
	return l
}

func TestLedgerOfTenThousandPartitions(t *testing.T) {
	l := bigLedger(10_000)
	set, _ := l.Properties("p", nil)
	checkSizes(t, set)
	bytes := 0
	for k, v := range set {
		bytes += len(k) + len(v)
	}
	t.Logf("%d properties, %d bytes", len(set), bytes)
	if len(set) > 400 || bytes > 1_250_000 {
		t.Errorf("%d properties with %d bytes are too many", len(set), bytes)
	}
	got, err := ParseLedger("p", set)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, l) {
		t.Fatal("read something else")
	}
}

// A ledger without event times is written as it always was, so that a program from before goes on with it; one with any is
// refused by such a program as a newer one's, and not by the number of its numbers.
func TestLedgerWithEventTimes(t *testing.T) {
	k := Key{"t", 0}
	for name, c := range map[string]struct {
		record  Record
		version string
		line    string
	}{
		"none":            {Record{Next: 9, Counts: Counts{Rows: 9}, MaxTimestamp: 5}, `"version":1,`, "0:0:0:0:9:9:0:0:0:0:5"},
		"a leader":        {Record{Next: 9, Counts: Counts{Rows: 9}, MaxTimestamp: 5, Leader: 3}, `"version":1,`, "0:0:0:0:9:9:0:0:0:0:5:3"},
		"a time":          {Record{Next: 9, Counts: Counts{Rows: 9}, MaxTimestamp: 5, Event: 1767225600123}, `"version":3,`, "0:0:0:0:9:9:0:0:0:0:5:0:1767225600123"},
		"a time and both": {Record{Next: 9, Counts: Counts{Rows: 9}, MaxTimestamp: 5, Leader: 3, Event: 7}, `"version":3,`, "0:0:0:0:9:9:0:0:0:0:5:3:7"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &Ledger{Records: map[Key]Record{k: c.record}, Tables: nil}
			set, _ := l.Properties("p", nil)
			if head := set[Prefix+"p.ledger"]; !strings.Contains(head, c.version) {
				t.Errorf("the head is %s, want %s", head, c.version)
			}
			if line, _, _ := strings.Cut(set[Prefix+"p.offsets.0"], "#"); line != c.line {
				t.Errorf("the line is %s, want %s", line, c.line)
			}
			if got, err := ParseLedger("p", set); err != nil || !reflect.DeepEqual(got, l) {
				t.Errorf("read %+v, %v", got, err)
			}
		})
	}
}

// Any part that is missing or broken is named: a ledger that is read wrongly loses or duplicates records.
func TestBrokenLedgerIsNamed(t *testing.T) {
	whole, _ := bigLedger(300).Properties("p", nil)
	named := func(t *testing.T, what, k string, props map[string]string) {
		t.Helper()
		l, err := ParseLedger("p", props)
		if l != nil || err == nil || !strings.Contains(err.Error(), k) {
			t.Errorf("%s %s: %v", what, k, err)
		}
	}
	for k, v := range whole {
		props := maps.Clone(whole)
		delete(props, k)
		named(t, "missing", k, props)
		for _, n := range []int{0, 1, len(v) / 2, strings.LastIndexByte(v, ','), len(v) - 1} {
			props[k] = v[:max(0, n)]
			named(t, "cut", k, props)
		}
	}
	old := bigLedger(300)
	old.Number-- // the move before
	parts, _ := old.Properties("p", nil)
	for k := range whole {
		props := maps.Clone(whole)
		props[k] = parts[k]
		if k == Prefix+"p.ledger" {
			k = Prefix + "p.topics.0" // all parts are of another time than the head
		}
		named(t, "of the move before", k, props)
	}
	pasts := 0
	for k := range whole {
		if strings.HasPrefix(k, Prefix+"p.past.") {
			pasts++
		}
	}
	for name, c := range map[string]struct{ key, value, want string }{
		"not JSON":               {"ledger", "{", "p.ledger cannot be read"},
		"from the future":        {"ledger", `{"version":4}`, "newer lakeloader"},
		"one part more":          {fmt.Sprint("past.", pasts), "0:0:0:0:0:0:0:0:0:0:0", fmt.Sprintf("p.past.%d is one more than the %[1]d", pasts)},
		"too few numbers":        {"offsets.0", "0:1:2", "p.offsets.0 cannot be read (\"0:1:2\"): want 11 to 13 numbers"},
		"no number":              {"offsets.0", "0:1:2:3:4:5:6:7:8:x", "p.offsets.0"},
		"unknown topic":          {"offsets.1", "9:0:0:0:0:0:0:0:0:0:0", "topic number 9 is not in the list"},
		"the same twice":         {"offsets.1", "0:0:0:0:0:0:0:0:0:0:0,0:0:0:0:0:0:0:0:0:0:0", "is there twice"},
		"negative offset":        {"offsets.0", "0:0:0:-5:0:0:0:0:0:0:0", "number 4 is negative"},
		"begins behind its end":  {"offsets.0", "0:0:0:5:4:0:0:0:0:0:0", "cannot be"},
		"partition too large":    {"offsets.0", "0:4294967296:0:0:0:0:0:0:0:0:0", "partition 4294967296"},
		"epoch too large":        {"past.0", "0:0:2147483648:0:0:0:0:0:0:0:0", "epoch 2147483648"},
		"topic without a name":   {"topics.0", "a/b", "want cluster/id/name"},
		"topic broken":           {"topics.0", "a/b/%zz", "%zz"},
		"pending without id":     {"pending.0", "7:", "p.pending.0 cannot be read (\"7:\"): want number:id"},
		"pending not a number":   {"pending.0", "x:abc", "p.pending.0"},
		"pending goes back":      {"pending.0", "7:a,6:b", "must ascend"},
		"table twice":            {"tables.0", "n/a/x,n/a/y", "table n.a is there twice"},
		"table without a value":  {"tables.0", "n/a", "there are 2 parts, not 3"},
		"pending from to-morrow": {"pending.0", "123457:a", "must ascend up to the last number, 123456"},
	} {
		t.Run(name, func(t *testing.T) {
			props := maps.Clone(whole)
			props[Prefix+"p."+c.key] = c.value
			if c.key != "ledger" {
				head := &ledgerHead{Number: 123456, CommitID: bigLedger(0).CommitID, Move: 1 << 62}
				props[Prefix+"p."+c.key] = head.seal(c.value)
			}
			named(t, c.value+" in", c.want, props)
		})
	}
	if l, err := ParseLedger("p", map[string]string{"x": "y"}); l != nil || err != nil {
		t.Fatalf("no ledger: %v, %v", l, err)
	}
}
