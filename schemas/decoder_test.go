package schemas

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// rig is a decoder over a fake registry and a clock that stands still unless told.
type rig struct {
	t   *testing.T
	reg *fakeRegistry
	now time.Time
	d   *Decoder
}

func newRig(t *testing.T, cfg configs.Decode, change func(*Options)) *rig {
	g := &rig{t: t, now: time.Unix(1000, 0)}
	var c *RegistryClient
	g.reg, c = newFakeRegistry(t)
	o := Options{Clock: func() time.Time { return g.now }}
	if change != nil {
		change(&o)
	}
	d, err := NewDecoder(cfg, c, o)
	if err != nil {
		t.Fatal(err)
	}
	g.d = d
	return g
}

func (g *rig) avro(subject string, id int, fields ...string) {
	g.reg.add(subject, fakeSchema{ID: id, Schema: `{"type":"record","name":"R","fields":[` + strings.Join(fields, ",") + `]}`})
}

const (
	fieldA  = `{"name":"a","type":"int"}`
	fieldAL = `{"name":"a","type":"long"}`
	fieldAS = `{"name":"a","type":"string"}`
	fieldB  = `{"name":"b","type":["null","string"]}`
)

var valueAvro = configs.Decode{Value: configs.Format{Format: "avro"}}

// wire is a payload with its header.
func wire(id uint32, payload string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, id), payload...)
}

// records makes records of one topic, given as key, value, key, value.
func records(payloads ...[]byte) *batch.Records {
	r := &batch.Records{Topics: []string{"t"}}
	for i := 0; i < len(payloads); i += 2 {
		addRecord(r, int64(i/2), payloads[i], payloads[i+1])
	}
	return r
}

func values(payloads ...[]byte) *batch.Records {
	var kv [][]byte
	for _, p := range payloads {
		kv = append(kv, nil, p)
	}
	return records(kv...)
}

// decode prepares and decodes, and checks what must always hold.
func (g *rig) decode(r *batch.Records) ([]any, []batch.Reject) {
	g.t.Helper()
	before := g.d.Row()
	changed, err := g.d.Prepare(context.Background(), r)
	if err != nil {
		g.t.Fatal(err)
	}
	if changed != (before != g.d.Row()) {
		g.t.Errorf("changed %v, but the row type is %s after %s", changed, g.d.Row(), before)
	}
	b := batch.New(r, g.d.Row())
	if err := g.d.Decode(r, b); err != nil {
		g.t.Fatal(err)
	}
	if err := checkColumn(b.Root, true, b.Rows); err != nil {
		g.t.Fatal(err)
	}
	if b.Rows+len(b.Rejects) != r.Len() || len(b.Record) != b.Rows || len(b.SchemaID) != b.Rows || len(b.Fate) != b.Rows {
		g.t.Fatalf("%d records, %d rows, %d rejects", r.Len(), b.Rows, len(b.Rejects))
	}
	var rows []any
	for i := range b.Rows {
		rows = append(rows, slot(r, b.Root, i))
	}
	return rows, b.Rejects
}

func (g *rig) wantRow(want string) {
	g.t.Helper()
	if got := g.d.Row().String(); got != want {
		g.t.Errorf("row type %s, want %s", got, want)
	}
}

func wantReject(t *testing.T, got batch.Reject, record, id int32, stage, step, reason string) {
	t.Helper()
	of := got.SchemaID
	if step == "key" {
		of = got.KeySchemaID
	}
	if got.Record != record || of != id || got.Stage != stage || got.Step != step || !strings.Contains(got.Reason, reason) {
		t.Errorf("got  %+v\nwant record %d, schema id %d, stage %s, step %s, reason with %q", got, record, id, stage, step, reason)
	}
}

