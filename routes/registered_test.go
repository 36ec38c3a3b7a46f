package routes_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/hamba/avro/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/routes"
)

const wide = "flag boolean; n int; f float; d double; price decimal(10,2); big decimal(30,4); day date; hour time; at timestamptz; local timestamp; name string; " +
	"u uuid; raw binary; tags list<string>; nums list<int>; attrs map<string, long>; who struct<name: string, tall: boolean>; people list<struct<name: string required>>"

const full = `{"id":-7,"flag":true,"n":-3,"f":1.5,"d":-2.25,"price":"-12.50","big":"-12345678901234567890.1234","day":"2026-11-21","hour":"10:20:30.5","at":"2026-11-21T10:20:30.123456Z",
"local":"2026-11-21T10:20:30","name":"Zoë \"x\"","u":"00112233-4455-6677-8899-aabbccddeeff","raw":"AAEC","tags":["a","b"],"nums":[1,-2],"attrs":{"k":5},"who":{"name":"W","tall":false},"people":[{"name":"P"}]}`

// sent has a route of a format send two rows, one with all values and one with nulls, and gives the schema and the messages.
func sent(t *testing.T, format string) (schema string, values [][]byte) {
	t.Helper()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "out.of-it", 1)
	sendWide(t, e, "a", "out.of-it", format, func(_ context.Context, subject, kind, text string) (int, error) {
		if subject != "out.of-it-value" {
			return 0, fmt.Errorf("subject %s", subject)
		}
		schema = text
		return 258, nil
	})
	for _, r := range e.Records(t, "out.of-it", 2) {
		if format == "json" {
			values = append(values, r.Value)
			continue
		}
		if r.Value[0] != 0 || binary.BigEndian.Uint32(r.Value[1:]) != 258 {
			t.Fatalf("header %v", r.Value[:5])
		}
		values = append(values, r.Value[5:])
	}
	return schema, values
}

// sendWide has a route of a format send two rows from one topic to the other.
func sendWide(t *testing.T, e *pipelinetest.Env, in, out, format string, register func(ctx context.Context, subject, kind, text string) (int, error)) {
	t.Helper()
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Source.Group = in
		for c := range strings.SplitSeq(wide, "; ") {
			name, typ, _ := strings.Cut(c, " ")
			p.Decode.Value.Columns = append(p.Decode.Value.Columns, configs.ColumnDef{Name: name, Type: typ})
		}
	}, in)
	e.Produce(t, in, 0, full, `{"id":0}`)
	load(t, e, cfg, 2)
	o := outlet(configs.Outlet{Name: in + format, Start: "earliest", Topic: &configs.OutletTopic{Name: out, Format: format, Key: []string{"id"}}})
	start(t, e, o, func(d *routes.Deps) { d.NewSchema = register }).end()
}

// What JSON is sent is what was read, but for how it is written.
func TestJSON(t *testing.T) {
	t.Parallel()
	_, values := sent(t, "json")
	want := strings.ReplaceAll(full, "\n", "")
	if got := string(values[0]); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestAvro(t *testing.T) {
	t.Parallel()
	text, values := sent(t, "avro")
	schema, err := avro.Parse(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want := []string{
		`{"at":"2026-11-21T10:20:30.123456Z","attrs":{"map":{"k":5}},"big":"-61728394506172839450617/5000","d":-2.25,"day":"2026-11-21T00:00:00Z","f":1.5,"flag":true,` +
			`"hour":37230500000000,"id":-7,"local":{"long.local-timestamp-micros":"2026-11-21T10:20:30Z"},"n":-3,"name":"Zoë \"x\"","nums":{"array":[1,-2]},` +
			`"people":{"array":[{"out_of_it_people_element":{"name":"P"}}]},"price":"-25/2","raw":"AAEC","tags":{"array":["a","b"]},"u":"00112233-4455-6677-8899-aabbccddeeff",` +
			`"who":{"out_of_it_who":{"name":"W","tall":false}}}`,
		`{"at":null,"attrs":null,"big":null,"d":null,"day":null,"f":null,"flag":null,"hour":null,"id":0,"local":null,"n":null,"name":null,"nums":null,"people":null,` +
			`"price":null,"raw":null,"tags":null,"u":null,"who":null}`}
	for i, v := range values {
		var got map[string]any
		if err := avro.Unmarshal(schema, v, &got); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != want[i] {
			t.Errorf("got %s\nwant %s", b, want[i])
		}
	}
}

func TestProtobuf(t *testing.T) {
	t.Parallel()
	text, values := sent(t, "protobuf")
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"x.proto": text})})}
	files, err := c.Compile(t.Context(), "x.proto")
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want := []string{strings.NewReplacer("\n", "", `"id":-7`, `"id":"-7"`, `"k":5`, `"k":"5"`).Replace(full), `{}`}
	for i, v := range values {
		m := dynamicpb.NewMessage(files[0].Messages().Get(0))
		if err := proto.Unmarshal(v[1:], m); err != nil || v[0] != 0 || len(m.GetUnknown()) > 0 {
			t.Fatalf("%v: %v", v, err)
		}
		b, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var plain bytes.Buffer
		if err := json.Compact(&plain, b); err != nil || plain.String() != want[i] {
			t.Errorf("got %s\nwant %s: %v", b, want[i], err)
		}
	}
}
