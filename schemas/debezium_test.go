package schemas

import (
	"math/big"
	"testing"

	"github.com/hamba/avro/v2"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// debeziumAvro is an envelope as Debezium registers it, with the types that PostgreSQL and MySQL have.
const debeziumAvro = `{"type":"record","name":"Envelope","namespace":"db.public.t","fields":[
	{"name":"before","type":["null",{"type":"record","name":"Value","fields":[
		{"name":"id","type":{"type":"int","connect.default":0},"default":0},
		{"name":"day","type":["null",{"type":"int","connect.version":1,"connect.name":"io.debezium.time.Date"}],"default":null},
		{"name":"at","type":["null",{"type":"long","connect.version":1,"connect.name":"io.debezium.time.MicroTimestamp"}],"default":null},
		{"name":"at3","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.Timestamp"}},
		{"name":"at9","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.NanoTimestamp"}},
		{"name":"tz","type":{"type":"string","connect.version":1,"connect.name":"io.debezium.time.ZonedTimestamp"}},
		{"name":"tod","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.MicroTime"}},
		{"name":"todn","type":{"type":"long","connect.version":1,"connect.name":"io.debezium.time.NanoTime"}},
		{"name":"ct","type":{"type":"long","connect.version":1,"connect.name":"org.apache.kafka.connect.data.Timestamp","logicalType":"timestamp-millis"}},
		{"name":"price","type":{"type":"bytes","scale":2,"precision":10,"connect.version":1,"connect.parameters":{"scale":"2","connect.decimal.precision":"10"},"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}},
		{"name":"any","type":{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.version":1,"connect.name":"io.debezium.data.VariableScaleDecimal"}},
		{"name":"any2","type":["null","io.debezium.data.VariableScaleDecimal"],"default":null},
		{"name":"doc","type":{"type":"string","connect.version":1,"connect.name":"io.debezium.data.Json"}}]}],"default":null},
	{"name":"after","type":["null","Value"],"default":null},
	{"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[{"name":"ts_ms","type":"long"},{"name":"lsn","type":["null","long"],"default":null}]}},
	{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null}],"connect.name":"db.public.t.Envelope"}`

func TestDebeziumTypes(t *testing.T) {
	cfg := valueAvro
	cfg.Changes = &configs.Changes{Form: "debezium"}
	g := newRig(t, cfg, nil)
	g.reg.add("t-value", fakeSchema{ID: 1, Schema: debeziumAvro})
	at := int64(1700000000123456)
	row := map[string]any{"id": 7, "day": map[string]any{"int": 19675}, "at": map[string]any{"long": at}, "at3": at / 1000, "at9": at*1000 + 789, "tz": "2023-11-14T22:13:20.123456Z", "tod": int64(3600_000_001), "todn": int64(3600_000_001_999),
		"ct": at / 1000, "price": []byte{0xff, 0x85}, "any": map[string]any{"scale": 3, "value": []byte{0x80}}, "any2": map[string]any{"D": map[string]any{"scale": -2, "value": []byte{12}}}, "doc": `{}`}
	payload, err := avro.Marshal(avro.MustParse(`{"type":"record","name":"E","fields":[{"name":"b","type":["null","string"]},{"name":"a","type":["null",`+plainRow+`]},
		{"name":"s","type":{"type":"record","name":"S","fields":[{"name":"t","type":"long"},{"name":"l","type":["null","long"]}]}},{"name":"op","type":"string"},{"name":"ts","type":["null","long"]}]}`),
		map[string]any{"b": nil, "a": map[string]any{"V": row}, "s": map[string]any{"t": int64(5), "l": map[string]any{"long": int64(9)}}, "op": "c", "ts": nil})
	if err != nil {
		t.Fatal(err)
	}
	r := values(wire(1, string(payload)), nil)
	rows, rejects := g.decode(r)
	if len(rejects) > 0 || len(rows) != 2 {
		t.Fatalf("%v", rejects)
	}
	g.wantRow("struct<before: struct<" + typedRow + ">, after: struct<" + typedRow + ">, source: struct<ts_ms: long required, lsn: long>, op: string, ts_ms: long>")
	b := batch.New(r, g.d.Row())
	if err := g.d.Decode(r, b); err != nil {
		t.Fatal(err)
	}
	after := b.Root.Children[1]
	col := func(name string) *batch.Column { return after.Children[after.Type.Index(name)] }
	for name, want := range map[string]int64{"at": at, "at3": at / 1000 * 1000, "at9": at, "tz": at, "tod": 3600_000_001, "todn": 3600_000_001, "ct": at / 1000 * 1000, "price": -123} {
		if got := col(name).Int64[0]; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string]string{"any": "-0.128", "any2": "1200", "doc": "{}"} {
		if got := string(b.Bytes(col(name).Views[0])); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !after.IsNull(1) {
		t.Error("a null value has a row")
	}
}

const plainRow = `{"type":"record","name":"V","fields":[{"name":"id","type":"int"},{"name":"day","type":["null","int"]},{"name":"at","type":["null","long"]},{"name":"at3","type":"long"},{"name":"at9","type":"long"},
	{"name":"tz","type":"string"},{"name":"tod","type":"long"},{"name":"todn","type":"long"},{"name":"ct","type":"long"},{"name":"price","type":"bytes"},
	{"name":"any","type":{"type":"record","name":"D","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}]}},{"name":"any2","type":["null","D"]},{"name":"doc","type":"string"}]}`

const typedRow = "id: int required, day: date, at: timestamp, at3: timestamp required, at9: timestamp required, tz: timestamptz required, tod: time required, todn: time required, " +
	"ct: timestamptz required, price: decimal(10,2) required, any: string required, any2: string, doc: string required"

// Without changes the names say nothing: tables that there are keep their columns.
func TestDebeziumTypesOnlyOfChanges(t *testing.T) {
	s, err := ParseAvro(debeziumAvro, nil)
	if err != nil {
		t.Fatal(err)
	}
	if at := s.Row().Fields[1].Type.Fields[2]; at.Type.Kind != batch.Long {
		t.Errorf("at is %s", at.Type)
	}
}

func TestVariableDecimalText(t *testing.T) {
	for _, n := range []string{"0", "1", "-1", "127", "128", "-128", "-129", "255", "340282366920938463463374607431768211456"} {
		v, _ := new(big.Int).SetString(n, 10)
		raw := v.Bytes()
		if v.Sign() < 0 {
			raw = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw)+8))).Bytes()
		} else {
			raw = append([]byte{0}, raw...)
		}
		for _, scale := range []int{-3, 0, 1, 5} {
			got, ok := new(big.Rat).SetString(string(decimalOf(raw, scale)))
			want := new(big.Rat).SetInt(v)
			ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(scale, -scale))), nil))
			if scale > 0 {
				want.Quo(want, ten)
			} else {
				want.Mul(want, ten)
			}
			if !ok || got.Cmp(want) != 0 {
				t.Errorf("%s with scale %d: %s", n, scale, decimalOf(raw, scale))
			}
		}
	}
}
