//go:build stack

package stacktest

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sample writes the table of test/readers/sample.py.
func sample(t *testing.T, table Table) {
	t.Helper()
	Python(t, "sample.py", table.args()...)
}

func sampleInS3(t *testing.T) Table {
	table := Table{Catalog: "rest", URI: REST(t), Table: strings.ReplaceAll(Name("ns"), "-", "_") + ".events"}
	sample(t, table)
	return table
}

var sampleSums = Read{Sums: []string{"amount", "price", "_kafka_offset"}, Rows: true}

// checkSample compares a report with what sample.py says it writes.
func checkSample(t *testing.T, r Report) {
	t.Helper()
	want := []Partition{
		{Topic: "t", Partition: 0, Rows: 1000, Ranges: [][2]int64{{0, 500}, {501, 1000}}, Duplicates: 1},
		{Topic: "t", Partition: 1, Rows: 100, Ranges: [][2]int64{{0, 100}}},
	}
	if r.Rows != 1100 || !reflect.DeepEqual(r.Partitions, want) {
		t.Errorf("%d rows, offsets %v", r.Rows, r.Partitions)
	}
	columns := map[string]Column{
		"amount":        {Sum: "2525.00", Count: 550},
		"price":         {Sum: "252325.0", Count: 1100, Float: true},
		"_kafka_offset": {Sum: "504650", Count: 1100},
	}
	if !reflect.DeepEqual(r.Columns, columns) {
		t.Errorf("sums %v", r.Columns)
	}
}

func TestReadersAgreeOnTheSampleInS3(t *testing.T) {
	table := sampleInS3(t)
	iceberg := PyIceberg(t, table, sampleSums)
	checkSample(t, iceberg)
	duck := DuckDB(t, table, sampleSums)
	checkSample(t, duck)
	if len(iceberg.Data) != 1100 {
		t.Fatalf("%d rows as data", len(iceberg.Data))
	}
	if d := iceberg.Differences(duck); d != nil {
		t.Error(d)
	}
	folder := iceberg.Files[0].Path[:strings.LastIndex(iceberg.Files[0].Path, "/")]
	if d := iceberg.Differences(DuckDBParquet(t, folder, sampleSums)); d != nil {
		t.Errorf("the files alone: %v", d)
	}
	if f := iceberg.Schema[3]; f != (Field{ID: 4, Name: "amount", Type: "decimal(12, 2)"}) {
		t.Errorf("schema has %v", f)
	}
}

func TestReadersAgreeOnTheSampleInAFolder(t *testing.T) {
	dir := t.TempDir()
	table := Table{Catalog: "sqlite", URI: filepath.Join(dir, "catalog.db"), Warehouse: "file://" + dir, Table: "ns.events"}
	sample(t, table)
	iceberg := PyIceberg(t, table, sampleSums)
	checkSample(t, iceberg)
	if d := iceberg.Differences(DuckDB(t, table, sampleSums)); d != nil {
		t.Error(d)
	}
}

func TestConditionsAndSnapshotsReachTheReaders(t *testing.T) {
	table := sampleInS3(t)
	read := Read{Sums: []string{"_kafka_offset"}, Where: "_kafka_offset >= 998"}
	all := PyIceberg(t, table, read)
	if all.Rows != 2 || all.Columns["_kafka_offset"].Sum != "1997" {
		t.Errorf("two rows expected: %+v", all)
	}
	read.Snapshot = all.Snapshots[0].ID
	for name, r := range map[string]Report{"PyIceberg": PyIceberg(t, table, read), "DuckDB": DuckDB(t, table, read)} {
		if d := all.Differences(r); d != nil {
			t.Errorf("%s at the snapshot: %v", name, d)
		}
	}
}

func TestDifferencesNamesWhatDiffers(t *testing.T) {
	a := Report{Rows: 2, Columns: map[string]Column{"x": {Sum: "1.00", Count: 1}, "y": {Sum: "0.3", Count: 2, Float: true}},
		Partitions: []Partition{{Topic: "t", Rows: 2, Ranges: [][2]int64{{0, 2}}}}, Data: []map[string]any{{"x": 1}}}
	b := Report{Rows: 2, Columns: map[string]Column{"x": {Sum: "1.01", Count: 1}, "y": {Sum: "0.30000000000000004", Count: 2, Float: true}},
		Partitions: []Partition{{Topic: "t", Rows: 2, Ranges: [][2]int64{{0, 1}}, Duplicates: 1}}, Data: []map[string]any{{"x": 2}}}
	got := strings.Join(a.Differences(b), "; ")
	for _, want := range []string{"sum of x", "offsets", "row 0"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not name %s", got, want)
		}
	}
	if strings.Contains(got, "sum of y") || strings.Contains(got, "rows:") || a.Differences(a) != nil {
		t.Errorf("equal things called different: %q", got)
	}
}

// TestReadersThatCannotBeInstalledAreNotNamed: a Python that is not there must not be handed on as one that is.
func TestReadersThatCannotBeInstalledAreNotNamed(t *testing.T) {
	bin := t.TempDir()
	for name, text := range map[string]string{
		"python3": "if [ \"$1\" = -m ]; then mkdir -p \"$3/bin\"; cp \"$0\" \"$3/bin/pip\"; exit; fi\n[ \"$1\" = --version ] || { echo no network >&2; exit 1; }\n",
		"java":    "exit\n",
		"sleep":   "exit\n", // between the tries of a download
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for script, names := range map[string][]string{"readers.sh": {"python", "topics", "spark"}, "tool.sh": {"shellcheck"}} {
		for _, name := range names {
			env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "LAKELOADER_STACK_CACHE=" + t.TempDir()}
			out, err := run(t.Context(), env, filepath.Join(Root(t), "test", "stack", script), name)
			if err == nil {
				t.Errorf("%s %s: names %q", script, name, out)
			} else if text := err.Error(); !strings.Contains(text, "no network") || !strings.Contains(text, "pip could not install") {
				t.Errorf("%s %s: does not say why: %s", script, name, text)
			}
		}
	}
}
