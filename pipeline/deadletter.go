package pipeline

import (
	"encoding/binary"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Columns of dead-letter tables. They have the audit columns of every table too.
const (
	letterKey         = "key"
	letterValue       = "value"
	letterHeaders     = "headers"
	letterSchemaID    = "schema_id"
	letterKeySchemaID = "key_schema_id"
	letterStage       = "stage"
	letterStep        = "step"
	letterError       = "error"
	letterPipeline    = "pipeline"
	letterVersion     = "pipeline_version"
	letterFailedAt    = "failed_at"
)

// deadLetterRow is the row type of a dead-letter table: the original bytes, where they came from, and why they are here.
func deadLetterRow() *batch.Type {
	opt := func(name string, k batch.Kind, doc string) batch.Field {
		return batch.Field{Name: name, Type: batch.Prim(k), Doc: doc}
	}
	req := func(name string, k batch.Kind, doc string) batch.Field {
		return batch.Field{Name: name, Type: batch.Prim(k), Required: true, Doc: doc}
	}
	fields := []batch.Field{
		opt(letterKey, batch.Binary, "original key"),
		opt(letterValue, batch.Binary, "original value"),
		{Name: letterHeaders, Type: headersType, Doc: "original headers"},
		opt(letterSchemaID, batch.Int, "id of the value's schema in the registry"),
		opt(letterKeySchemaID, batch.Int, "id of the key's schema in the registry, if the key was refused"),
		req(letterStage, batch.String, "stage that refused the record"),
		opt(letterStep, batch.String, "step within the stage"),
		req(letterError, batch.String, "reason"),
		req(letterPipeline, batch.String, "pipeline that loaded the record"),
		opt(letterVersion, batch.String, "program and configuration whose rules refused the record"),
		req(letterFailedAt, batch.TimestampTZ, "when it was refused"),
	}
	fields = append(fields, auditFields()...)
	return batch.StructOf(append(fields,
		opt(ColumnReplayedAt, batch.TimestampTZ, "when a replay made it a row"),
		opt(ColumnReplayedRound, batch.Long, "round of that replay"))...)
}

func deadLetterPartitioning() []table.PartitionField {
	return []table.PartitionField{{Source: ColumnTimestamp, Transform: "day", Name: ColumnTimestamp + "_day"}}
}

// deadLetters builds the rows of the dead-letter table from a batch's rejects. The result shares the arena of b and is
// good until the next call.
type deadLetters struct {
	pipeline, version string
	b                 *batch.Batch
	cols              map[string]*batch.Column
}

// newDeadLetters: version says which program and configuration refuses records.
func newDeadLetters(pipeline, version string) *deadLetters {
	d := &deadLetters{pipeline: pipeline, version: version, b: batch.New(&batch.Records{}, deadLetterRow()), cols: map[string]*batch.Column{}}
	for i, f := range d.b.Root.Type.Fields {
		d.cols[f.Name] = d.b.Root.Children[i]
	}
	return d
}

func (d *deadLetters) rows(b *batch.Batch, ts *tracks, now time.Time) *batch.Batch {
	d.b.Reset(b.Records)
	r, c := b.Records, d.cols
	pipeline, version := r.AppendString(d.pipeline), r.AppendString(d.version)
	for _, rej := range b.Rejects {
		i := int(rej.Record)
		t := ts.m[table.Key{Topic: r.Topics[r.Topic[i]], Partition: r.Partition[i]}]
		if t.stopped != nil {
			continue
		}
		appendView(c[letterKey], r.Key[i])
		appendView(c[letterValue], r.Value[i])
		appendHeaders(c[letterHeaders], r, r.Headers[i])
		appendID(c[letterSchemaID], rej.SchemaID)
		appendID(c[letterKeySchemaID], rej.KeySchemaID)
		c[letterStage].AppendView(r.AppendString(rej.Stage))
		if rej.Step == "" {
			c[letterStep].AppendNull()
		} else {
			c[letterStep].AppendView(r.AppendString(rej.Step))
		}
		c[letterError].AppendView(r.AppendString(rej.Reason))
		c[letterPipeline].AppendView(pipeline)
		c[letterVersion].AppendView(version)
		c[letterFailedAt].AppendInt64(now.UnixMicro())
		c[ColumnTopic].AppendView(r.AppendString(t.key.Topic))
		c[ColumnPartition].AppendInt32(t.key.Partition)
		c[ColumnOffset].AppendInt64(r.Offset[i])
		appendKafkaTime(c[ColumnTimestamp], r.Timestamp[i])
		c[ColumnEpoch].AppendInt32(t.from.Epoch)
		c[ColumnReplayedAt].AppendNull()
		c[ColumnReplayedRound].AppendNull()
		d.b.Root.AppendStruct()
		d.b.AppendRow(i, rej.SchemaID)
	}
	return d.b
}

func appendID(c *batch.Column, id int32) {
	if id == 0 {
		c.AppendNull()
		return
	}
	c.AppendInt32(id)
}

// header is one header of a record; a nil value is null.
type header struct {
	name  string
	value []byte
}

// headersOf decodes one record's headers (see batch.Records.Headers). Values are views into the arena.
func headersOf(r *batch.Records, v batch.View) (out []header) {
	for b := r.Bytes(v); len(b) > 0; {
		n, k := binary.Uvarint(b)
		h := header{name: string(b[k : k+int(n)])}
		b = b[k+int(n):]
		n, k = binary.Uvarint(b)
		b = b[k:]
		if n > 0 {
			h.value, b = b[:n-1:n-1], b[n-1:]
		}
		out = append(out, h)
	}
	return out
}
