package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// simKafka is topics with their history, and the consumer group.
type simKafka struct {
	w       *simWorld
	topics  []*simTopic
	members []*simConsumer
	eager   bool // rebalances take everything away first
	away    bool // a topic is deleted, and not there again
}

// simTopic was created gen times. A topic's id never returns.
type simTopic struct {
	name  string
	gen   int32
	parts []*simPart
	past  map[int32][]*simPart // of earlier incarnations
}

// simPart is a partition's log: true is a record, false a control record, an aborted or a compacted one.
type simPart struct {
	log           []bool
	low           int64
	owner, target *simConsumer
}

func (t *simTopic) id() string { return t.name + "." + strconv.Itoa(int(t.gen)) }

// simGen is the incarnation of a topic that an id names.
func simGen(id string) int32 {
	_, n, _ := strings.Cut(id, ".")
	gen, _ := strconv.Atoi(n)
	return int32(gen)
}

func newSimKafka(w *simWorld) *simKafka {
	k := &simKafka{w: w, eager: w.r.IntN(3) == 0}
	for i := range 1 + w.r.IntN(2) {
		t := &simTopic{name: string(rune('t' + i)), gen: 1, past: map[int32][]*simPart{}}
		for range 1 + w.r.IntN(3) {
			k.grow(t)
		}
		k.topics = append(k.topics, t)
	}
	return k
}

func (k *simKafka) topic(name string) *simTopic { return k.topics[name[0]-'t'] }

func (k *simKafka) part(p source.Partition) *simPart {
	if t := k.topic(p.Topic); int(p.Partition) < len(t.parts) {
		return t.parts[p.Partition]
	}
	return nil
}

// of is the partition of one incarnation of the topic.
func (t *simTopic) of(gen, part int32) *simPart {
	if gen == t.gen {
		return t.parts[part]
	}
	return t.past[gen][part]
}

// grow adds a partition.
func (k *simKafka) grow(t *simTopic) {
	p := &simPart{}
	t.parts = append(t.parts, p)
	k.produce(p, 1+k.w.r.IntN(6))
}

func (k *simKafka) produce(p *simPart, n int) {
	for range n {
		p.log = append(p.log, k.w.r.IntN(6) > 0)
	}
}

// recreate deletes a topic and creates it anew.
func (k *simKafka) recreate() {
	t := simPick(k.w.r, k.topics...)
	t.past[t.gen] = t.parts
	t.gen++
	n := len(t.parts)
	owners := t.parts
	t.parts = nil
	for i := range n {
		k.grow(t)
		t.parts[i].owner, t.parts[i].target = owners[i].owner, owners[i].target
		k.produce(t.parts[i], k.w.r.IntN(10))
	}
	k.w.logf("topic %s is created again", t.name)
	if k.w.r.IntN(2) == 0 {
		k.absent(true)
		k.w.after(k.w.some(time.Minute), func() { k.absent(false) })
	}
}

func (k *simKafka) absent(is bool) { k.away = is }

// retain deletes the oldest records of a partition.
func (k *simKafka) retain() {
	t := simPick(k.w.r, k.topics...)
	p := simPick(k.w.r, t.parts...)
	p.low += k.w.r.Int64N(int64(len(p.log)) - p.low + 1)
	k.w.logf("topic %s begins at %d in a partition", t.name, p.low)
}

// rebalance deals the partitions out.
func (k *simKafka) rebalance(all bool) {
	for _, t := range k.topics {
		for _, p := range t.parts {
			switch {
			case len(k.members) == 0:
				p.target = nil
			case all || !slices.Contains(k.members, p.target) || k.w.r.IntN(3) == 0:
				p.target = simPick(k.w.r, k.members...)
			}
		}
	}
}

// evict takes a member out of the group, which it learns when it asks next.
func (k *simKafka) evict(c *simConsumer) {
	at := slices.Index(k.members, c)
	if at < 0 {
		return
	}
	k.members = slices.Delete(k.members, at, at+1)
	for _, t := range k.topics {
		for _, p := range t.parts {
			if p.owner == c {
				p.owner = nil
			}
		}
	}
	k.rebalance(false)
}

