package pipeline

import (
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// deadLetterRow is the row type of a dead-letter table: the original bytes, where they came from, and why they are here.
func deadLetterRow() *batch.Type {
	opt := func(name string, k batch.Kind, doc string) batch.Field {
		return batch.Field{Name: name, Type: batch.Prim(k), Doc: doc}
	}
	req := func(name string, k batch.Kind, doc string) batch.Field {
		return batch.Field{Name: name, Type: batch.Prim(k), Required: true, Doc: doc}
	}
	return batch.StructOf(append([]batch.Field{
		opt("key", batch.Binary, "original key"),
		opt("value", batch.Binary, "original value"),
		{Name: "headers", Type: headersType, Doc: "original headers"},
		opt("schema_id", batch.Int, "id of the value's schema in the registry"),
		req("stage", batch.String, "stage that refused the record"),
		opt("step", batch.String, "step within the stage"),
		req("error", batch.String, "reason"),
		req("pipeline", batch.String, "pipeline that loaded the record"),
		req("failed_at", batch.TimestampTZ, "when it was refused"),
	}, auditFields()...)...)
}

func deadLetterPartitioning() []table.PartitionField {
	return []table.PartitionField{{Source: ColumnTimestamp, Transform: "day", Name: ColumnTimestamp + "_day"}}
}

// deadLetters builds the rows of the dead-letter table from a batch's rejects. The result shares the arena of b and is
// good until the next call.
type deadLetters struct {
	pipeline string
	b        *batch.Batch
}

func newDeadLetters(pipeline string) *deadLetters {
	return &deadLetters{pipeline: pipeline, b: batch.New(&batch.Records{}, deadLetterRow())}
}

func (d *deadLetters) rows(b *batch.Batch, ts *tracks, now time.Time) *batch.Batch {
	d.b.Reset(b.Records)
	r, c := b.Records, d.b.Root.Children
	pipeline := r.AppendString(d.pipeline)
	for _, rej := range b.Rejects {
		i := int(rej.Record)
		t := ts.m[table.Key{Topic: r.Topics[r.Topic[i]], Partition: r.Partition[i]}]
		if t.stopped != nil {
			continue
		}
		appendView(c[0], r.Key[i])
		appendView(c[1], r.Value[i])
		appendHeaders(c[2], r, r.Headers[i])
		if rej.SchemaID == 0 {
			c[3].AppendNull()
		} else {
			c[3].AppendInt32(rej.SchemaID)
		}
		c[4].AppendView(r.AppendString(rej.Stage))
		if rej.Step == "" {
			c[5].AppendNull()
		} else {
			c[5].AppendView(r.AppendString(rej.Step))
		}
		c[6].AppendView(r.AppendString(rej.Reason))
		c[7].AppendView(pipeline)
		c[8].AppendInt64(now.UnixMicro())
		c[9].AppendView(r.AppendString(t.key.Topic))
		c[10].AppendInt32(t.key.Partition)
		c[11].AppendInt64(r.Offset[i])
		appendKafkaTime(c[12], r.Timestamp[i])
		c[13].AppendInt32(t.from.Epoch)
		d.b.Root.AppendStruct()
		d.b.AppendRow(i, rej.SchemaID)
	}
	return d.b
}
