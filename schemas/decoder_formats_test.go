package schemas

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// TestDecoderPlain has the formats without a registry: no header, and a row type from the start.
func TestDecoderPlain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	avsc := write("r.avsc", `{"type":"record","name":"R","fields":[`+fieldA+`,`+fieldB+`]}`)
	schema := write("r.json", `{"type":"object","properties":{"a":{"type":"integer","format":"int32"},"b":{"type":"string"}},"required":["a"]}`)
	columns := []configs.ColumnDef{{Name: "a", Type: "int required"}, {Name: "b", Type: "string"}}
	typed := map[string]any{"a": int32(1), "b": "x"}
	for name, c := range map[string]struct {
		format configs.Format
		row    string
		want   any
	}{
		"raw":         {configs.Format{Format: "json"}, "struct<value: string required>", map[string]any{"value": `{"a":1,"b":"x"}`}},
		"columns":     {configs.Format{Format: "json", Columns: columns}, "struct<a: int required, b: string>", typed},
		"avro file":   {configs.Format{Format: "json", Schema: avsc}, "struct<a: int required, b: string>", typed},
		"json schema": {configs.Format{Format: "json", Schema: schema}, "struct<a: int required, b: string>", typed},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, configs.Decode{Value: c.format}, nil)
			g.wantRow(c.row)
			if err := g.d.Bootstrap(t.Context(), []string{"t"}); err != nil {
				t.Error(err)
			}
			rows, rejects := g.decode(values([]byte(`{"a":1,"b":"x"}`), nil, []byte("\xff")))
			if !reflect.DeepEqual(rows, []any{c.want}) || g.reg.requests() != 0 {
				t.Errorf("got %v, want %v; %d requests", rows, c.want, g.reg.requests())
			}
			wantReject(t, rejects[0], 1, 0, "decode", "value", "tombstone")
			wantReject(t, rejects[1], 2, 0, "decode", "value", "")
		})
	}
	_, err := NewDecoder(configs.Decode{Value: configs.Format{Format: "json", Schema: filepath.Join(dir, "none.json")}}, nil, Options{})
	if err == nil || !strings.Contains(err.Error(), "decode.value: schema file") {
		t.Errorf("%v", err)
	}
}

func TestDecoderPlainKey(t *testing.T) {
	g := newRig(t, configs.Decode{Value: configs.Format{Format: "avro"}, Key: &configs.Format{Format: "json"}}, nil)
	g.avro("t-value", 1, fieldA)
	g.wantRow("struct<key_value: string>")
	rows, rejects := g.decode(records([]byte("k"), wire(1, "\x02"), nil, wire(1, "\x04")))
	g.wantRow("struct<a: int required, key_value: string>")
	want := []any{map[string]any{"a": int32(1), "key_value": "k"}, map[string]any{"a": int32(2), "key_value": nil}}
	if len(rejects) > 0 || !reflect.DeepEqual(rows, want) {
		t.Errorf("got %v, %v, want %v", rows, rejects, want)
	}
}

func TestDecoderJSONSchema(t *testing.T) {
	g := newRig(t, configs.Decode{Value: configs.Format{Format: "json_schema"}}, nil)
	add := func(id int, properties string) {
		g.reg.add("t-value", fakeSchema{ID: id, SchemaType: "JSON", Schema: `{"type":"object","properties":{` + properties + `}}`})
	}
	add(1, `"a":{"type":"integer"}`)
	add(2, `"a":{"type":"integer"},"b":{"type":"string"}`)
	rows, rejects := g.decode(values(wire(1, `{"a":1}`), wire(2, `{"a":2,"b":"x"}`), wire(2, `{"a":2`)))
	g.wantRow("struct<a: long, b: string>")
	want := []any{map[string]any{"a": int64(1), "b": nil}, map[string]any{"a": int64(2), "b": "x"}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got %v, want %v", rows, want)
	}
	wantReject(t, rejects[0], 2, 2, "decode", "value", "")
}

// failing is a registry that cannot be asked, and does not say so in our words.
type failing struct{}

func (failing) ByID(context.Context, int) (Registered, error) {
	return Registered{}, errors.New("no route to host")
}

func (failing) Latest(context.Context, string) (Registered, error) {
	return Registered{}, errors.New("no route to host")
}

func (failing) Version(context.Context, string, int) (Registered, error) {
	return Registered{}, errors.New("no route to host")
}

func TestDecoderForeignErrors(t *testing.T) {
	d, err := NewDecoder(valueAvro, failing{}, Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Prepare(t.Context(), values(wire(1, ""))); !errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), "no route") {
		t.Errorf("%v", err)
	}
	if err := d.Bootstrap(t.Context(), []string{"t"}); !errors.Is(err, ErrRegistry) {
		t.Errorf("%v", err)
	}
}

