package partitioner

import (
	"bytes"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/lakeloader/lakeloader/batch"
	"pgregory.net/rapid"
)

type kind struct {
	typ     *batch.Type
	iceberg iceberg.Type
	entries []string
	gen     *rapid.Generator[any]
}

func anyOf[T any](g *rapid.Generator[T]) *rapid.Generator[any] {
	return rapid.Map(g, func(v T) any { return v })
}

var (
	narrow  = rapid.OneOf(rapid.Int64Range(-30, 30), rapid.Int64Range(-1e17, 1e17))
	decimal = anyOf(narrow)
	wide    = rapid.Map(narrow, func(v int64) any { return int128(v) })
	stamps  = anyOf(rapid.OneOf(rapid.Int64Range(-5*microsPerDay, 5*microsPerDay), rapid.Int64Range(-1<<55, 1<<55)))
	dates   = anyOf(rapid.OneOf(rapid.Int32Range(-800, 800), rapid.Int32Range(-700000, 700000)))
	raw     = func(lo, hi int) *rapid.Generator[any] { return anyOf(rapid.SliceOfN(rapid.Byte(), lo, hi)) }
	prims   = iceberg.PrimitiveTypes
	times   = []string{"c", "year(c)", "month(c)", "day(c)", "bucket(7, c)"}
	plain   = []string{"c", "bucket(7, c)", "truncate(3, c)"}
	kinds   = []kind{
		{batch.Prim(batch.Boolean), prims.Bool, []string{"c"}, anyOf(rapid.Bool())},
		{batch.Prim(batch.Int), prims.Int32, plain, anyOf(rapid.OneOf(rapid.Int32Range(-9, 9), rapid.Int32Range(-1<<31+3, 1<<31-1)))},
		{batch.Prim(batch.Long), prims.Int64, plain, anyOf(rapid.OneOf(rapid.Int64Range(-9, 9), rapid.Int64Range(-1<<63+3, 1<<63-1)))},
		{batch.DecimalOf(18, 2), iceberg.DecimalTypeOf(18, 2), plain, decimal},
		{batch.DecimalOf(38, 2), iceberg.DecimalTypeOf(38, 2), plain, wide},
		{batch.Prim(batch.Date), prims.Date, times, dates},
		{batch.Prim(batch.Time), prims.Time, []string{"c", "bucket(7, c)"}, anyOf(rapid.Int64Range(0, microsPerDay-1))},
		{batch.Prim(batch.Timestamp), prims.Timestamp, append([]string{"hour(c)"}, times...), stamps},
		{batch.Prim(batch.TimestampTZ), prims.TimestampTz, append([]string{"hour(c)"}, times...), stamps},
		{batch.Prim(batch.String), prims.String, plain, anyOf(rapid.StringN(0, 6, -1))},
		{batch.Prim(batch.UUID), prims.UUID, []string{"c", "bucket(7, c)"}, raw(16, 16)},
		{batch.FixedOf(5), iceberg.FixedTypeOf(5), []string{"c", "bucket(7, c)"}, raw(5, 5)},
		{batch.Prim(batch.Binary), prims.Binary, plain, raw(0, 6)},
	}
)

// serialized is a source value in Iceberg's single-value serialization, made by the identity transform that the
// explicit cases check.
func serialized(f *field, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	case int32:
		return f.serialize(int64(v))
	case int64:
		return f.serialize(v)
	case string:
		return []byte(v)
	case []byte:
		if f.typ.Kind == batch.Decimal {
			return shortest(v)
		}
		return v
	}
	return nil
}

// TestLikeIcebergGo compares the tuple of every row with iceberg-go's transforms, over several batches so that
// remembered values are used, with one or two fields and rows that are not kept.
func TestLikeIcebergGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(kinds).Draw(t, "kind")
		row := field1("c", k.typ)
		entries := rapid.SliceOfNDistinct(rapid.SampledFrom(k.entries), 1, 1, rapid.ID).Draw(t, "entries")
		if entries[0] != "c" {
			entries = append(entries, "c")
		}
		fields, err := Parse(entries, row)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(fields, row)
		if err != nil {
			t.Fatal(err)
		}
		source, err := compile(fields[len(fields)-1], row)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			values := rapid.SliceOfN(rapid.OneOf(k.gen, rapid.Just[any](nil)), 0, 12).Draw(t, "values")
			b := rows(k.typ, values...)
			for i := range values {
				if rapid.IntRange(0, 5).Draw(t, "fate") == 0 {
					b.Filter(i, "f")
				}
			}
			parts, err := s.Split(b)
			if err != nil {
				t.Fatal(err)
			}
			seen := make([]int, len(values))
			keys := map[string]bool{}
			for _, p := range parts {
				if keys[p.Key] {
					t.Fatalf("two parts with the key %q", p.Key)
				}
				keys[p.Key] = true
				for _, r := range p.Rows {
					seen[r]++
					for i, f := range fields {
						if want := reference(t, k, f.Transform, serialized(source, values[r])); !bytes.Equal(want, p.Tuple[i]) || (want == nil) != (p.Tuple[i] == nil) {
							t.Fatalf("%s of the %s %v: %x, iceberg-go has %x", f.Transform, k.typ, values[r], p.Tuple[i], want)
						}
					}
				}
			}
			for i, n := range seen {
				if kept := b.Fate[i] == batch.Keep; (n == 1) != kept || n > 1 {
					t.Fatalf("row %d with fate %d is in %d parts", i, b.Fate[i], n)
				}
			}
		}
	})
}

func reference(t *rapid.T, k kind, transform string, value []byte) []byte {
	if value == nil {
		return nil
	}
	tr, err := iceberg.ParseTransform(transform)
	if err != nil {
		t.Fatal(err)
	}
	lit, err := iceberg.LiteralFromBytes(k.iceberg, value)
	if err != nil {
		t.Fatal(err)
	}
	out := tr.Apply(iceberg.Optional[iceberg.Literal]{Val: lit, Valid: true})
	if !out.Valid {
		t.Fatalf("iceberg-go cannot apply %s to %v", transform, lit)
	}
	b, err := out.Val.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

func BenchmarkSplit(b *testing.B) {
	const n = 4096
	row := batch.StructOf(batch.Field{Name: "ts", Type: batch.Prim(batch.TimestampTZ)}, batch.Field{Name: "country", Type: batch.Prim(batch.String)},
		batch.Field{Name: "id", Type: batch.Prim(batch.Long)})
	r := &batch.Records{}
	in := batch.New(r, row)
	names := []string{"BE", "FR", "GB", "US", "DE", "ES", "IT", "NO"}
	for i := range n {
		in.Root.Children[0].AppendInt64(1767225600e6 + int64(i)*60e6)
		in.Root.Children[1].AppendView(r.AppendString(names[i*7%8]))
		in.Root.Children[2].AppendInt64(int64(i))
		in.Root.AppendStruct()
		in.AppendRow(i, 0)
	}
	for _, c := range []struct {
		name    string
		entries []string
	}{{"none", nil}, {"day", []string{"day(ts)"}}, {"hour", []string{"hour(ts)"}}, {"month", []string{"month(ts)"}},
		{"country", []string{"country"}}, {"bucket", []string{"bucket(16, id)"}}, {"day+country+bucket", []string{"day(ts)", "country", "bucket(16, id)"}}} {
		b.Run(c.name, func(b *testing.B) {
			s := splitter(b, row, c.entries...)
			b.ReportAllocs()
			for b.Loop() {
				split(b, s, in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}
