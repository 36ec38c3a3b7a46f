//go:build stack

package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
)

// foreignRow is the row type of testdata/write.py as a table has it.
func foreignRow(t *testing.T) *batch.Type {
	t.Helper()
	row, err := batch.ParseType("struct<b: boolean, i: int required, l: long, f: float, d: double, d9: decimal(9,2), d18: decimal(18,3), d38: decimal(38,4), " +
		"day: date, t: time, ts: timestamp, tz: timestamptz, s: string, u: uuid, x: binary, st: struct<a: int required, c: list<string>>, " +
		"li: list<struct<v: long, w: list<int required>>>, m: map<string, double>>")
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	var number func(t *batch.Type)
	number = func(t *batch.Type) {
		for i := range t.Fields {
			id++
			t.Fields[i].ID = id
			number(t.Fields[i].Type)
		}
	}
	number(row)
	return row
}

// What pyarrow and DuckDB write in many forms is read as they wrote it.
func TestFilesOfOtherWriters(t *testing.T) {
	python := os.Getenv("LAKELOADER_TEST_PYTHON")
	if python == "" {
		t.Fatal("LAKELOADER_TEST_PYTHON must name a Python with pyarrow and duckdb; make test sets it")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, "testdata/write.py", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	row := foreignRow(t)
	files := 0
	for in := json.NewDecoder(bytes.NewReader(out)); ; files++ {
		var want struct {
			Path string
			Rows []string
		}
		if err := in.Decode(&want); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		t.Run(want.Path[strings.LastIndexByte(want.Path, '/')+1:], func(t *testing.T) {
			for i := range want.Rows {
				want.Rows[i] = unhex(t, want.Rows[i])
			}
			got, err := readAll(t, open(t, want.Path), row, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if i >= len(want.Rows) || got[i] != want.Rows[i] {
					t.Fatalf("row %d is\n%s\nwant\n%s", i, got[i], want.Rows[min(i, len(want.Rows)-1)])
				}
			}
			if len(got) != len(want.Rows) || len(got) == 0 {
				t.Fatalf("%d rows, want %d", len(got), len(want.Rows))
			}
		})
	}
	if files != 11 {
		t.Errorf("%d files", files)
	}
	// What cannot be read is an error, and never another value.
	for file, says := range map[string][]string{"int96": {"column ts", "INT96"}, "duckdb-wide": {"column i", "INT32 range"}} {
		_, err := readAll(t, open(t, dir+"/"+file), row, 10)
		for _, s := range says {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v does not say %s", file, err, s)
			}
		}
	}
}

// unhex writes the bytes of wide decimals as the test does.
func unhex(t *testing.T, s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		name, digits, ok := strings.Cut(w, ":0x")
		if !ok {
			continue
		}
		raw := make([]byte, 0, 16)
		for pair := range slices.Chunk([]byte(digits), 2) {
			n, err := strconv.ParseUint(string(pair), 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, byte(n))
		}
		words[i] = fmt.Sprintf("%s:%q", name, raw)
	}
	return strings.Join(words, " ")
}