// reached says whether the ledger is at the ends of all partitions. Topics that on_reset stops are no matter.
func (k *simKafka) reached(led *table.Ledger) error {
	for _, t := range k.topics {
		var err error
		stopped := false
		for i, p := range t.parts {
			key := table.Key{Topic: t.name, Partition: int32(i)}
			rec, ok := led.Records[key]
			switch high := int64(len(p.log)); {
			case ok && (rec.TopicID != t.id() || rec.Next < p.low || rec.Next > high) && k.w.cfg.Source.OnReset == "fail":
				stopped = true
			case !ok && (t.gen > 1 || p.low > 0) && k.w.cfg.Source.OnReset == "fail": // it was never there as a loader has seen it first
				stopped = true
			case !ok && p.low == high: // nothing ever arrived of it
			case !ok || rec.TopicID != t.id() || rec.Next != high:
				err = fmt.Errorf("%s is at %+v, the topic %s ends at %d", key, rec, t.id(), high)
			}
		}
		if err != nil && !stopped {
			return err
		}
	}
	return nil
}

// simConsumer is a member of the group, and a client that answers questions about topics.
type simConsumer struct {
	w   *simWorld
	h   source.Handler
	own []source.Partition
	pos map[source.Partition]int64
	out map[source.Partition]bool // out of range, which was told
}

func newSimConsumer(w *simWorld, h source.Handler) *simConsumer {
	return &simConsumer{w: w, h: h, pos: map[source.Partition]int64{}, out: map[source.Partition]bool{}}
}

// Poll implements Consumer.
func (c *simConsumer) Poll(ctx context.Context, r *batch.Records, _ time.Duration) error {
	c.w.await()
	if err := c.serve(ctx); err != nil {
		return err
	}
	return c.fetch(r)
}

// Serve implements Consumer.
func (c *simConsumer) Serve(ctx context.Context, _ time.Duration) error {
	c.w.await()
	return c.serve(ctx)
}

// serve is what happens of a rebalance.
func (c *simConsumer) serve(ctx context.Context) error {
	k := c.w.kafka
	if !slices.Contains(k.members, c) {
		if len(c.own) > 0 {
			lost := c.own
			c.own = nil
			c.w.did["lost"]++
			c.h.Revoked(ctx, lost, true)
		}
		k.members = append(k.members, c)
		k.rebalance(false)
		return nil
	}
	var give, take []source.Partition
	for _, p := range c.own {
		if k.part(p).target != c {
			give = append(give, p)
		}
	}
	if len(give) > 0 {
		if k.eager {
			give = slices.Clone(c.own)
		}
		c.give(ctx, give)
		return nil
	}
	for _, t := range k.topics {
		for i, p := range t.parts {
			if p.target == c && p.owner == nil {
				p.owner = c
				take = append(take, source.Partition{Topic: t.name, Partition: int32(i)})
			}
		}
	}
	if len(take) == 0 {
		return nil
	}
	start, err := c.h.Assigned(ctx, take)
	if err != nil {
		c.release(take)
		return &source.AssignError{Partitions: take, Err: err}
	}
	for _, p := range take {
		c.own, c.pos[p] = append(c.own, p), start[p]
		delete(c.out, p)
	}
	return nil
}

func (c *simConsumer) give(ctx context.Context, ps []source.Partition) {
	c.w.did["revoked"]++
	c.h.Revoked(ctx, ps, false)
	c.own = slices.DeleteFunc(c.own, func(p source.Partition) bool { return slices.Contains(ps, p) })
	c.release(ps)
}

// release lets the group hand partitions to another member.
func (c *simConsumer) release(ps []source.Partition) {
	for _, p := range ps {
		if x := c.w.kafka.part(p); x.owner == c {
			x.owner = nil
		}
	}
}

func (c *simConsumer) fetch(r *batch.Records) error {
	k := c.w.kafka
	for range 1 + c.w.r.IntN(2) {
		if len(c.own) == 0 {
			return nil
		}
		if k.away {
			return &source.Error{Kind: source.Topic, Err: errors.New("unknown topic")}
		}
		p := simPick(c.w.r, c.own...)
		log, pos := k.part(p), c.pos[p]
		if high := int64(len(log.log)); pos < log.low || pos > high {
			if !c.out[p] {
				c.out[p] = true
				return &source.OffsetOutOfRange{Partition: p, Offset: pos, Low: log.low, High: high}
			}
			continue
		}
		to := min(int64(len(log.log)), pos+1+c.w.r.Int64N(4))
		if c.w.calm {
			to = min(int64(len(log.log)), pos+10)
		}
		if to == pos || c.out[p] {
			continue
		}
		c.deliver(r, p, log, to)
	}
	return nil
}

