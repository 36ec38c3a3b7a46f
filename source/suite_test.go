package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// suite is run in both modes against every kind of cluster.
var suite = []struct {
	name string
	run  func(t *testing.T, cl *cluster, mode string)
}{
	{"every record once", everyRecord},
	{"keys, values, headers", fields},
	{"transactions", transactions},
	{"large records", largeRecords},
	{"leader epochs", leaderEpochs},
	{"seek", seek},
	{"seek drops kept records", seekKept},
	{"pause", pause},
	{"serve without fetching", serveOnly},
	{"members come and go", members},
	{"revoked and assigned again", backAndForth},
	{"close at any time", closeEarly},
	{"stalled member", stalled},
	{"topic made again", madeAgain},
	{"partition added", partitionAdded},
	{"pattern takes up new topics", newTopic},
	{"out of range", outOfRange},
	{"handler fails", handlerFails},
	{"unknown topic", unknownTopic},
	{"group offsets", groupOffsets},
}

func runSuite(t *testing.T, cl *cluster) {
	for _, mode := range []string{"batch", "poll"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			for _, c := range suite {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, cl, mode)
				})
			}
		})
	}
}

func everyRecord(t *testing.T, cl *cluster, mode string) {
	const n = 10_000
	topic := cl.topic(t, "every", 3)
	send(t, cl.producer(t, nil), many(topic, 3, 0, n)...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	pollUntil(t, c, l, l.reached(topic, 3, n))
	l.check(t, topic, 3, n)
	ps := c.Assignment()
	if len(ps) != 3 || ps[2] != (Partition{topic, 2}) {
		t.Fatal(ps)
	}
	for p, o := range c.Position(ps) {
		if o != n {
			t.Errorf("position of %s: %d", p, o)
		}
	}
}

// ledgerOfLeaders knows which leader wrote the last record of each partition.
type ledgerOfLeaders struct {
	*ledger
	leader map[Partition]int32
}

// LeaderEpoch implements LeaderEpochs.
func (l ledgerOfLeaders) LeaderEpoch(p Partition) int32 { return l.leader[p] }

// leaderEpochs: a consumer that goes on from where another one was, with the epochs that it knew, reads what follows and
// nothing else.
func leaderEpochs(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "leaders", 3)
	l := ledgerOfLeaders{newLedger(), map[Partition]int32{}}
	for i := range 3 {
		send(t, cl.producer(t, nil), many(topic, 3, 100*i, 100)...)
		c := cl.consumer(t, mode, name("g"), l, topic)
		pollUntil(t, c, l.ledger, l.reached(topic, 3, int64(100*(i+1))))
		if at := (Partition{topic, 0}); c.LeaderEpoch(at, 7) != 0 {
			t.Errorf("the leader epoch of another offset is %d", c.LeaderEpoch(at, 7))
		}
		for p, next := range c.Position(c.Assignment()) {
			if l.leader[p] = c.LeaderEpoch(p, next); l.leader[p] <= 0 {
				t.Errorf("%s: the leader epoch of the record before %d is not known", p, next)
			}
		}
		if i == 1 { // also after a seek
			if err := c.Seek(c.Position(c.Assignment())); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.check(t, topic, 3, 300)
}

func fields(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "fields", 1)
	at := time.UnixMilli(1_700_000_000_123)
	long := strings.Repeat("h", 300)
	tp := kafka.TopicPartition{Topic: &topic, Partition: 0}
	send(t, cl.producer(t, nil),
		&kafka.Message{TopicPartition: tp, Key: []byte("k"), Value: []byte("v"), Timestamp: at,
			Headers: []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}, {Key: long, Value: []byte(long)}}},
		&kafka.Message{TopicPartition: tp, Timestamp: at},
		&kafka.Message{TopicPartition: tp, Key: []byte{}, Value: []byte{}, Timestamp: at},
		&kafka.Message{TopicPartition: tp, Key: nil, Value: []byte("x"), Timestamp: at},
	)
	c := cl.consumer(t, mode, name("g"), newLedger(), topic)
	r := batch.Records{Mem: []byte("before")}
	for end := time.Now().Add(patience); r.Len() < 4; {
		if time.Now().After(end) {
			t.Fatal("nothing came")
		}
		if err := c.Poll(t.Context(), &r, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for i := range r.Len() {
		fmt.Fprintf(&b, "%s %s %d %s;", text(&r, r.Key[i]), text(&r, r.Value[i]), r.Timestamp[i], headers(t, &r, r.Headers[i]))
	}
	want := fmt.Sprintf(`"k" "v" %d a="1" a=null ="" %s="%s" ;null null %[1]d ;"" "" %[1]d ;null "x" %[1]d ;`, at.UnixMilli(), long, long)
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
	if string(r.Mem[:6]) != "before" {
		t.Error("the arena was overwritten")
	}
}

func text(r *batch.Records, v batch.View) string {
	if v.IsNull() {
		return "null"
	}
	return fmt.Sprintf("%q", r.Bytes(v))
}

func headers(t *testing.T, r *batch.Records, v batch.View) string {
	var b strings.Builder
	for m := r.Bytes(v); len(m) > 0; {
		n, w := binary.Uvarint(m)
		fmt.Fprintf(&b, "%s=", m[w:w+int(n)])
		m = m[w+int(n):]
		n, w = binary.Uvarint(m)
		m = m[w:]
		if n == 0 {
			b.WriteString("null ")
			continue
		}
		fmt.Fprintf(&b, "%q ", m[:n-1])
		m = m[n-1:]
	}
	return b.String()
}

// transactions end a partition with what has no record: 10 records, a marker, 5 aborted records, a marker.
func transactions(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "txn", 1)
	p := cl.producer(t, map[string]string{"transactional.id": name("tx")})
	ctx := cl.ctx(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(p.InitTransactions(ctx))
	must(p.BeginTransaction())
	send(t, p, many(topic, 1, 0, 10)...)
	must(p.CommitTransaction(ctx))
	must(p.BeginTransaction())
	send(t, p, many(topic, 1, 100, 5)...)
	must(p.AbortTransaction(ctx))
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	at := Partition{topic, 0}
	pollUntil(t, c, l, l.reached(topic, 1, 17))
	l.check(t, topic, 1, 10)
	if got := c.Position([]Partition{at})[at]; got != 17 {
		t.Errorf("position %d, want 17", got)
	}
	// Only an aborted transaction, while nothing else arrives: the position moves, and no record comes.
	must(p.BeginTransaction())
	send(t, p, many(topic, 1, 200, 3)...)
	must(p.AbortTransaction(ctx))
	pollUntil(t, c, l, l.reached(topic, 1, 21))
	l.check(t, topic, 1, 10)
	// A record after the gap; an open transaction hides what follows.
	must(p.BeginTransaction())
	send(t, p, many(topic, 1, 21, 1)...)
	must(p.CommitTransaction(ctx))
	must(p.BeginTransaction())
	send(t, p, many(topic, 1, 300, 1)...)
	pollUntil(t, c, l, l.reached(topic, 1, 23))
	if got := l.got[at][21]; got != "0:21" {
		t.Errorf("after the gap: %q", got)
	}
	admin := cl.newAdmin(t)
	if w, err := admin.Watermarks(ctx, []Partition{at}); err != nil || w[at] != (Watermarks{0, 23}) {
		t.Errorf("watermarks %v %v, want the last stable offset 23", w, err)
	}
	if w, err := admin.Extents(ctx, []Partition{at}); err != nil || w[at] != (Watermarks{0, 24}) {
		t.Errorf("extents %v %v, want the record of the open transaction too", w, err)
	}
	must(p.AbortTransaction(ctx))
	pollUntil(t, c, l, l.reached(topic, 1, 25))
	if len(l.got[at]) != 11 {
		t.Errorf("%d records, want 11", len(l.got[at]))
	}
}

// largeRecords must bound the arena and cut nothing.
func largeRecords(t *testing.T, cl *cluster, mode string) {
	const n = 40
	topic := cl.topic(t, "large", 2)
	var ms []*kafka.Message
	for i := range n {
		ms = append(ms, message(topic, i%2, fmt.Sprintf("%04d", i)+strings.Repeat(string(rune('a'+i%26)), 1<<20-200)))
	}
	send(t, cl.producer(t, map[string]string{"message.max.bytes": "1048576"}), ms...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	var r batch.Records
	for end := time.Now().Add(patience); !l.reached(topic, 2, n/2)(); {
		if time.Now().After(end) {
			t.Fatal("records are missing")
		}
		r.Reset()
		if err := c.Poll(t.Context(), &r, 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if len(r.Mem) > maxRoom+1<<20 {
			t.Fatalf("%d bytes in one batch", len(r.Mem))
		}
		if err := l.add(&r); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range ms {
		got := l.got[Partition{topic, int32(i % 2)}][int64(i/2)]
		if !bytes.Equal([]byte(got), m.Value) {
			t.Fatalf("record %d came with %d bytes, sent %d", i, len(got), len(m.Value))
		}
	}
}

func seek(t *testing.T, cl *cluster, mode string) {
	const n = 20_000
	topic := cl.topic(t, "seek", 2)
	send(t, cl.producer(t, nil), many(topic, 2, 0, n)...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	a := Partition{topic, 0}
	if err := c.Seek(map[Partition]int64{a: 0}); err == nil {
		t.Error("a seek before the assignment was accepted")
	}
	for i, to := range []int64{0, 5000, 123, 19_999, 7} {
		pollUntil(t, c, l, l.reached(topic, 1, 3000))
		epoch := c.Epoch(a)
		if err := c.Seek(map[Partition]int64{a: to}); err != nil {
			t.Fatal(err)
		}
		if c.Epoch(a) <= epoch || c.Position([]Partition{a})[a] != to {
			t.Fatalf("after seek %d: epoch %d -> %d, position %d", i, epoch, c.Epoch(a), c.Position([]Partition{a})[a])
		}
		if to > l.next[a] { // what is skipped will come by a later seek
			l.mu.Lock()
			l.next[a] = to
			l.mu.Unlock()
		} else {
			l.rewind(a, to)
		}
	}
	pollUntil(t, c, l, l.reached(topic, 2, n))
	l.check(t, topic, 2, n)
}

// seekKept seeks while the fetcher holds records that found no room in the arena.
func seekKept(t *testing.T, cl *cluster, mode string) {
	const n = 300
	topic := cl.topic(t, "kept", 2)
	var ms []*kafka.Message
	for i := range n {
		for p := range 2 {
			ms = append(ms, message(topic, p, fmt.Sprintf("%d:%d", p, i)+strings.Repeat("x", 60_000)))
		}
	}
	send(t, cl.producer(t, nil), ms...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	a := Partition{topic, 0}
	kept := 0
	for i := range 30 {
		pollUntil(t, c, l, func() bool {
			return l.next[a] > int64(i) && (c.fetcher.kept() || mode == "poll") || l.reached(topic, 2, n)()
		})
		if c.fetcher.kept() {
			kept++
		}
		l.rewind(a, int64(i))
		if err := c.Seek(map[Partition]int64{a: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if mode == "batch" && kept == 0 {
		t.Error("nothing was ever kept: the test tests nothing")
	}
	pollUntil(t, c, l, l.reached(topic, 2, n))
	for p := range 2 {
		got := l.got[Partition{topic, int32(p)}]
		for o := range n {
			if !strings.HasPrefix(got[int64(o)], fmt.Sprintf("%d:%dx", p, o)) {
				t.Fatalf("partition %d offset %d: %d bytes", p, o, len(got[int64(o)]))
			}
		}
	}
	if len(l.dup) > 0 {
		t.Fatal(l.dup)
	}
}

func pause(t *testing.T, cl *cluster, mode string) {
	const n = 20_000
	topic := cl.topic(t, "pause", 2)
	send(t, cl.producer(t, nil), many(topic, 2, 0, n)...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	a, b := Partition{topic, 0}, Partition{topic, 1}
	pollUntil(t, c, l, func() bool { return l.next[a] > 100 || c.Epoch(a) > 0 && c.Epoch(b) > 0 })
	pollUntil(t, c, l, func() bool { return l.next[a] > 0 })
	at := l.next[a]
	if err := c.Pause([]Partition{a}); err != nil {
		t.Fatal(err)
	}
	pollUntil(t, c, l, func() bool { return l.next[b] >= n })
	if l.next[a] != at {
		t.Fatalf("the paused partition went on from %d to %d", at, l.next[a])
	}
	if err := c.Resume([]Partition{a, b}); err != nil {
		t.Fatal(err)
	}
	pollUntil(t, c, l, l.reached(topic, 2, n))
	l.check(t, topic, 2, n)
	if err := c.Pause([]Partition{{topic, 9}}); err == nil {
		t.Error("a partition that is not held was paused")
	}
}

func partitionAdded(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "added", 1)
	p := cl.producer(t, nil)
	send(t, p, many(topic, 1, 0, 10)...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	pollUntil(t, c, l, l.reached(topic, 1, 10))
	res, err := cl.admin.CreatePartitions(cl.ctx(t), []kafka.PartitionsSpecification{{Topic: topic, IncreaseTo: 3}})
	if err != nil || res[0].Error.Code() != kafka.ErrNoError {
		t.Fatal(err, res)
	}
	p2 := cl.producer(t, map[string]string{"topic.metadata.refresh.interval.ms": "500"})
	send(t, p2, many(topic, 3, 10, 10)...)
	pollUntil(t, c, l, func() bool { return l.next[Partition{topic, 2}] >= 10 && l.next[Partition{topic, 0}] >= 20 })
	if got := l.got[Partition{topic, 2}][0]; got != "2:10" {
		t.Errorf("first record of the new partition: %q", got)
	}
}

func newTopic(t *testing.T, cl *cluster, mode string) {
	prefix := name("pat")
	first, second, other := prefix+".one", prefix+".two", "not"+prefix
	cl.create(t, first, 1)
	cl.create(t, other, 1)
	p := cl.producer(t, nil)
	send(t, p, many(first, 1, 0, 10)...)
	send(t, p, many(other, 1, 0, 10)...)
	l := newLedger()
	c := open(t, Options{Kafka: fast(cl.kafka), Pipeline: "p", Source: configs.Source{Pattern: prefix + "[.][a-z]+", Group: name("g"), Consume: mode}}, l)
	pollUntil(t, c, l, l.reached(first, 1, 10))
	cl.create(t, second, 2)
	send(t, p, many(second, 2, 0, 10)...)
	pollUntil(t, c, l, l.reached(second, 2, 10))
	send(t, p, many(first, 1, 10, 10)...)
	pollUntil(t, c, l, l.reached(first, 1, 20))
	l.check(t, first, 1, 20)
	l.check(t, second, 2, 10)
	if at := l.next[Partition{other, 0}]; at != 0 {
		t.Errorf("a topic that does not match was read to %d", at)
	}
	ps, err := cl.newAdmin(t).Partitions(cl.ctx(t), configs.Source{Pattern: prefix + "[.][a-z]+"})
	if err != nil || len(ps) != 3 {
		t.Errorf("partitions of the pattern: %v %v", ps, err)
	}
}

func outOfRange(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "range", 3)
	send(t, cl.producer(t, nil), many(topic, 3, 0, 100)...)
	res, err := cl.admin.DeleteRecords(cl.ctx(t), []kafka.TopicPartition{{Topic: &topic, Partition: 0, Offset: 40}})
	if err != nil || res.DeleteRecordsResults[0].TopicPartition.Error != nil {
		t.Fatal(err, res)
	}
	l := newLedger()
	a, b, past := Partition{topic, 0}, Partition{topic, 1}, Partition{topic, 2}
	l.next[past] = 200
	c := cl.consumer(t, mode, name("g"), l, topic)
	found := map[Partition]OffsetOutOfRange{}
	for len(found) < 2 {
		var oor *OffsetOutOfRange
		if err := pollError(t, c, l, patience); !errors.As(err, &oor) {
			t.Fatalf("%T: %v", err, err)
		}
		found[oor.Partition] = *oor
	}
	if got := found[a]; got != (OffsetOutOfRange{a, 0, 40, 100, false}) {
		t.Errorf("%+v", got)
	}
	if got := found[past]; got != (OffsetOutOfRange{past, 200, 0, 100, false}) {
		t.Errorf("%+v", got)
	}
	pollUntil(t, c, l, func() bool { return l.next[b] == 100 })
	if l.next[a] != 0 || l.next[past] != 200 {
		t.Errorf("failed partitions moved: %v", l.next)
	}
	if err := c.Seek(map[Partition]int64{a: 40, past: 90}); err != nil {
		t.Fatal(err)
	}
	l.next[a], l.next[past] = 40, 90
	pollUntil(t, c, l, l.reached(topic, 3, 100))
	if len(l.got[a]) != 60 || len(l.got[b]) != 100 || len(l.got[past]) != 10 {
		t.Errorf("%d %d %d records", len(l.got[a]), len(l.got[b]), len(l.got[past]))
	}
	// A seek out of range while running is found too, and the partition can be taken up again.
	if err := c.Seek(map[Partition]int64{b: 500}); err != nil {
		t.Fatal(err)
	}
	l.next[b] = 500
	var oor *OffsetOutOfRange
	if err := pollError(t, c, l, patience); !errors.As(err, &oor) || oor.Offset != 500 {
		t.Fatalf("%T: %v", err, err)
	}
	if err := c.Seek(map[Partition]int64{b: 0}); err != nil {
		t.Fatal(err)
	}
	l.rewind(b, 0)
	pollUntil(t, c, l, l.reached(topic, 3, 100))
}

func handlerFails(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "fails", 2)
	send(t, cl.producer(t, nil), many(topic, 2, 0, 100)...)
	l := newLedger()
	l.fail = errors.New("the catalog is away")
	c := cl.consumer(t, mode, name("g"), l, topic)
	var ae *AssignError
	if err := pollError(t, c, l, patience); !errors.As(err, &ae) || len(ae.Partitions) != 2 || !strings.Contains(err.Error(), "the catalog is away") {
		t.Fatal(err)
	}
	if len(c.Assignment()) != 0 {
		t.Errorf("held: %v", c.Assignment())
	}
	pollUntil(t, c, l, l.reached(topic, 2, 100))
	l.check(t, topic, 2, 100)
}

func unknownTopic(t *testing.T, cl *cluster, mode string) {
	missing := name("missing")
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, missing)
	var e *Error
	err := pollError(t, c, l, patience)
	if !errors.As(err, &e) || e.Kind != Topic || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "source.topics") {
		t.Fatalf("%T: %v", err, err)
	}
	cl.create(t, missing, 1)
	send(t, cl.producer(t, nil), many(missing, 1, 0, 5)...)
	pollUntil(t, c, l, l.reached(missing, 1, 5))
	if _, err := cl.newAdmin(t).TopicIDs(cl.ctx(t), []string{name("missing")}); !errors.As(err, &e) || e.Kind != Topic {
		t.Errorf("topic ids of a missing topic: %v", err)
	}
}

func groupOffsets(t *testing.T, cl *cluster, mode string) {
	topic, group := cl.topic(t, "commit", 2), name("g")
	send(t, cl.producer(t, nil), many(topic, 2, 0, 50)...)
	l := newLedger()
	c := cl.consumer(t, mode, group, l, topic)
	pollUntil(t, c, l, l.reached(topic, 2, 50))
	c.CommitOffsets(c.Position(c.Assignment()))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if l.revokes == 0 {
		t.Error("Close did not revoke")
	}
	res, err := cl.admin.ListConsumerGroupOffsets(cl.ctx(t), []kafka.ConsumerGroupTopicPartitions{{Group: group}})
	if err != nil {
		t.Fatal(err)
	}
	tps := res.ConsumerGroupsTopicPartitions[0].Partitions
	if len(tps) != 2 || tps[0].Offset != 50 || tps[1].Offset != 50 {
		t.Errorf("group offsets %v", tps)
	}
	if err := c.Poll(t.Context(), &batch.Records{}, 0); err == nil {
		t.Error("a closed consumer polls")
	}
}

func (cl *cluster) newAdmin(t *testing.T) *Admin {
	a, err := NewAdmin(cl.kafka, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}
