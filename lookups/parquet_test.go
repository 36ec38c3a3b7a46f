package lookups_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/objects"
)

// writeParquet writes what JSON says by a schema.
func writeParquet(t testing.TB, path string, schema *arrow.Schema, json string) {
	t.Helper()
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Release()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestParquetOfOthers: a file that another program has written is read with the types that it says.
func TestParquetOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "products.parquet")
	schema := arrow.NewSchema([]arrow.Field{{Name: "sku", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "small", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, {Name: "price", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true}, {Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "on", Type: arrow.FixedWidthTypes.Boolean, Nullable: true}, {Name: "w", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}}, nil)
	writeParquet(t, path, schema, `[{"sku":"a","n":1,"small":2,"price":"3.50","at":"1970-01-01T00:00:01Z","day":"1970-01-03","on":true,"w":0.5,"tags":["x"]},{"sku":"b"}]`)
	l := run(t, configs.Lookup{Name: "products", Key: []string{"sku"}, File: &configs.LookupFile{Path: path}},
		lookups.Deps{Files: func(string) (objects.Store, error) { return objects.NewLocal(), nil }, Log: slog.New(slog.DiscardHandler)})
	wait(t, l, "rows", func(st enrich.Status) bool { return st.Ready })
	if got := l.Row().String(); got != "struct<sku: string, n: long, small: int, price: decimal(12,2), at: timestamptz, day: date, on: boolean, w: double>" {
		t.Error(got)
	}
	row := batch.StructOf(batch.Field{Name: "sku", Type: batch.Prim(batch.String)})
	p, problems := enrich.Compile(row, []configs.Join{{Name: "j", Lookup: "products", Join: "left", Miss: "null"}}, enrich.Options{Lookup: func(string) *enrich.Lookup { return l }})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := batch.New(&batch.Records{}, row)
	for i, sku := range []string{"b", "c", "a"} {
		b.Root.Children[0].AppendView(b.AppendString(sku))
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	if err := p.Apply(b); err != nil {
		t.Fatal(err)
	}
	c := b.Root.Children
	for i := 1; i < len(c); i++ {
		if !c[i].IsNull(0) || !c[i].IsNull(1) || c[i].IsNull(2) {
			t.Errorf("%s: %v", p.Row().Fields[i].Name, c[i].Valid)
		}
	}
	if c[1].Int64[2] != 1 || c[2].Int32[2] != 2 || c[3].Int64[2] != 350 || c[4].Int64[2] != 1_000_000 || c[5].Int32[2] != 2 || !c[6].Bools[2] || c[7].Float64[2] != 0.5 {
		t.Error("the values are not those of the file")
	}
}
