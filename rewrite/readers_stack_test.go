//go:build stack

package rewrite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Readers that are not ours see a table without the rows that were dropped, and with those that were changed.
func TestOtherReaders(t *testing.T) {
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

	got := l.foreign()
	rows := []any{"x a-0 0 -", "x a-0 2 -", "x a-0 3 7", "y b-1 0 -", "y b-1 1 -", "y b-1 2 -"}
	want := map[string]any{"pyiceberg": rows, "duckdb": rows, "offsets from 3": []any{3.}, "tags": 5., "operation": "overwrite", "totals": []any{"6", "2", "2"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%v\nwant\n%v", got, want)
	}
	if len(ch.Remove) != 2 || len(ch.Add) != 1 || ch.Add[0].Partition[0] == nil || ch.Seen == 0 {
		t.Errorf("%+v", table.Change{Add: ch.Add, Remove: ch.Remove, Seen: ch.Seen})
	}
}

// They read what merges make of row groups that are copied, also beside ones that are decoded, and of rows that are sorted.
func TestOtherReadersOfMerges(t *testing.T) {
	for name, change := range map[string]func(in *MergeInput){
		"copied":  func(in *MergeInput) { in.LeastCopied = 1 },
		"mixed":   func(in *MergeInput) { in.LeastCopied = 650 },
		"sorted":  func(in *MergeInput) { in.SortBy = []table.SortField{{Source: table.ColumnOffset, Desc: true}} },
		"z-order": func(in *MergeInput) { in.ZOrder = []string{table.ColumnOffset, table.ColumnTopic} },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLake(t, field("replayed_round", batch.Prim(batch.Long), false))
			in := MergeInput{Info: l.info, Store: l.objects, Sources: []table.File{l.write("x", "a", 0, 0, 5), l.write("x", "b", 1, 0, 4000), l.write("x", "a", 0, 5, 9)}}
			change(&in)
			var want []any
			for off := range 9 {
				want = append(want, fmt.Sprintf("x a-0 %d -", off))
			}
			for off := range 4000 {
				want = append(want, fmt.Sprintf("x b-1 %d -", off))
			}
			slices.SortFunc(want, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			m, err := Merge(t.Context(), in)
			if err != nil || (m.Copied > 0) != (in.LeastCopied > 0) || len(m.Files) != 1 {
				t.Fatalf("%+v, %v", m, err)
			}
			ch := table.Change{Add: m.Files}
			for _, f := range in.Sources {
				ch.Remove = append(ch.Remove, f.Path)
			}
			l.swap(ch)
			got := l.foreign()
			if late := got["offsets from 3"].([]any); len(late) != 4000+9-6 {
				t.Errorf("%d rows have offsets from 3 on", len(late))
			}
			if !reflect.DeepEqual(got["pyiceberg"], any(want)) || !reflect.DeepEqual(got["duckdb"], any(want)) {
				t.Error("other rows")
			}
		})
	}
}

// foreign is what testdata/read.py finds in the table.
func (l *lake) foreign() (got map[string]any) {
	l.t.Helper()
	python := os.Getenv("LAKELOADER_TEST_PYTHON")
	if python == "" {
		l.t.Fatal("LAKELOADER_TEST_PYTHON must name a Python with pyiceberg and duckdb; make test sets it")
	}
	warehouse, _, _ := strings.Cut(l.info.Location, "/"+l.info.Ident.Namespace)
	cmd := exec.CommandContext(l.t.Context(), python, "testdata/read.py", strings.TrimPrefix(warehouse, "file://")+"/catalog.db", warehouse, l.info.Ident.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(out, &got); err != nil {
		l.t.Fatal(err)
	}
	return got
}
