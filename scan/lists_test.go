package scan

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
)

// Lists as old programs wrote them, with fewer groups around their elements, and groups that are no lists.
func TestListsOfOldFiles(t *testing.T) {
	leaf := func() parquet.Node { return parquet.Leaf(parquet.Int32Type) }
	group := parquet.Group{
		"bare":   parquet.Optional(parquet.Group{"array": parquet.Repeated(leaf())}),
		"pairs":  parquet.Optional(parquet.Group{"bag": parquet.Repeated(parquet.Group{"a": leaf(), "b": parquet.Optional(leaf())})}),
		"tuple":  parquet.Group{"tuple_tuple": parquet.Repeated(parquet.Group{"a": leaf()})},
		"usual":  parquet.Optional(parquet.Group{"list": parquet.Repeated(parquet.Group{"item": parquet.Optional(leaf())})}),
		"nolist": parquet.Group{"x": leaf(), "y": leaf()},
		"many":   parquet.Repeated(leaf()),
	}
	var buf bytes.Buffer
	w := parquet.NewWriter(&buf, parquet.NewSchema("table", group))
	v := func(n int32, rep, def, column int) parquet.Value {
		return parquet.Int32Value(n).Level(rep, def, column)
	}
	null := func(rep, def, column int) parquet.Value { return parquet.NullValue().Level(rep, def, column) }
	// Columns in order of name: bare 0, many 1, nolist 2 and 3, pairs 4 and 5, tuple 6, usual 7.
	for _, row := range []parquet.Row{
		{v(1, 0, 2, 0), v(2, 1, 2, 0), null(0, 0, 1), v(0, 0, 0, 2), v(0, 0, 0, 3), v(3, 0, 2, 4), v(4, 1, 2, 4), v(5, 0, 3, 5), null(1, 2, 5), v(6, 0, 1, 6), v(7, 0, 3, 7), null(1, 2, 7)},
		{null(0, 0, 0), null(0, 0, 1), v(0, 0, 0, 2), v(0, 0, 0, 3), null(0, 1, 4), null(0, 1, 5), null(0, 0, 6), null(0, 0, 7)},
		{null(0, 1, 0), v(9, 0, 1, 1), v(0, 0, 0, 2), v(0, 0, 0, 3), null(0, 0, 4), null(0, 0, 5), null(0, 0, 6), null(0, 1, 7)},
	} {
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "old.parquet")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	row, err := batch.ParseType("struct<bare: list<int required>, pairs: list<struct<b: int, a: int required> required>, tuple: list<struct<a: int>>, usual: list<int>>")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t, open(t, path), row, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"struct(bare:list(element:1 element:2) pairs:list(element:struct(b:5 a:3) element:struct(b:null a:4)) tuple:list(element:struct(a:6)) usual:list(element:7 element:null))",
		"struct(bare:null pairs:list() tuple:list() usual:null)",
		"struct(bare:list() pairs:null tuple:list() usual:list())",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, text := range []string{"struct<nolist: list<int>>", "struct<many: list<int>>", "struct<many: int>", "struct<usual: map<int, int>>", "struct<bare: struct<array: int>>"} {
		bad, err := batch.ParseType(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(t, open(t, path), bad, 2); err == nil || !strings.Contains(err.Error(), "cannot be read as") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
