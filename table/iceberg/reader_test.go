//go:build stack

package iceberg

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"strconv"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

type readerRow struct {
	ID   int64
	Name *string
	Day  int32
}

// TestPyIcebergReads lets a reader that is not ours follow the same catalog file.
func TestPyIcebergReads(t *testing.T) {
	python := env(t, "LAKELOADER_TEST_PYTHON")
	wh := configs.Warehouse{Location: t.TempDir()}
	c, err := Open(t.Context(), configs.Catalog{}, wh)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := table.Ident{Namespace: "lake", Name: "clicks"}
	def := table.Def{Ident: id, Row: smallRow(), PartitionBy: []table.PartitionField{{Source: "day", Transform: "day", Name: "day_day"}}}
	info, err := c.Ensure(t.Context(), def)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	a, b := "a", "b"
	days := [][]readerRow{{{1, &a, 20777}, {2, nil, 20777}}, {{3, &b, 20778}}, {{4, &a, 20779}}}
	swap := func(ch table.Change) {
		t.Helper()
		base, err := s.Load(t.Context())
		if err == nil {
			err = s.Swap(t.Context(), base, ch)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	move := func(snapshot int64) map[string]string {
		return map[string]string{table.Prefix + "move": strconv.FormatInt(snapshot, 10)}
	}
	files := []table.File{parquetFile(t, info, "0", days[0]), parquetFile(t, info, "1", days[1]), parquetFile(t, info, "2", days[2])}
	swap(table.Change{Add: files[:2], Props: move})
	def.Row = batch.StructOf(append(def.Row.Fields[:3:3], batch.Field{Name: "added", Type: batch.Prim(batch.String)})...)
	if _, err := c.Ensure(t.Context(), def); err != nil {
		t.Fatal(err)
	}
	swap(table.Change{Add: files[2:], Props: move})
	swap(table.Change{Snapshot: true, Props: move})

	check := func(want map[string]any) {
		t.Helper()
		base, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := readPyIceberg(t, python, wh, id)
		want["property"] = strconv.FormatInt(base.Snapshot, 10)
		want["schema"] = []any{[]any{1., "id", "long", true}, []any{2., "name", "string", false}, []any{3., "day", "date", false}, []any{4., "added", "string", false}}
		want["partitions"] = []any{[]any{"day_day", "day"}}
		for k, w := range want {
			if !reflect.DeepEqual(got[k], w) {
				t.Errorf("%s: PyIceberg reads %v, want %v", k, got[k], w)
			}
		}
		if got["current"] == nil {
			t.Error("no current snapshot")
		}
	}
	check(map[string]any{"snapshots": 3., "pruned_files": 2., "records_by_summary": "4", "operation": "append",
		"rows": []any{[]any{1., "a", "2026-11-20", nil}, []any{2., nil, "2026-11-20", nil}, []any{3., "b", "2026-11-21", nil}, []any{4., "a", "2026-11-22", nil}}})

	// One file is replaced by one with fewer rows, another one goes.
	swap(table.Change{Add: []table.File{parquetFile(t, info, "3", days[0][1:])}, Remove: []string{files[0].Path}, Props: move})
	check(map[string]any{"snapshots": 4., "pruned_files": 2., "records_by_summary": "3", "operation": "overwrite",
		"rows": []any{[]any{2., nil, "2026-11-20", nil}, []any{3., "b", "2026-11-21", nil}, []any{4., "a", "2026-11-22", nil}}})
	swap(table.Change{Remove: []string{files[1].Path}, Props: move})
	check(map[string]any{"snapshots": 5., "pruned_files": 1., "records_by_summary": "2", "operation": "overwrite",
		"rows": []any{[]any{2., nil, "2026-11-20", nil}, []any{4., "a", "2026-11-22", nil}}})
}

// readPyIceberg gives what PyIceberg sees of a table.
func readPyIceberg(t *testing.T, python string, wh configs.Warehouse, id table.Ident) map[string]any {
	t.Helper()
	root, err := objects.Root(wh)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/read_pyiceberg.py", root[len("file://"):]+"/catalog.db", root, id.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// parquetFile writes one partition's rows as the table's writers do: with the table's field ids.
func parquetFile(t *testing.T, info table.Info, name string, rows []readerRow) table.File {
	t.Helper()
	group := parquet.Group{}
	for n, node := range map[string]parquet.Node{"id": parquet.Leaf(parquet.Int64Type), "name": parquet.Optional(parquet.String()), "day": parquet.Optional(parquet.Date())} {
		group[n] = parquet.FieldID(node, info.Row.Fields[info.Row.Index(n)].ID)
	}
	var buf bytes.Buffer
	w := parquet.NewWriter(&buf, parquet.NewSchema("table", group))
	for _, r := range rows {
		// Columns of a parquet.Group are in order of name: day, id, name.
		row := parquet.Row{parquet.Int32Value(r.Day).Level(0, 1, 0), parquet.Int64Value(r.ID).Level(0, 0, 1), parquet.NullValue().Level(0, 0, 2)}
		if r.Name != nil {
			row[2] = parquet.ByteArrayValue([]byte(*r.Name)).Level(0, 1, 2)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	day := binary.LittleEndian.AppendUint32(nil, uint32(rows[0].Day))
	f := table.File{Path: fmt.Sprintf("%s/data/day_day=%d/%s.parquet", info.Location, rows[0].Day, name), Size: int64(buf.Len()), Rows: int64(len(rows)),
		SpecID: info.SpecID, Partition: [][]byte{day}, LowerBounds: map[int][]byte{3: day}, UpperBounds: map[int][]byte{3: day},
		ValueCounts: map[int]int64{3: int64(len(rows))}, NullCounts: map[int]int64{3: 0}, SplitOffsets: []int64{4}}
	if err := objects.NewLocal().Put(t.Context(), f.Path, buf.Bytes()); err != nil {
		t.Fatal(err)
	}
	return f
}