func TestDecoderVersionsInOneBatch(t *testing.T) {
	g := newRig(t, valueAvro, nil)
	g.avro("t-value", 1, fieldA)
	g.avro("t-value", 2, fieldAL, fieldB)
	g.avro("t-value", 3, fieldB)
	g.wantRow("struct<>")
	rows, rejects := g.decode(values(wire(1, "\x02"), wire(2, "\x04\x02\x02x"), wire(1, "\x06"), wire(3, "\x00"), wire(2, "\x08\x00")))
	g.wantRow("struct<a: long, b: string>")
	if len(rejects) > 0 {
		t.Fatal(rejects)
	}
	want := []any{map[string]any{"a": int64(1), "b": nil}, map[string]any{"a": int64(2), "b": "x"}, map[string]any{"a": int64(3), "b": nil},
		map[string]any{"a": nil, "b": nil}, map[string]any{"a": int64(4), "b": nil}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got  %v\nwant %v", rows, want)
	}
	if g.reg.requests() != 3 || g.d.Version() != 3 {
		t.Errorf("%d requests for three ids, version %d", g.reg.requests(), g.d.Version())
	}
}

func TestDecoderDeadLetters(t *testing.T) {
	g := newRig(t, valueAvro, nil)
	g.avro("t-value", 1, fieldA)
	g.avro("t-value", 2, fieldAS)
	g.reg.add("t-value", fakeSchema{ID: 3, Schema: `{"type":"record"`})
	g.reg.add("t-value", fakeSchema{ID: 4, Schema: `message M {}`, SchemaType: "PROTOBUF"})
	rows, rejects := g.decode(values(wire(1, "\x02"), nil, []byte(`{"a":1}`), []byte{}, wire(1, ""), wire(2, "\x02x"), wire(3, ""), wire(4, ""), []byte("\x00\xff\xff\xff\xff\x02"), wire(1, "\x04")))
	if want := []any{map[string]any{"a": int32(1)}, map[string]any{"a": int32(2)}}; !reflect.DeepEqual(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
	for i, c := range []struct {
		id            int32
		stage, reason string
	}{
		{0, "decode", "null value (tombstone)"},
		{0, "decode", "begins with byte 0x7b"},
		{0, "decode", "of 0 bytes is too short"},
		{1, "decode", "field a: the payload ends"},
		{2, "evolve", "schema id 2 cannot be used: it cannot be merged with those before: field a: cannot merge int with string"},
		{3, "evolve", "schema id 3 cannot be used: avro schema: is no JSON"},
		{4, "evolve", "of type PROTOBUF, but decode.value.format is avro"},
		{0, "decode", "schema id 0xffffffff"},
	} {
		wantReject(t, rejects[i], int32(i+1), c.id, c.stage, "value", c.reason)
	}
	g.wantRow("struct<a: int required>")
}

func TestDecoderRegistryDown(t *testing.T) {
	g := newRig(t, valueAvro, nil)
	g.avro("t-value", 1, fieldA)
	r := values(wire(1, "\x02"))
	for _, status := range []int{500, 503, 401, 404} {
		g.reg.setFault(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		g.now = g.now.Add(time.Hour) // however long it takes
		if changed, err := g.d.Prepare(context.Background(), r); changed || !errors.Is(err, ErrRegistry) || errors.Is(err, ErrUnknownID) {
			t.Errorf("status %d: %v, %v", status, changed, err)
		}
		if err := g.d.Bootstrap(context.Background(), []string{"t"}); !errors.Is(err, ErrRegistry) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	if err := g.d.Decode(r, batch.New(r, g.d.Row())); err == nil || !strings.Contains(err.Error(), "topic t, partition 0, offset 0") {
		t.Errorf("decoding what is not prepared: %v", err)
	}
	g.reg.setFault(nil)
	if rows, rejects := g.decode(r); len(rows) != 1 || len(rejects) != 0 {
		t.Errorf("%v, %v", rows, rejects)
	}
}

func TestDecoderUnknownID(t *testing.T) {
	g := newRig(t, valueAvro, nil)
	g.avro("t-value", 1, fieldA)
	r := values(wire(7, "\x02"), wire(1, "\x02"), wire(8, "\x02"))
	prepare := func() error {
		_, err := g.d.Prepare(context.Background(), r)
		return err
	}
	for range 3 {
		if err := prepare(); !errors.Is(err, ErrUnknownID) || errors.Is(err, ErrRegistry) {
			t.Fatalf("%v", err)
		}
		g.now = g.now.Add(9 * time.Second)
	}
	g.wantRow("struct<a: int required>") // the known id is not held up
	g.avro("t-value", 8, fieldA)         // registered late, but in time
	g.now = g.now.Add(3 * time.Second)
	rows, rejects := g.decode(r)
	if len(rows) != 2 || len(rejects) != 1 {
		t.Fatalf("%v, %v", rows, rejects)
	}
	wantReject(t, rejects[0], 0, 7, "resolve", "value", "schema id 7: not found")

	asked := g.reg.requests()
	g.decode(r)
	if n := g.reg.requests(); n != asked {
		t.Errorf("%d requests for what was asked a moment ago", n-asked)
	}
	g.now = g.now.Add(30 * time.Second)
	if _, rejects := g.decode(r); len(rejects) != 1 || g.reg.requests() != asked+1 {
		t.Errorf("%v, %d requests, want one", rejects, g.reg.requests()-asked)
	}
	g.avro("t-value", 7, fieldA)
	g.now = g.now.Add(30 * time.Second)
	if rows, rejects := g.decode(r); len(rows) != 3 || len(rejects) != 0 {
		t.Errorf("registered in the end: %v, %v", rows, rejects)
	}
}

func TestDecoderUnknownIDLimit(t *testing.T) {
	g := newRig(t, valueAvro, func(o *Options) { o.UnknownIDAfter = time.Minute })
	r := values(wire(7, "\x02"))
	for range 2 {
		if _, err := g.d.Prepare(context.Background(), r); !errors.Is(err, ErrUnknownID) {
			t.Fatalf("%v", err)
		}
		g.now = g.now.Add(59 * time.Second)
	}
	if rows, rejects := g.decode(r); len(rows) != 0 || len(rejects) != 1 {
		t.Errorf("%v, %v", rows, rejects)
	}
}

func TestDecoderFreeze(t *testing.T) {
	g := newRig(t, valueAvro, func(o *Options) { o.Freeze = true })
	g.avro("t-value", 1, fieldA, fieldB)
	g.avro("t-value", 2, fieldA, fieldB, `{"name":"c","type":{"type":"record","name":"C","fields":[{"name":"x","type":"int"}]}}`)
	g.avro("t-value", 3, fieldAL, fieldB)
	g.avro("t-value", 4, fieldB, fieldA)
	g.avro("t-value", 5, fieldB)
	rows, rejects := g.decode(values(wire(1, "\x02\x00"), wire(2, "\x02\x00\x02"), wire(3, "\x02\x00"), wire(4, "\x00\x06"), wire(5, "\x00")))
	if want := []any{map[string]any{"a": int32(1), "b": nil}, map[string]any{"a": int32(3), "b": nil}}; !reflect.DeepEqual(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
	wantReject(t, rejects[0], 1, 2, "evolve", "value", "table.evolve), and it would change the columns: c (struct<x: int required>) is new")
	wantReject(t, rejects[1], 2, 3, "evolve", "value", "a becomes long from int")
	wantReject(t, rejects[2], 4, 5, "evolve", "value", "a becomes optional")
	g.wantRow("struct<a: int required, b: string>")
}

func TestDecoderAccept(t *testing.T) {
	var seen []string
	g := newRig(t, valueAvro, func(o *Options) {
		o.Accept = func(row *batch.Type) error {
			seen = append(seen, row.String())
			if row.Index("b") >= 0 {
				return errors.New("cleanse[0] trim: no b here")
			}
			return nil
		}
	})
	g.avro("t-value", 1, fieldA)
	g.avro("t-value", 2, fieldA, fieldB)
	_, rejects := g.decode(values(wire(1, "\x02"), wire(2, "\x02\x00"), wire(1, "\x02"), wire(2, "\x02\x00")))
	wantReject(t, rejects[0], 1, 2, "evolve", "value", "cleanse[0] trim: no b here")
	if fmt.Sprint(seen) != "[struct<a: int required> struct<a: int required, b: string>]" {
		t.Errorf("asked %v", seen)
	}
	g.wantRow("struct<a: int required>")
}

func TestDecoderKeys(t *testing.T) {
	cfg := valueAvro
	cfg.Key = &configs.Format{Format: "avro"}
	g := newRig(t, cfg, nil)
	g.avro("t-value", 1, fieldA)
	g.avro("t-value", 2, fieldA, fieldB)
	g.avro("t-key", 3, `{"name":"id","type":"long"}`)
	g.reg.add("t-key", fakeSchema{ID: 4, Schema: `"string"`})
	rows, rejects := g.decode(records(wire(3, "\x0a"), wire(1, "\x02"), nil, wire(1, "\x04")))
	g.wantRow("struct<a: int required, key_id: long>")
	want := []any{map[string]any{"a": int32(1), "key_id": int64(5)}, map[string]any{"a": int32(2), "key_id": nil}}
	if len(rejects) > 0 || !reflect.DeepEqual(rows, want) {
		t.Errorf("got %v, %v, want %v", rows, rejects, want)
	}
	// Values and keys grow in the same batch; keys stay behind values.
	rows, rejects = g.decode(records(wire(4, "\x02k"), wire(2, "\x04\x02\x02v"), wire(3, "\x0c"), wire(1, "\x06"), wire(3, ""), wire(2, "\x08\x00"), wire(3, "\x02"), nil))
	g.wantRow("struct<a: int required, b: string, key_id: long, key_value: string>")
	want = []any{map[string]any{"a": int32(2), "b": "v", "key_id": nil, "key_value": "k"}, map[string]any{"a": int32(3), "b": nil, "key_id": int64(6), "key_value": nil}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got  %v\nwant %v", rows, want)
	}
	wantReject(t, rejects[0], 2, 3, "decode", "key", "field id: the payload ends")
	wantReject(t, rejects[1], 3, 0, "decode", "value", "tombstone")
	if rejects[0].SchemaID != 2 || rejects[1].KeySchemaID != 0 {
		t.Errorf("a refused key keeps the value's schema id, a refused value has no key's: %+v", rejects)
	}
}

func TestDecoderKeyCollision(t *testing.T) {
	none := ""
	cfg := valueAvro
	cfg.Key = &configs.Format{Format: "avro", Prefix: &none}
	g := newRig(t, cfg, nil)
	g.avro("t-value", 1, fieldA)
	g.avro("t-key", 3, fieldA)
	_, rejects := g.decode(records(wire(3, "\x0a"), wire(1, "\x02")))
	wantReject(t, rejects[0], 0, 3, "evolve", "key", "both have a column a")
}

func TestDecoderBootstrap(t *testing.T) {
	cfg := valueAvro
	cfg.Key = &configs.Format{Format: "avro", Subject: "ids"}
	g := newRig(t, cfg, nil)
	g.avro("t-value", 1, fieldA)
	g.avro("t-value", 2, fieldA, fieldB)
	g.avro("u-value", 3, fieldAS)
	g.avro("v-value", 4, `{"name":"c","type":"int"}`)
	g.avro("ids", 5, `{"name":"id","type":"long"}`)
	err := g.d.Bootstrap(context.Background(), []string{"t", "u", "none", "v"})
	if err == nil || errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), "subject u-value: schema id 3 cannot be used") {
		t.Errorf("%v", err)
	}
	g.wantRow("struct<a: int, b: string, c: int, key_id: long>")
	asked := g.reg.requests()
	g.decode(records(wire(5, "\x02"), wire(2, "\x02\x00"), wire(5, "\x02"), wire(3, "\x02x"), wire(5, "\x02"), wire(4, "\x02")))
	if n := g.reg.requests() - asked; n != 0 {
		t.Errorf("%d requests for schemas that were fetched at the start", n)
	}
}

// TestDecoderBootstrapWithOlderVersion: a version that cannot be used must not keep the columns unknown.
func TestDecoderBootstrapWithOlderVersion(t *testing.T) {
	g := newRig(t, valueAvro, func(o *Options) {
		o.Accept = func(row *batch.Type) error {
			if f := row.Fields[0]; f.Type.Kind == batch.String {
				return errors.New("the table has numbers")
			}
			return nil
		}
	})
	g.avro("t-value", 1, fieldA)
	g.avro("t-value", 2, fieldA, fieldB)
	g.avro("t-value", 3, fieldAS)
	g.reg.subjects["t-value"][1].Version = 9 // as if version 2 had been deleted
	err := g.d.Bootstrap(context.Background(), []string{"t"})
	if err == nil || errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), "schema id 3 cannot be used") {
		t.Errorf("%v", err)
	}
	g.wantRow("struct<a: int required>")
	_, rejects := g.decode(values(wire(1, "\x02"), wire(3, "\x02x")))
	wantReject(t, rejects[0], 1, 3, "evolve", "value", "the table has numbers")
}