// deliver appends what there is up to an offset. A record's time says which topic it is really of.
func (c *simConsumer) deliver(r *batch.Records, p source.Partition, log *simPart, to int64) {
	topic := slices.Index(r.Topics, p.Topic)
	if topic < 0 {
		topic = len(r.Topics)
		r.Topics = append(r.Topics, p.Topic)
	}
	gen := int64(c.w.kafka.topic(p.Topic).gen)
	for off := c.pos[p]; off < to; off++ {
		if !log.log[off] {
			continue
		}
		r.Topic, r.Partition, r.Offset = append(r.Topic, int32(topic)), append(r.Partition, p.Partition), append(r.Offset, off)
		r.Timestamp = append(r.Timestamp, gen*1000+off)
		r.Key, r.Value, r.Headers = append(r.Key, batch.Null), append(r.Value, batch.Null), append(r.Headers, batch.View{})
	}
	r.Spans = append(r.Spans, batch.Span{Topic: p.Topic, Partition: p.Partition, First: c.pos[p], Next: to})
	c.pos[p] = to
}

// Seek implements Consumer.
func (c *simConsumer) Seek(to map[source.Partition]int64) error {
	c.w.await()
	for p, off := range to {
		c.pos[p] = off
		delete(c.out, p)
	}
	return nil
}

// LeaderEpoch implements Consumer.
func (c *simConsumer) LeaderEpoch(source.Partition, int64) int32 { return 0 }

// CommitOffsets implements Consumer.
func (c *simConsumer) CommitOffsets(map[source.Partition]int64) {}

// LastError implements Consumer.
//
//nolint:staticcheck // the error is what is asked for, no failure to answer
func (c *simConsumer) LastError() (error, time.Time) { return nil, time.Time{} }

// Close implements Consumer.
func (c *simConsumer) Close() error {
	if len(c.own) > 0 {
		c.give(context.Background(), slices.Clone(c.own))
	}
	c.w.kafka.evict(c)
	return nil
}

// answer is a question to the cluster: the answer is of some moment before it arrives.
func (c *simConsumer) answer() error {
	c.w.await()
	switch {
	case c.w.chance(40):
		return errors.New("the broker does not answer")
	case c.w.kafka.away:
		return &source.Error{Kind: source.Topic, Err: errors.New("unknown topic")}
	}
	return nil
}

// ClusterID implements Topics.
func (c *simConsumer) ClusterID(context.Context) (string, error) { return "c", nil }

// TopicIDs implements Topics.
func (c *simConsumer) TopicIDs(_ context.Context, topics []string) (map[string]string, error) {
	err := c.answer()
	ids := map[string]string{}
	for _, name := range topics {
		ids[name] = c.w.kafka.topic(name).id()
	}
	c.w.await()
	return ids, err
}

// Watermarks implements Topics.
func (c *simConsumer) Watermarks(_ context.Context, ps []source.Partition) (map[source.Partition]source.Watermarks, error) {
	err := c.answer()
	marks := map[source.Partition]source.Watermarks{}
	for _, p := range ps {
		x := c.w.kafka.part(p)
		marks[p] = source.Watermarks{Low: x.low, High: int64(len(x.log))}
	}
	c.w.await()
	return marks, err
}

// OffsetsForTime implements Topics.
func (c *simConsumer) OffsetsForTime(context.Context, []source.Partition, time.Time) (map[source.Partition]int64, error) {
	return nil, errors.New("no pipeline of the simulation starts at a time")
}

// Partitions implements Topics.
func (c *simConsumer) Partitions(context.Context, configs.Source) (ps []source.Partition, err error) {
	err = c.answer()
	for _, t := range c.w.kafka.topics {
		for i := range t.parts {
			ps = append(ps, source.Partition{Topic: t.name, Partition: int32(i)})
		}
	}
	return ps, err
}
