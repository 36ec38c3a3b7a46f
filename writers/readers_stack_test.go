//go:build stack

package writers

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// foreign is a value in the form of testdata/readers.py.
func foreign(t *batch.Type, v any) any {
	switch x := v.(type) {
	case nil:
		return nil
	case bool, int64, *big.Int:
		return fmt.Sprint(x)
	case float32:
		return foreign(t, float64(x))
	case float64:
		if math.IsNaN(x) {
			return "dNaN"
		}
		return fmt.Sprintf("d%016x", math.Float64bits(x))
	case string:
		if t.Kind == batch.String {
			return "s:" + x
		}
		return "x:" + hex.EncodeToString([]byte(x))
	case [][2]any:
		pairs := []any{}
		for _, e := range x {
			pairs = append(pairs, []any{foreign(t.Fields[0].Type, e[0]), foreign(t.Fields[1].Type, e[1])})
		}
		return sorted(pairs)
	}
	out := []any{}
	for i, x := range v.([]any) {
		if t.Kind == batch.List {
			out = append(out, foreign(t.Fields[0].Type, x))
		} else {
			out = append(out, []any{"s:" + t.Fields[i].Name, foreign(t.Fields[i].Type, x)})
		}
	}
	if t.Kind == batch.Struct {
		return sorted(out)
	}
	return out
}

func sorted(pairs []any) []any {
	slices.SortFunc(pairs, func(a, b any) int { return strings.Compare(a.([]any)[0].(string), b.([]any)[0].(string)) })
	return pairs
}

// matrix is a row type with every type: optional and required, and in structs, lists and maps.
func matrix() *batch.Type {
	row := batch.StructOf()
	add := func(name string, t *batch.Type, required bool) {
		row.Fields = append(row.Fields, batch.Field{Name: name, Type: t, Required: required})
	}
	for i, t := range prims {
		add(fmt.Sprintf("o%02d", i), t, false)
		add(fmt.Sprintf("r%02d", i), t, true)
		add(fmt.Sprintf("l%02d", i), batch.ListOf(t, i%2 == 0), i%3 == 0)
		add(fmt.Sprintf("m%02d", i), batch.MapOf(batch.Prim(batch.String), t, i%2 == 1), i%3 == 1)
		inner := batch.StructOf(batch.Field{Name: "a", Type: t}, batch.Field{Name: "b", Type: t, Required: true},
			batch.Field{Name: "c", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "d", Type: t}, batch.Field{Name: "e", Type: batch.ListOf(t, false)}), false)})
		add(fmt.Sprintf("s%02d", i), inner, i%3 == 2)
	}
	return number(row)
}

// TestOtherReaders compares what pyarrow and DuckDB read with what was written.
func TestOtherReaders(t *testing.T) {
	python := os.Getenv("LAKELOADER_TEST_PYTHON")
	if python == "" {
		t.Fatal("LAKELOADER_TEST_PYTHON must name a Python with pyarrow and duckdb; make test sets it")
	}
	if _, err := os.Stat("testdata/readers.py"); err != nil { // also tells the test cache of the file
		t.Fatal(err)
	}
	row := matrix()
	dir := t.TempDir()
	var written []string
	var expected [][]string
	var anyOrder []bool
	for i, c := range []struct {
		codec, pages string
		few          bool
		group        configs.Bytes
		page         int
	}{{"zstd", "", false, 0, maxPage}, {"zstd", "v1", true, 0, maxPage}, {"zstd", "v2", false, 100000, 2000}, {"snappy", "", true, 100000, 500}, {"gzip", "v2", true, 0, 500},
		{"lz4", "", false, 0, 2000}, {"none", "v1", false, 100000, maxPage}} {
		t.Run(fmt.Sprintf("%s %s few=%v group=%d page=%d", c.codec, c.pages, c.few, c.group, c.page), func(t *testing.T) {
			g := &gen{Rand: rand.New(rand.NewPCG(uint64(i), 9)), few: c.few}
			opts := Options{Info: info(row), Store: objects.NewLocal(), Files: configs.Files{Compression: c.codec, RowGroupSize: c.group, Bloom: []string{"o02", "r15"}}}
			opts.Info.Location = fmt.Sprintf("file://%s/%d", dir, i)
			opts.Info.Properties = map[string]string{"write.parquet.page-version": c.pages}
			if c.few {
				opts.SortBy = []table.SortField{{Source: "o10"}, {Source: "r15", Desc: true}}
			}
			w := newWriter(t, opts)
			w.page, w.largest = c.page, 400
			var want []any
			for _, n := range []int{1100, 3, 100} {
				var rows []any
				for range n {
					v := g.value(row, true)
					rows, want = append(rows, v), append(want, v)
				}
				appendAll(t, w, batchOf(row, rows))
			}
			files := finish(t, w)
			if len(files) != 1 {
				t.Fatalf("%+v", files)
			}
			written = append(written, strings.TrimPrefix(files[0].Path, "file://"))
			expected = append(expected, lines(t, row, want, c.few))
			anyOrder = append(anyOrder, c.few)
		})
	}
	for _, reader := range []string{"pyarrow", "duckdb"} {
		t.Run(reader, func(t *testing.T) { compare(t, python, reader, written, expected, anyOrder) })
	}
}

// lines has each row as the reader prints it, in order of the text where the file is sorted.
func lines(t *testing.T, row *batch.Type, rows []any, sort bool) []string {
	var out []string
	for _, v := range rows {
		if row != nil {
			v = foreign(row, v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	if sort {
		slices.Sort(out)
	}
	return out
}

// compare runs a reader over all files at once.
func compare(t *testing.T, python, reader string, paths []string, want [][]string, sort []bool) {
	cmd := exec.CommandContext(t.Context(), python, append([]string{"testdata/readers.py", reader}, paths...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(bytes.NewReader(out))
	for i, path := range paths {
		var rows []any
		if err := in.Decode(&rows); err != nil {
			t.Fatal(err)
		}
		got := lines(t, nil, rows, sort[i])
		if len(got) != len(want[i]) {
			t.Fatalf("%s: %d rows of %d", path, len(got), len(want[i]))
		}
		for k := range got {
			if got[k] != want[i][k] {
				t.Fatalf("%s, row %d:\n%s\nwant\n%s", path, k, got[k], want[i][k])
			}
		}
	}
}