func TestDifference(t *testing.T) {
	p := batch.Prim
	a := batch.StructOf(req("same", p(batch.Int)), req("l", batch.ListOf(batch.StructOf(req("x", p(batch.Int))), true)), req("m", batch.MapOf(p(batch.String), p(batch.Float), true)))
	b := batch.StructOf(req("same", p(batch.Int)), opt("l", batch.ListOf(batch.StructOf(req("x", p(batch.Long)), opt("y", p(batch.Date))), true)), req("m", batch.MapOf(p(batch.String), p(batch.Float), false)))
	want := "l.element.x becomes long from int, l.element.y (date) is new, l becomes optional, m.value becomes optional"
	if got := difference("", a, b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDecoderProtobuf(t *testing.T) {
	g := newRig(t, configs.Decode{Value: configs.Format{Format: "protobuf"}}, nil)
	add := func(id int, text string) {
		g.reg.add("t-value", fakeSchema{ID: id, SchemaType: "PROTOBUF", Schema: `syntax = "proto3"; ` + text})
	}
	add(1, `message A { int32 a = 1; } message B { optional string b = 1; } message C { string a = 1; }`)
	add(2, `message A { int64 a = 1; optional string b = 2; }`)
	const a, b, c, none = "\x00\x08\x07", "\x02\x02\x0a\x01x", "\x02\x04\x0a\x01x", "\x02\x08"
	rows, rejects := g.decode(values(wire(1, a), wire(1, a)))
	g.wantRow("struct<a: int required>") // only of the messages that occur
	if len(rows) != 2 || len(rejects) != 0 {
		t.Fatalf("%v, %v", rows, rejects)
	}
	rows, rejects = g.decode(values(wire(1, b), wire(1, a), wire(1, c), wire(2, "\x00\x08\x05\x12\x01y"), wire(1, none), wire(1, b), wire(1, a+"\xff")))
	g.wantRow("struct<a: long, b: string>")
	want := []any{map[string]any{"a": nil, "b": "x"}, map[string]any{"a": int64(7), "b": nil}, map[string]any{"a": int64(5), "b": "y"}, map[string]any{"a": nil, "b": "x"}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got  %v\nwant %v", rows, want)
	}
	wantReject(t, rejects[0], 2, 1, "evolve", "value", "field a: cannot merge")
	wantReject(t, rejects[1], 4, 1, "decode", "value", "no message with the index")
	wantReject(t, rejects[2], 6, 1, "decode", "value", "")
}

func TestDecoderProtobufBootstrap(t *testing.T) {
	g := newRig(t, configs.Decode{Value: configs.Format{Format: "protobuf"}}, nil)
	g.reg.add("t-value", fakeSchema{ID: 1, SchemaType: "PROTOBUF", Schema: `syntax = "proto3"; message Part { int32 p = 1; } message Whole { Part part = 1; }`})
	g.reg.add("u-value", fakeSchema{ID: 2, SchemaType: "PROTOBUF", Schema: `syntax = "proto3"; message Whole { string part = 1; }`})
	err := g.d.Bootstrap(t.Context(), []string{"t", "u"})
	if err == nil || !strings.Contains(err.Error(), "subject u-value: schema id 2 cannot be used") {
		t.Errorf("%v", err)
	}
	g.wantRow("struct<part: struct<p: int required>>")
	rows, rejects := g.decode(values(wire(1, "\x02\x02\x0a\x02\x08\x03"), wire(2, "\x00")))
	if want := []any{map[string]any{"part": map[string]any{"p": int32(3)}}}; !reflect.DeepEqual(rows, want) {
		t.Errorf("got %v, want %v", rows, want)
	}
	wantReject(t, rejects[0], 1, 2, "evolve", "value", "field part: cannot merge")
}

// TestDecoderProtobufAllocations: telling the record types apart allocates nothing in a run of one type.
func TestDecoderProtobufAllocations(t *testing.T) {
	g := newRig(t, configs.Decode{Value: configs.Format{Format: "protobuf"}}, nil)
	g.reg.add("t-value", fakeSchema{ID: 1, SchemaType: "PROTOBUF", Schema: `syntax = "proto3"; message A { int32 a = 1; } message B { string b = 1; }`})
	for _, payload := range []string{"\x00\x08\x07", "\x02\x02\x0a\x01x"} {
		var payloads [][]byte
		for range 1000 {
			payloads = append(payloads, wire(1, payload))
		}
		r := values(payloads...)
		g.decode(r)
		b := batch.New(r, g.d.Row())
		n := testing.AllocsPerRun(10, func() {
			b.Reset(r)
			if _, err := g.d.Prepare(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := g.d.Decode(r, b); err != nil {
				t.Fatal(err)
			}
		})
		if n > 20 || b.Rows != r.Len() {
			t.Errorf("%v allocations for %d records, %d rows", n, r.Len(), b.Rows)
		}
	}
}
