package schemas

import (
	"fmt"
	"math/big"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/lakeloader/lakeloader/batch"
	"pgregory.net/rapid"
)

// avroGen draws schemas together with values for hamba's encoder and what the columns must then hold.
type avroGen struct {
	t     *rapid.T
	names int
}

// avroValue draws a value: in is what hamba encodes, want what slot gives. key names it in a union.
type avroValue func() (in, want any)

type avroDrawn struct {
	schema, key string
	value       avroValue
}

func (g *avroGen) name() string {
	g.names++
	return fmt.Sprintf("N%d", g.names)
}

func (g *avroGen) typ(depth int, union bool) avroDrawn {
	t := g.t
	kinds := []string{"boolean", "int", "long", "float", "double", "string", "bytes", "fixed", "enum", "decimal", "micros", "uuid", "date"}
	if depth > 0 {
		kinds = append(kinds, "array", "map", "record")
		if union {
			kinds = append(kinds, "optional", "optional", "union")
		}
	}
	switch k := rapid.SampledFrom(kinds).Draw(t, "kind"); k {
	case "array":
		return g.array(depth)
	case "map":
		return g.mapOf(depth)
	case "record":
		return g.record(depth)
	case "optional":
		return g.optional(depth)
	case "union":
		return g.union(depth)
	default:
		return g.scalar(k)
	}
}

func same[T any](t *rapid.T, gen *rapid.Generator[T]) avroValue {
	return func() (any, any) { v := gen.Draw(t, "v"); return v, v }
}

func (g *avroGen) scalar(kind string) avroDrawn {
	t, quoted := g.t, `"`+kind+`"`
	switch kind {
	case "boolean":
		return avroDrawn{quoted, kind, same(t, rapid.Bool())}
	case "int":
		return avroDrawn{quoted, kind, func() (any, any) { v := rapid.Int32().Draw(t, "v"); return int(v), v }}
	case "long":
		return avroDrawn{quoted, kind, same(t, rapid.Int64())}
	case "float":
		return avroDrawn{quoted, kind, same(t, rapid.Float32())}
	case "double":
		return avroDrawn{quoted, kind, same(t, rapid.Float64())}
	case "string":
		return avroDrawn{quoted, kind, func() (any, any) {
			v := strings.ToValidUTF8(rapid.String().Draw(t, "v"), "?")
			return v, v
		}}
	case "bytes":
		return avroDrawn{quoted, kind, func() (any, any) {
			v := rapid.SliceOf(rapid.Byte()).Draw(t, "v")
			return v, string(v)
		}}
	case "fixed":
		n := g.name()
		return avroDrawn{`{"type":"fixed","name":"` + n + `","size":2}`, n, func() (any, any) {
			v := [2]byte{rapid.Byte().Draw(t, "v"), rapid.Byte().Draw(t, "v")}
			return v, string(v[:])
		}}
	case "enum":
		n := g.name()
		return avroDrawn{`{"type":"enum","name":"` + n + `","symbols":["RED","GREEN","BLUE"]}`, n, same(t, rapid.SampledFrom([]string{"RED", "GREEN", "BLUE"}))}
	case "decimal":
		return g.decimal()
	case "micros":
		return avroDrawn{`{"type":"long","logicalType":"timestamp-micros"}`, "long.timestamp-micros", func() (any, any) {
			v := rapid.Int64Range(-1<<50, 1<<50).Draw(t, "v")
			return time.UnixMicro(v), v
		}}
	case "date":
		return avroDrawn{`{"type":"int","logicalType":"date"}`, "int.date", func() (any, any) {
			v := rapid.Int32Range(-700000, 700000).Draw(t, "v")
			return time.Unix(int64(v)*86400, 0).UTC(), v
		}}
	}
	return avroDrawn{`{"type":"string","logicalType":"uuid"}`, "string.uuid", func() (any, any) {
		var u [16]byte
		copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v"))
		return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), string(u[:])
	}}
}

func (g *avroGen) decimal() avroDrawn {
	p := rapid.IntRange(1, 38).Draw(g.t, "precision")
	scale := rapid.IntRange(0, p).Draw(g.t, "scale")
	schema := fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":%d,"scale":%d}`, p, scale)
	return avroDrawn{schema, "bytes.decimal", func() (any, any) {
		digits := rapid.StringMatching(fmt.Sprintf(`[0-9]{1,%d}`, p)).Draw(g.t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		if rapid.Bool().Draw(g.t, "negative") {
			n.Neg(n)
		}
		in := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		if p <= batch.MaxInt64Precision {
			return in, n.Int64()
		}
		lo := new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0)))
		return in, int128{new(big.Int).Rsh(n, 64).Int64(), lo.Uint64()}
	}}
}

func (g *avroGen) array(depth int) avroDrawn {
	e := g.typ(depth-1, true)
	return avroDrawn{`{"type":"array","items":` + e.schema + `}`, "array", func() (any, any) {
		in, want := []any{}, []any{}
		for range rapid.IntRange(0, 4).Draw(g.t, "len") {
			i, w := e.value()
			in, want = append(in, i), append(want, w)
		}
		return in, want
	}}
}