func TestDecoderBootstrapWithoutSubject(t *testing.T) {
	g := newRig(t, valueAvro, nil)
	if err := g.d.Bootstrap(context.Background(), []string{"t"}); err != nil {
		t.Error(err)
	}
	if g.d.Version() != 0 {
		t.Errorf("version %d", g.d.Version())
	}
	if _, rejects := g.decode(values(nil)); len(rejects) != 1 {
		t.Errorf("without a row type, records can be dead letters still: %v", rejects)
	}
}

func TestDecoderWrongBatch(t *testing.T) {
	g := newRig(t, valueAvro, nil)
	g.avro("t-value", 1, fieldA)
	r := values(wire(1, "\x02"))
	b := batch.New(r, g.d.Row())
	if _, err := g.d.Prepare(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if err := g.d.Decode(r, b); err == nil || !strings.Contains(err.Error(), "struct<a: int required>") {
		t.Errorf("%v", err)
	}
}

func TestNewDecoderRefuses(t *testing.T) {
	for want, cfg := range map[string]configs.Decode{
		"decode.value: format avro needs a schema registry":   valueAvro,
		`decode.value: format "csv" is none of`:               {Value: configs.Format{Format: "csv"}},
		"decode.key: format protobuf needs a schema registry": {Value: configs.Format{Format: "json"}, Key: &configs.Format{Format: "protobuf"}},
	} {
		if _, err := NewDecoder(cfg, nil, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// BenchmarkDecoder is the stage as the pipeline uses it, on clicks in the wire format.
func BenchmarkDecoder(b *testing.B) {
	d, r := clicksDecoder(b)
	out := batch.New(r, d.Row())
	b.SetBytes(int64(len(r.Mem)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Prepare(context.Background(), r); err != nil {
			b.Fatal(err)
		}
		out.Reset(r)
		if err := d.Decode(r, out); err != nil || out.Rows != r.Len() {
			b.Fatal(err, out.Rejects)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*r.Len()), "ns/record")
}

func clicksDecoder(t testing.TB) (*Decoder, *batch.Records) {
	t.Helper()
	d, err := NewDecoder(valueAvro, oneSchema(clicksSchema), Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	r := clicks(4096)
	if _, err := d.Prepare(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return d, r
}

// oneSchema is a registry with one Avro schema for every question.
type oneSchema string

func (s oneSchema) ByID(_ context.Context, id int) (Registered, error) {
	return Registered{ID: id, Type: "AVRO", Text: string(s)}, nil
}

func (s oneSchema) Latest(context.Context, string) (Registered, error) {
	return Registered{ID: 1, Type: "AVRO", Text: string(s)}, nil
}

func (s oneSchema) Version(ctx context.Context, subject string, _ int) (Registered, error) {
	return s.Latest(ctx, subject)
}

func TestDecoderAllocations(t *testing.T) {
	d, r := clicksDecoder(t)
	b := batch.New(r, d.Row())
	n := testing.AllocsPerRun(10, func() {
		b.Reset(r)
		if err := d.Decode(r, b); err != nil {
			t.Fatal(err)
		}
	})
	if n > 10 {
		t.Errorf("%v allocations for %d records", n, r.Len())
	}
}
