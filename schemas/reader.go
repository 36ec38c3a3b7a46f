package schemas

import (
	"context"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// ErrUnreadable means that a payload is not what its schema says, or that no schema of a binary format is its.
var ErrUnreadable = errors.New("its bytes cannot be read")

// Reader reads payloads in the wire format one at a time, each by the schema that it names and by that alone. So it also reads what a Decoder
// refuses since its schema clashes with those before, or is of another format than the pipeline's. It is not safe for concurrent use.
type Reader struct {
	registry Registry
	connect  bool
	ids      map[int32]*alone
	down     error // of a registry that could not be asked: it is asked once, as each id would wait for the same answer
	records  batch.Records
}

// alone is a schema id; types has an entry for each record type that was met.
type alone struct {
	schema Schema
	err    error
	types  map[Schema]*aloneType
}

type aloneType struct {
	plan Plan
	b    *batch.Batch
	err  error
}

// NewReader returns a reader. reg may be nil: then no schema can be had. connect: the types of Kafka Connect and Debezium count.
func NewReader(reg Registry, connect bool) *Reader {
	r := &Reader{registry: reg, connect: connect, ids: map[int32]*alone{}}
	if reg == nil {
		r.down = fmt.Errorf("%w: registry.url is not set", ErrRegistry)
	}
	return r
}

// Read returns a payload as a batch with one row, good until the next call. An error wraps ErrRegistry (it could not be asked), ErrNotFound
// (it has no such schema) or ErrUnreadable; it tells nothing of what is in the payload.
func (r *Reader) Read(ctx context.Context, payload []byte) (*batch.Batch, error) {
	r.records.Reset()
	v := r.records.Append(payload)
	id, ok := wireID(&r.records, v)
	if !ok {
		return nil, fmt.Errorf("%w: it is not in the Confluent wire format", ErrUnreadable)
	}
	e, err := r.entry(ctx, id)
	if err != nil {
		return nil, err
	}
	v = batch.View{Off: v.Off + wireHeader, Len: v.Len - wireHeader}
	t, err := e.typeOf(&r.records, v)
	if err != nil {
		return nil, fmt.Errorf("%w as schema id %d", err, id)
	}
	t.b.Reset(&r.records)
	if err := t.plan.Append(&r.records, v, t.b.Root); err != nil {
		return nil, fmt.Errorf("%w as schema id %d", ErrUnreadable, id)
	}
	t.b.Root.AppendStruct()
	t.b.AppendRow(0, id)
	return t.b, nil
}

func (r *Reader) entry(ctx context.Context, id int32) (*alone, error) {
	if e := r.ids[id]; e != nil {
		return e, e.err
	}
	if r.down != nil {
		return nil, r.down
	}
	reg, err := r.registry.ByID(ctx, int(id))
	if err != nil && !errors.Is(err, ErrNotFound) {
		if err = unavailable(err); ctx.Err() == nil {
			r.down = err
		}
		return nil, err
	}
	e := &alone{types: map[Schema]*aloneType{}}
	if r.ids[id] = e; err != nil {
		e.err = err
	} else if e.schema, err = r.parse(reg); err != nil {
		e.err = fmt.Errorf("%w: schema id %d cannot be used: %w", ErrUnreadable, id, err)
	}
	return e, e.err
}

func (r *Reader) parse(reg Registered) (Schema, error) {
	switch reg.Type {
	case "AVRO":
		return parseAvro(reg.Text, reg.Refs, r.connect)
	case "PROTOBUF":
		return ParseProtobuf(reg.Text, reg.Refs)
	}
	return nil, fmt.Errorf("it is of type %s", reg.Type)
}

// typeOf is the payload's own record type.
func (e *alone) typeOf(r *batch.Records, payload batch.View) (*aloneType, error) {
	schema := e.schema
	if s, ok := schema.(Selector); ok {
		var err error
		if schema, err = s.Select(r.Bytes(payload)); err != nil {
			return nil, ErrUnreadable
		}
	}
	t := e.types[schema]
	if t == nil {
		row := schema.Row()
		t = &aloneType{b: batch.New(r, row)}
		if t.plan, t.err = schema.Compile(row); t.err != nil {
			t.err = fmt.Errorf("%w: %w", ErrUnreadable, t.err)
		}
		e.types[schema] = t
	}
	return t, t.err
}