func (g *avroGen) mapOf(depth int) avroDrawn {
	e := g.typ(depth-1, true)
	return avroDrawn{`{"type":"map","values":` + e.schema + `}`, "map", func() (any, any) {
		in, want := map[string]any{}, [][2]any{}
		for i := range rapid.IntRange(0, 3).Draw(g.t, "len") {
			k := fmt.Sprintf("k%d", i)
			v, w := e.value()
			in[k], want = v, append(want, [2]any{k, w})
		}
		return in, want
	}}
}

func (g *avroGen) record(depth int) avroDrawn {
	n, fields := g.name(), []string{}
	var members []avroDrawn
	for i := range rapid.IntRange(1, 4).Draw(g.t, "fields") {
		m := g.typ(depth-1, true)
		members = append(members, m)
		fields = append(fields, fmt.Sprintf(`{"name":"f%d","type":%s}`, i, m.schema))
	}
	return avroDrawn{`{"type":"record","name":"` + n + `","fields":[` + strings.Join(fields, ",") + `]}`, n, func() (any, any) {
		in, want := map[string]any{}, map[string]any{}
		for i, m := range members {
			k := fmt.Sprintf("f%d", i)
			in[k], want[k] = m.value()
		}
		return in, want
	}}
}

func (g *avroGen) optional(depth int) avroDrawn {
	e := g.typ(depth-1, false)
	schema := `["null",` + e.schema + `]`
	if rapid.Bool().Draw(g.t, "null last") {
		schema = `[` + e.schema + `,"null"]`
	}
	return avroDrawn{schema, "", func() (any, any) {
		if rapid.Bool().Draw(g.t, "null") {
			return nil, nil
		}
		in, want := e.value()
		return map[string]any{e.key: in}, want
	}}
}

func (g *avroGen) union(depth int) avroDrawn {
	a, b := g.record(depth), g.scalar("double")
	return avroDrawn{`[` + a.schema + `,"null","double"]`, "", func() (any, any) {
		want := map[string]any{a.key: nil, "double": nil}
		switch rapid.IntRange(0, 2).Draw(g.t, "branch") {
		case 0:
			in, w := a.value()
			want[a.key] = w
			return map[string]any{a.key: in}, want
		case 1:
			in, w := b.value()
			want["double"] = w
			return map[string]any{"double": in}, want
		}
		return nil, nil
	}}
}

// sortMaps puts map entries in order: the encoder writes them in any.
func sortMaps(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = sortMaps(v[k])
		}
	case []any:
		for i := range v {
			v[i] = sortMaps(v[i])
		}
	case [][2]any:
		for i := range v {
			v[i][1] = sortMaps(v[i][1])
		}
		sort.Slice(v, func(i, k int) bool { return v[i][0].(string) < v[k][0].(string) })
	}
	return v
}

// TestAvroAgainstHamba encodes random rows of random schemas with hamba and compares every value of ours.
func TestAvroAgainstHamba(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &avroGen{t: t}
		d := g.record(3)
		parsed, err := avro.ParseWithCache(d.schema, "", &avro.SchemaCache{})
		if err != nil {
			t.Fatalf("%s: %v", d.schema, err)
		}
		// Small blocks, so that lists come in several.
		api := avro.Config{BlockLength: 2}.Freeze()
		s, err := ParseAvro(d.schema, nil)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := s.Compile(s.Row())
		if err != nil {
			t.Fatal(err)
		}
		r, root := &batch.Records{}, newRoot(s.Row())
		var want []any
		for range rapid.IntRange(1, 4).Draw(t, "rows") {
			in, w := d.value()
			payload, err := api.Marshal(parsed, in)
			if err != nil {
				t.Fatalf("%s: %v", d.schema, err)
			}
			if err := appendRow(plan, r, root, payload); err != nil {
				t.Fatalf("%s: %x: %v", d.schema, payload, err)
			}
			want = append(want, w)
			// A broken record between the good ones must leave nothing behind.
			if len(payload) > 0 {
				if err := appendRow(plan, r, root, payload[:len(payload)-1]); err == nil {
					t.Fatal("a payload without its last byte is taken for a record")
				}
			}
		}
		if err := checkColumn(root, true, len(want)); err != nil {
			t.Fatalf("%s: %v", d.schema, err)
		}
		for i := range want {
			if got := sortMaps(slot(r, root, i)); !reflect.DeepEqual(got, sortMaps(want[i])) {
				t.Fatalf("%s: row %d\ngot  %v\nwant %v", d.schema, i, got, want[i])
			}
		}
	})
}

// TestVarintAgainstBinary compares our varints, good and bad, with those of encoding/binary.
func TestVarintAgainstBinary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		buf := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) byte {
			return byte(rapid.IntRange(0, 1).Draw(t, "more")<<7 | rapid.IntRange(0, 127).Draw(t, "bits"))
		}), 0, 14).Draw(t, "buf")
		checkVarint(t, buf)
	})
	for _, v := range []int64{0, -1, 1, 63, 64, -64, -65, 1 << 54, 1<<55 - 1, 1 << 55, 1<<63 - 1, -1 << 63} {
		checkVarint(t, append(binaryVarint(v), 0, 0, 0, 0, 0, 0, 0, 0))
	}
}
