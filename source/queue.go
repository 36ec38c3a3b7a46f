package source

/*
#include "fetch.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
)

// client is the handle of librdkafka inside a kafka.Consumer, which does not show it. It lives as long as that.
type client struct{ rk unsafe.Pointer }

// clientOf finds the handle by reflection, and makes sure that it is one: its name must be the consumer's.
func clientOf(kc *kafka.Consumer) (*client, error) {
	if C.lr_missing() != 0 {
		return nil, errors.New("the Kafka library lacks a function that batch consumption needs")
	}
	h := reflect.ValueOf(kc).Elem().FieldByName("handle")
	if !h.IsValid() || h.Kind() != reflect.Struct {
		return nil, errors.New("the Kafka client has no field handle any more")
	}
	rk := h.FieldByName("rk")
	if !rk.IsValid() || rk.Kind() != reflect.Pointer || rk.Type().Elem().Name() != "_Ctype_struct_rd_kafka_s" {
		return nil, errors.New("the Kafka client has no field handle.rk of librdkafka's type any more")
	}
	p := rk.UnsafePointer()
	if p == nil {
		return nil, errors.New("the Kafka client is closed")
	}
	if name := C.GoString(C.lr_name(p)); name != kc.String() {
		return nil, fmt.Errorf("the Kafka client %s does not know its handle (%s)", kc, name)
	}
	return &client{p}, nil
}

// commit starts a commit of group offsets; its outcome is an event.
func (c *client) commit(offsets map[Partition]int64) error {
	n := len(offsets)
	topics, partitions, values := make([]*C.char, 0, n), make([]C.int32_t, 0, n), make([]C.int64_t, 0, n)
	var pin runtime.Pinner
	defer pin.Unpin()
	for p, o := range offsets {
		name := append([]byte(p.Topic), 0)
		pin.Pin(&name[0])
		topics = append(topics, (*C.char)(unsafe.Pointer(&name[0])))
		partitions, values = append(partitions, C.int32_t(p.Partition)), append(values, C.int64_t(o))
	}
	if code := C.lr_commit(c.rk, C.int(n), &topics[0], &partitions[0], &values[0]); code != 0 {
		return kafka.NewError(kafka.ErrorCode(code), "", false)
	}
	return nil
}

// Sizes of what one fetch appends to the arena.
const (
	maxRows   = C.LR_MAX
	firstRoom = 1 << 20
	maxRoom   = 8 << 20
)

// queue fetches by batch: the records of all partitions go to one queue of ours, and one call into C takes up to
// 4096 of them and copies them into Go memory. What found no room there stays in C for the next call.
type queue struct {
	b    *C.lr_queue
	runs []run
	// room is the memory offered to a fetch. want is the number of records asked of the client: few when they are
	// large, so that what stays in C is little.
	room, want int
	// less: the client had less than it was asked for.
	less bool
}

func newQueue(c *client) (*queue, error) {
	b := C.lr_open(c.rk)
	if b == nil {
		return nil, errors.New("no memory for a batch queue")
	}
	return &queue{b: b, room: firstRoom, want: maxRows}, nil
}

// topicBytes is a topic name as C wants it, on the stack of the caller as it is short.
func topicBytes(topic string) []byte { return append(make([]byte, 0, C.LR_TOPIC), topic+"\x00"...) }

func (q *queue) attach(p Partition) error { return q.forward(p, 1) }

func (q *queue) forward(p Partition, on C.int) error {
	if C.lr_forward(q.b, (*C.char)(unsafe.Pointer(&topicBytes(p.Topic)[0])), C.int32_t(p.Partition), on) != 0 {
		return fmt.Errorf("%s: the Kafka client gives no queue for the partition", p)
	}
	return nil
}

func (q *queue) purge(p Partition) {
	C.lr_purge(q.b, (*C.char)(unsafe.Pointer(&topicBytes(p.Topic)[0])), C.int32_t(p.Partition))
}

func (q *queue) kept() bool { return q.b.at < q.b.have }

func (q *queue) drained() bool { return q.less && !q.kept() }

// close gives the queue up; records of the partitions still held go nowhere from then on.
func (q *queue) close(held []Partition) {
	for _, p := range held {
		if q.forward(p, 0) != nil {
			continue // it has no queue, so it delivers nowhere as it is
		}
	}
	C.lr_close(q.b)
	q.b = nil
}

func (q *queue) fetch(r *batch.Records, wait time.Duration) ([]run, error) {
	room := q.room
	for {
		n := q.take(r, room, wait)
		need := int(q.b.need)
		if n == 0 && need > 0 && q.b.nruns == 0 {
			if need > math.MaxUint32-len(r.Mem) {
				return nil, fmt.Errorf("the arena is full (%d bytes); reset the batch before polling on", len(r.Mem))
			}
			room, wait = need, 0
			continue
		}
		if used := int(q.b.used); n > 0 {
			q.want = min(max(2*maxRoom/(used/n+1), 16), maxRows)
		}
		if need > 0 {
			q.room = min(2*q.room, maxRoom)
		}
		return q.collect(), nil
	}
}

// take calls into C once. The arena offered ends at 4 GiB, which is as far as views reach.
func (q *queue) take(r *batch.Records, room int, wait time.Duration) int {
	base, rows, fresh := len(r.Mem), len(r.Offset), !q.kept()
	room = max(min(room, math.MaxUint32-base), 1)
	r.Mem = slices.Grow(r.Mem, room)
	r.Offset, r.Timestamp = slices.Grow(r.Offset, maxRows), slices.Grow(r.Timestamp, maxRows)
	r.Key, r.Value, r.Headers = slices.Grow(r.Key, maxRows), slices.Grow(r.Value, maxRows), slices.Grow(r.Headers, maxRows)
	n := int(C.lr_fetch(q.b, C.int(wait.Milliseconds()), C.int(q.want),
		(*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(r.Mem[base:base+room]))), C.size_t(room), C.uint32_t(base),
		(*C.int64_t)(unsafe.Pointer(unsafe.SliceData(r.Offset[rows:rows+maxRows]))),
		(*C.int64_t)(unsafe.Pointer(unsafe.SliceData(r.Timestamp[rows:rows+maxRows]))),
		(*C.lr_view)(unsafe.Pointer(unsafe.SliceData(r.Key[rows:rows+maxRows]))),
		(*C.lr_view)(unsafe.Pointer(unsafe.SliceData(r.Value[rows:rows+maxRows]))),
		(*C.lr_view)(unsafe.Pointer(unsafe.SliceData(r.Headers[rows:rows+maxRows])))))
	if fresh {
		q.less = int(q.b.have) < q.want
	}
	r.Mem = r.Mem[:base+int(q.b.used)]
	r.Offset, r.Timestamp = r.Offset[:rows+n], r.Timestamp[:rows+n]
	r.Key, r.Value, r.Headers = r.Key[:rows+n], r.Value[:rows+n], r.Headers[:rows+n]
	for i := range int(q.b.nruns) {
		q.b.runs[i].first += C.int32_t(rows)
	}
	return n
}

// collect turns C's runs into ours; their topics are C memory, good until the next call.
func (q *queue) collect() []run {
	q.runs = q.runs[:0]
	for i := range int(q.b.nruns) {
		c := &q.b.runs[i]
		r := run{topic: unsafe.String((*byte)(unsafe.Pointer(&c.topic[0])), int(c.topic_len)), partition: int32(c.partition),
			first: int(c.first), n: int(c.n), offset: int64(c.offset), err: kafka.ErrorCode(c.err)}
		if c.text != nil {
			r.text = C.GoString(c.text)
		}
		q.runs = append(q.runs, r)
	}
	return q.runs
}
