package source

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
)

// poller fetches records one by one with the client's own Poll: slower, and with nothing but its public interface.
type poller struct {
	c    *Consumer
	runs []run
	less bool // the last fetch ended because nothing was there
}

func (*poller) attach(Partition) error { return nil }
func (*poller) purge(Partition)        {}
func (*poller) kept() bool             { return false }
func (p *poller) drained() bool        { return p.less }
func (*poller) close([]Partition)      {}

// fetch ends at a rebalance, so that its rows belong to one assignment; settle drops those revoked by it.
func (p *poller) fetch(r *batch.Records, wait time.Duration) ([]run, error) {
	p.runs, p.less = p.runs[:0], false
	base, changes := len(r.Mem), p.c.changes
	if base > math.MaxInt32 {
		return nil, fmt.Errorf("the arena is full (%d bytes); reset the batch before polling on", base)
	}
	for n := 0; n < maxRows && len(r.Mem)-base < maxRoom && p.c.changes == changes && len(p.c.errs) == 0; {
		ms := int(wait.Milliseconds())
		if len(p.runs) > 0 {
			ms = 0
		}
		switch e := p.c.kc.Poll(ms).(type) {
		case nil:
			p.less = true
			return p.runs, nil
		case *kafka.Message:
			p.add(r, e)
			n++
		case kafka.PartitionEOF:
			at := partitionOf(kafka.TopicPartition(e))
			p.runs = append(p.runs, run{topic: at.Topic, partition: at.Partition, offset: int64(e.Offset), err: kafka.ErrPartitionEOF})
		default:
			p.c.event(e)
		}
	}
	return p.runs, nil
}

func (p *poller) add(r *batch.Records, m *kafka.Message) {
	at, offset := partitionOf(m.TopicPartition), int64(m.TopicPartition.Offset)
	var last *run
	if n := len(p.runs); n > 0 {
		last = &p.runs[n-1]
	}
	if last == nil || last.err != kafka.ErrNoError || last.topic != at.Topic || last.partition != at.Partition || offset <= last.offset {
		p.runs = append(p.runs, run{topic: at.Topic, partition: at.Partition, first: r.Len()})
		last = &p.runs[len(p.runs)-1]
	}
	last.n++
	last.offset = offset
	ts := int64(-1)
	if m.TimestampType != kafka.TimestampNotAvailable {
		ts = m.Timestamp.UnixMilli()
	}
	r.Offset, r.Timestamp = append(r.Offset, offset), append(r.Timestamp, ts)
	r.Value, r.Key = append(r.Value, appendBytes(r, m.Value)), append(r.Key, appendBytes(r, m.Key))
	r.Headers = append(r.Headers, appendHeaders(r, m.Headers))
}

func appendBytes(r *batch.Records, b []byte) batch.View {
	if b == nil {
		return batch.Null
	}
	return r.Append(b)
}

func appendHeaders(r *batch.Records, hs []kafka.Header) batch.View {
	if len(hs) == 0 {
		return batch.View{}
	}
	start := len(r.Mem)
	for _, h := range hs {
		r.Mem = binary.AppendUvarint(r.Mem, uint64(len(h.Key)))
		r.Mem = append(r.Mem, h.Key...)
		if h.Value == nil {
			r.Mem = append(r.Mem, 0)
			continue
		}
		r.Mem = binary.AppendUvarint(r.Mem, uint64(len(h.Value))+1)
		r.Mem = append(r.Mem, h.Value...)
	}
	return batch.View{Off: uint32(start), Len: uint32(len(r.Mem) - start)}
}
