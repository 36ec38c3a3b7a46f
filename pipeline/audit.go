package pipeline

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// Columns that every row carries, so that anyone can audit a table with SQL.
const (
	ColumnTopic     = table.ColumnTopic
	ColumnPartition = table.ColumnPartition
	ColumnOffset    = table.ColumnOffset
	ColumnTimestamp = "_kafka_timestamp"
	ColumnEpoch     = table.ColumnEpoch
	ColumnKey       = "_kafka_key"
	ColumnHeaders   = "_kafka_headers"
)

var headersType = batch.ListOf(batch.StructOf(
	batch.Field{Name: "name", Type: batch.Prim(batch.String), Required: true},
	batch.Field{Name: "value", Type: batch.Prim(batch.Binary)}), true)

func auditFields() []batch.Field {
	return []batch.Field{
		{Name: ColumnTopic, Type: batch.Prim(batch.String), Required: true, Doc: "topic of the record"},
		{Name: ColumnPartition, Type: batch.Prim(batch.Int), Required: true, Doc: "partition of the record"},
		{Name: ColumnOffset, Type: batch.Prim(batch.Long), Required: true, Doc: "offset of the record in its partition"},
		{Name: ColumnTimestamp, Type: batch.Prim(batch.TimestampTZ), Doc: "Kafka's timestamp of the record"},
		{Name: ColumnEpoch, Type: batch.Prim(batch.Int), Required: true, Doc: "epoch of the partition's offsets, raised when they begin anew"},
	}
}

// auditType is row with the audit columns, and those that the configuration includes.
func auditType(row *batch.Type, inc configs.Include) (*batch.Type, error) {
	fields := auditFields()
	if inc.Key {
		fields = append(fields, batch.Field{Name: ColumnKey, Type: batch.Prim(batch.Binary), Doc: "key of the record"})
	}
	if inc.Headers {
		fields = append(fields, batch.Field{Name: ColumnHeaders, Type: headersType, Doc: "headers of the record"})
	}
	for _, f := range fields {
		if row.Index(f.Name) >= 0 {
			return nil, fmt.Errorf("the column %s is one of the record's own: rename it in a cleanse step", f.Name)
		}
	}
	return batch.StructOf(append(append([]batch.Field(nil), row.Fields...), fields...)...), nil
}

// audit appends the audit columns to the rows of a batch. Its columns are used again for the next batch.
type audit struct {
	row  *batch.Type
	inc  configs.Include
	cols []*batch.Column
	root batch.Column
}

func newAudit(row, full *batch.Type, inc configs.Include) *audit {
	a := &audit{row: full, inc: inc}
	for _, f := range full.Fields[len(row.Fields):] {
		a.cols = append(a.cols, batch.NewColumn(f.Type, 0))
	}
	return a
}

// apply gives b a new root with the audit columns behind its own.
func (a *audit) apply(b *batch.Batch, runs []run) {
	for _, c := range a.cols {
		c.Reset()
	}
	r := b.Records
	topics := make([]batch.View, len(r.Topics))
	for i, name := range r.Topics {
		topics[i] = r.AppendString(name)
	}
	topic, part, off, ts, epoch := a.cols[0], a.cols[1], a.cols[2], a.cols[3], a.cols[4]
	at := 0
	for i, rec := range b.Record {
		for int(rec) >= runs[at].to {
			at++
		}
		topic.Views = append(topic.Views, topics[r.Topic[rec]])
		part.Int32 = append(part.Int32, r.Partition[rec])
		off.Int64 = append(off.Int64, r.Offset[rec])
		epoch.Int32 = append(epoch.Int32, runs[at].t.from.Epoch)
		appendKafkaTime(ts, r.Timestamp[rec])
		if r.Timestamp[rec] > maxKafkaTime {
			b.Reject(i, "encode", ColumnTimestamp, fmt.Sprintf("Kafka's timestamp is %d ms, after all that a timestamp column can hold (%d ms)", r.Timestamp[rec], maxKafkaTime))
		}
	}
	topic.Len, part.Len, off.Len, epoch.Len = b.Rows, b.Rows, b.Rows, b.Rows
	next := 5
	if a.inc.Key {
		for _, rec := range b.Record {
			appendView(a.cols[next], r.Key[rec])
		}
		next++
	}
	if a.inc.Headers {
		for _, rec := range b.Record {
			appendHeaders(a.cols[next], r, r.Headers[rec])
		}
	}
	a.root = *b.Root
	a.root.Type = a.row
	a.root.Children = append(append(make([]*batch.Column, 0, len(a.row.Fields)), b.Root.Children...), a.cols...)
	b.Root = &a.root
}

// maxKafkaTime is the last millisecond since the epoch that fits into microseconds, in the year 294247.
const maxKafkaTime = math.MaxInt64 / 1000

// appendKafkaTime appends milliseconds since the epoch as microseconds; -1, Kafka's "none", and what does not fit, as null.
func appendKafkaTime(c *batch.Column, ms int64) {
	if ms < 0 || ms > maxKafkaTime {
		c.AppendNull()
		return
	}
	c.AppendInt64(ms * 1000)
}

func appendView(c *batch.Column, v batch.View) {
	if v.IsNull() {
		c.AppendNull()
		return
	}
	c.AppendView(v)
}

// appendHeaders decodes one record's headers (see batch.Records.Headers) into a list of name and value.
func appendHeaders(c *batch.Column, r *batch.Records, v batch.View) {
	elem := c.Children[0]
	name, value := elem.Children[0], elem.Children[1]
	for at, end := v.Off, v.Off+v.Len; !v.IsNull() && at < end; {
		n, k := binary.Uvarint(r.Mem[at:end])
		at += uint32(k)
		name.AppendView(batch.View{Off: at, Len: uint32(n)})
		at += uint32(n)
		n, k = binary.Uvarint(r.Mem[at:end])
		at += uint32(k)
		if n == 0 {
			value.AppendNull()
		} else {
			value.AppendView(batch.View{Off: at, Len: uint32(n - 1)})
			at += uint32(n - 1)
		}
		elem.AppendStruct()
	}
	c.AppendList()
}
