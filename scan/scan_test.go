package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
)

// record is a row of a file as this project and others write them.
type record struct {
	Topic     string   `parquet:"topic,dict"`
	Partition int32    `parquet:"partition"`
	Offset    int64    `parquet:"offset,delta"`
	Bool      *bool    `parquet:"bool,optional"`
	Float     *float32 `parquet:"float,optional"`
	Double    *float64 `parquet:"double,optional"`
	Dec9      *int32   `parquet:"dec9,optional,decimal(2:9)"`
	Dec18     *int64   `parquet:"dec18,optional,decimal(2:18)"`
	Dec18Fix  *[8]byte `parquet:"dec18fix,optional"`
	Dec4Fix   [2]byte  `parquet:"dec4fix"`
	Dec38     [16]byte `parquet:"dec38"`
	Dec20     [9]byte  `parquet:"dec20"`
	Text      *string  `parquet:"text,optional"`
	Bytes     []byte   `parquet:"bytes,optional"`
	Nested    []int64  `parquet:"nested,list"`
}

func write(t *testing.T, groups ...[]record) string {
	t.Helper()
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[record](&buf)
	for _, g := range groups {
		if _, err := w.Write(g); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(t.Context(), objects.NewLocal(), "file://"+path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func ptr[T any](v T) *T { return &v }

func TestReadsColumnsByGroup(t *testing.T) {
	var groups [][]record
	const sizes = 3000
	n := int64(0)
	for g := range 3 {
		var rows []record
		for range sizes >> g {
			rows = append(rows, record{Topic: fmt.Sprint("t", n/500), Partition: int32(n % 7), Offset: n})
			n++
		}
		groups = append(groups, rows)
	}
	f := open(t, write(t, groups...))
	if f.Rows() != n || f.Groups() != 3 {
		t.Fatalf("%d rows in %d groups", f.Rows(), f.Groups())
	}
	at := int64(0)
	for g := range groups {
		topics, err := f.Strings(g, "topic")
		if err != nil {
			t.Fatal(err)
		}
		parts, err := f.Ints(g, "partition")
		if err != nil {
			t.Fatal(err)
		}
		offsets, err := f.Ints(g, "offset")
		if err != nil {
			t.Fatal(err)
		}
		if len(topics) != len(groups[g]) || len(parts) != len(topics) || len(offsets) != len(topics) {
			t.Fatalf("group %d: %d %d %d values", g, len(topics), len(parts), len(offsets))
		}
		for i := range topics {
			if topics[i] != fmt.Sprint("t", at/500) || parts[i] != at%7 || offsets[i] != at {
				t.Fatalf("row %d: %s %d %d", at, topics[i], parts[i], offsets[i])
			}
			at++
		}
	}
	for _, c := range []string{"none", "nested", "nested.list.element"} {
		if _, err := f.Ints(0, c); err == nil || !strings.Contains(err.Error(), c) {
			t.Errorf("column %s: %v", c, err)
		}
	}
}

// Values of every type, as batch.Column stores them, also as other programs write them and after a column was widened.
func TestReadsValuesOfEveryType(t *testing.T) {
	minus := [16]byte{}
	for i := range minus {
		minus[i] = 0xff
	}
	f := open(t, write(t, []record{{Bool: ptr(true), Float: ptr(float32(1.5)), Double: ptr(-2.5), Dec9: ptr(int32(-5)), Dec18: ptr(int64(1 << 40)),
		Dec18Fix: &[8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, Dec4Fix: [2]byte{0xff, 0x00}, Dec38: minus, Dec20: [9]byte{0x80}, Text: ptr("é"), Bytes: []byte{0, 1}, Offset: 9, Partition: -3}, {}}))
	negative20 := append(bytes.Repeat([]byte{0xff}, 7), 0x80, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, c := range []struct {
		column string
		typ    *batch.Type
		want   []any
	}{
		{"bool", batch.Prim(batch.Boolean), []any{true, nil}},
		{"float", batch.Prim(batch.Float), []any{float32(1.5), nil}},
		{"float", batch.Prim(batch.Double), []any{1.5, nil}}, // the column was widened later
		{"double", batch.Prim(batch.Double), []any{-2.5, nil}},
		{"dec9", batch.DecimalOf(9, 2), []any{int64(-5), nil}},
		{"dec18", batch.DecimalOf(18, 2), []any{int64(1 << 40), nil}},
		{"dec18fix", batch.DecimalOf(18, 2), []any{int64(-2), nil}},
		{"dec4fix", batch.DecimalOf(4, 2), []any{int64(-256), int64(0)}},
		{"dec38", batch.DecimalOf(38, 2), []any{minus[:], make([]byte, 16)}},
		{"dec20", batch.DecimalOf(20, 2), []any{negative20, make([]byte, 16)}},
		{"text", batch.Prim(batch.String), []any{"é", nil}},
		{"bytes", batch.Prim(batch.Binary), []any{[]byte{0, 1}, nil}},
		{"partition", batch.Prim(batch.Int), []any{int32(-3), int32(0)}},
		{"partition", batch.Prim(batch.Long), []any{int64(-3), int64(0)}},
		{"offset", batch.Prim(batch.TimestampTZ), []any{int64(9), int64(0)}},
		{"added later", batch.Prim(batch.Long), []any{nil, nil}},
	} {
		got, err := f.Values(0, c.column, c.typ)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s as %s: %v, want %v (%v)", c.column, c.typ, got, c.want, err)
		}
	}
}

func TestBrokenFilesAreErrors(t *testing.T) {
	store := objects.NewLocal()
	if _, err := Open(t.Context(), store, "file:///no/such/file", 0); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("no file: %v", err)
	}
	path := write(t, []record{{Topic: "a", Offset: 1}, {Topic: "b", Offset: 2}})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewSource(1))
	read := 0
	for i := range 2000 {
		data := bytes.Clone(whole)
		if i%4 == 0 {
			data = data[:r.Intn(len(data))]
		} else {
			data[r.Intn(len(data))] ^= byte(1 + r.Intn(255))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(t.Context(), store, "file://"+path, 0)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not say which file", err)
			}
			continue
		}
		for g := range f.Groups() { // any values or an error
			if _, err := f.Strings(g, "topic"); err == nil {
				read++
			}
			if _, err := f.Ints(g, "offset"); err == nil {
				read++
			}
			if _, err := f.Values(g, "text", batch.Prim(batch.String)); err == nil {
				read++
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if read == 0 {
		t.Error("nothing was ever read")
	}
}

// flaky fails reads as a store does that is not answering.
type flaky struct {
	objects.Store
	after int // reads
}

type flakyReader struct {
	objects.Reader
	left *int
}

func (f *flaky) Open(ctx context.Context, uri string) (objects.Reader, error) {
	r, err := f.Store.Open(ctx, uri)
	return flakyReader{r, &f.after}, err
}

func (r flakyReader) ReadAt(p []byte, off int64) (int, error) {
	if *r.left--; *r.left < 0 {
		return 0, fmt.Errorf("no answer: %w", objects.ErrRetry)
	}
	return r.Reader.ReadAt(p, off)
}

// A store that fails for a passing reason must not look like a damaged file.
func TestErrorsOfTheStorePassThrough(t *testing.T) {
	path := write(t, []record{{Topic: "a", Offset: 1}, {Topic: "b", Offset: 2}})
	row := batch.StructOf(batch.Field{Name: "topic", Type: batch.Prim(batch.String)}, batch.Field{Name: "offset", Type: batch.Prim(batch.Long)})
	for after := 0; ; after++ {
		if after > 100 {
			t.Fatal("it never gets through")
		}
		read := func() (err error) {
			f, err := Open(t.Context(), &flaky{Store: objects.NewLocal(), after: after}, "file://"+path, 0)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			if _, err = f.Strings(0, "topic"); err != nil {
				return err
			}
			_, err = readAll(t, f, row, 10)
			return err
		}
		err := read()
		if err == nil {
			if after < 3 {
				t.Errorf("it needs %d reads", after)
			}
			return
		}
		if !errors.Is(err, objects.ErrRetry) {
			t.Errorf("after %d reads: %v", after, err)
		}
	}
}
