//go:build stack

package rewrite

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Readers that are not ours see a table without the rows that were dropped, and with those that were changed.
func TestOtherReaders(t *testing.T) {
	python := os.Getenv("LAKELOADER_TEST_PYTHON")
	if python == "" {
		t.Fatal("LAKELOADER_TEST_PYTHON must name a Python with pyiceberg and duckdb; make test sets it")
	}
	l := newLake(t, field("replayed_round", batch.Prim(batch.Long), false))
	l.write("x", "a", 0, 0, 5)
	l.write("y", "b", 1, 0, 3)
	l.write("y", "b", 1, 3, 4)
	choose := offsets("a", 0, map[int64]Verdict{1: Drop, 3: Change, 4: Drop})
	in := l.input(func(k *Keys, v []Verdict) error {
		if err := choose(k, v); err != nil {
			return err
		}
		return offsets("b", 1, map[int64]Verdict{3: Drop})(k, v)
	})
	in.Set = []Set{{Column: "replayed_round", Int64: 7}}
	ch, _, err := Table(t.Context(), l.catalog, in, l.load().Snapshot, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.swap(ch)

	warehouse, _, _ := strings.Cut(l.info.Location, "/"+l.info.Ident.Namespace)
	cmd := exec.CommandContext(t.Context(), python, "testdata/read.py", strings.TrimPrefix(warehouse, "file://")+"/catalog.db", warehouse, l.info.Ident.String())
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
	rows := []any{"x a-0 0 -", "x a-0 2 -", "x a-0 3 7", "y b-1 0 -", "y b-1 1 -", "y b-1 2 -"}
	want := map[string]any{"pyiceberg": rows, "duckdb": rows, "offsets from 3": []any{3.}, "tags": 5., "operation": "overwrite", "totals": []any{"6", "2", "2"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%v\nwant\n%v", got, want)
	}
	if len(ch.Remove) != 2 || len(ch.Add) != 1 || ch.Add[0].Partition[0] == nil || ch.Seen == 0 {
		t.Errorf("%+v", table.Change{Add: ch.Add, Remove: ch.Remove, Seen: ch.Seen})
	}
}
