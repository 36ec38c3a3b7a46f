package source

import (
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
)

// settle makes rows that were fetched into r from row base on part of r, or drops them: those of partitions that are
// no longer held, paused or failed, and repetitions. It moves positions, and adds a span for each one that moved. It
// reports whether a position moved, as it does whenever a row stays.
func (c *Consumer) settle(r *batch.Records, base int, runs []run) bool {
	c.touched = c.touched[:0]
	w := base
	r.Topic, r.Partition = r.Topic[:base], r.Partition[:base]
	for _, run := range runs {
		p := c.parts[Partition{run.topic, run.partition}]
		if run.err != kafka.ErrNoError {
			c.partitionEvent(p, run)
			continue
		}
		if p == nil || p.paused || p.failed {
			continue
		}
		c.touch(p)
		first, end := run.first, run.first+run.n
		for first < end && r.Offset[first] < p.next {
			first++
		}
		if first == end {
			continue
		}
		w = moveRows(r, w, first, end)
		p.next, p.leader = r.Offset[w-1]+1, 0
		topic := topicIndex(r, p.Topic)
		for len(r.Topic) < w {
			r.Topic = append(r.Topic, topic)
			r.Partition = append(r.Partition, p.Partition.Partition)
		}
	}
	truncate(r, w)
	c.clientPositions()
	moved := false
	for _, p := range c.touched {
		p.touched = false
		if p.next > p.from {
			moved = true
			addSpan(r, p)
		}
	}
	return moved
}

func (c *Consumer) touch(p *part) {
	p.hush = hush{over: true}
	if c.last != nil { // only this goroutine writes it
		c.recovered()
	}
	if !p.touched {
		p.touched, p.from = true, p.next
		c.touched = append(c.touched, p)
	}
}

// moveRows moves rows [first, end) down to w and returns the row after them.
func moveRows(r *batch.Records, w, first, end int) int {
	if w != first {
		copy(r.Offset[w:], r.Offset[first:end])
		copy(r.Timestamp[w:], r.Timestamp[first:end])
		copy(r.Key[w:], r.Key[first:end])
		copy(r.Value[w:], r.Value[first:end])
		copy(r.Headers[w:], r.Headers[first:end])
	}
	return w + end - first
}

func truncate(r *batch.Records, n int) {
	r.Offset, r.Timestamp = r.Offset[:n], r.Timestamp[:n]
	r.Key, r.Value, r.Headers = r.Key[:n], r.Value[:n], r.Headers[:n]
}

// topicIndex finds or adds a topic. The last ones used are looked at first: most batches are of one topic.
func topicIndex(r *batch.Records, topic string) int32 {
	if n := len(r.Topic); n > 0 && r.Topics[r.Topic[n-1]] == topic {
		return r.Topic[n-1]
	}
	for i, t := range r.Topics {
		if t == topic {
			return int32(i)
		}
	}
	r.Topics = append(r.Topics, topic)
	return int32(len(r.Topics) - 1)
}

// clientPositions takes up the client's positions, which are past transaction markers and aborted records that no row
// tells of. They are ahead of what was delivered while the fetcher keeps something.
func (c *Consumer) clientPositions() {
	if len(c.touched) == 0 || c.fetcher.kept() {
		return
	}
	tps := make([]kafka.TopicPartition, 0, len(c.touched))
	for _, p := range c.touched {
		tps = append(tps, kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition.Partition})
	}
	tps, err := c.kc.Position(tps)
	if err != nil {
		c.log.Debug("no positions from the client", "error", err)
		return
	}
	for i, tp := range tps {
		// A logical offset (none yet, after a seek) is negative.
		if p := c.touched[i]; tp.Error == nil && !p.failed && !p.paused {
			if int64(tp.Offset) < p.next {
				continue
			}
			if p.next, p.leader = int64(tp.Offset), 0; tp.LeaderEpoch != nil {
				p.leader = *tp.LeaderEpoch + 1
			}
		}
	}
}

// addSpan notes [from, next), as part of the partition's last span where it follows on that.
func addSpan(r *batch.Records, p *part) {
	for i := len(r.Spans) - 1; i >= 0; i-- {
		s := &r.Spans[i]
		if s.Partition == p.Partition.Partition && s.Topic == p.Topic {
			if s.Next == p.from {
				s.Next = p.next
				return
			}
			break
		}
	}
	r.Spans = append(r.Spans, batch.Span{Topic: p.Topic, Partition: p.Partition.Partition, First: p.from, Next: p.next})
}
