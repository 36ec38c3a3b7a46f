package writers

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

func TestBloomFilters(t *testing.T) {
	row := number(batch.StructOf(required("id", batch.String), batch.Field{Name: "l", Type: batch.ListOf(batch.Prim(batch.Long), false)}))
	for _, codec := range []string{"zstd", "snappy", "gzip", "lz4", "none"} {
		store := newMemory()
		w := newWriter(t, Options{Info: info(row), Store: store, Files: configs.Files{Bloom: []string{"id", "l[]"}, Compression: codec, RowGroupSize: 10 << 10}})
		w.page, w.largest = 4000, 100
		var rows []any
		for i := range 5000 {
			rows = append(rows, []any{fmt.Sprintf("id-%d", i*7), []any{int64(i), nil, int64(-i)}})
		}
		appendAll(t, w, batchOf(row, rows))
		f := finish(t, w)[0]
		p := open(t, store, f)
		at, wrong, asked := 0, 0, 0
		for _, g := range p.RowGroups() {
			ids, numbers := g.ColumnChunks()[0].BloomFilter(), g.ColumnChunks()[1].BloomFilter()
			if ids == nil || numbers == nil {
				t.Fatalf("%s: a filter is missing", codec)
			}
			for range g.NumRows() {
				check := func(b parquet.BloomFilter, v parquet.Value) bool {
					ok, err := b.Check(v)
					if err != nil {
						t.Fatal(err)
					}
					return ok
				}
				if !check(ids, parquet.ValueOf(fmt.Sprintf("id-%d", at*7))) || !check(numbers, parquet.ValueOf(int64(-at))) {
					t.Fatalf("%s: a value of row %d is not in the filter", codec, at)
				}
				if asked++; check(ids, parquet.ValueOf(fmt.Sprintf("id-%d", at*7+1))) {
					wrong++
				}
				at++
			}
		}
		if at != len(rows) || len(p.RowGroups()) < 2 || wrong > asked/20 {
			t.Errorf("%s: %d rows in %d groups, %d of %d absent values are in the filter", codec, at, len(p.RowGroups()), wrong, asked)
		}
	}
}

// TestEncodings checks the choice by trial, and that a dictionary that grew too large is given up for later files.
func TestEncodings(t *testing.T) {
	for pages, want := range map[string]string{
		"":   "PLAIN DELTA_BINARY_PACKED RLE_DICTIONARY RLE_DICTIONARY",
		"v1": "PLAIN PLAIN RLE_DICTIONARY RLE_DICTIONARY",
		"v2": "DELTA_LENGTH_BYTE_ARRAY DELTA_BINARY_PACKED RLE_DICTIONARY RLE_DICTIONARY",
	} {
		row := number(batch.StructOf(required("unique", batch.String), required("ascending", batch.Long), required("few", batch.String), required("constant", batch.String)))
		store := newMemory()
		opts := Options{Info: info(row), Store: store}
		opts.Info.Properties = map[string]string{"write.parquet.page-version": pages}
		w := newWriter(t, opts)
		g := rand.New(rand.NewPCG(3, 4))
		var rows []any
		for i := range 5000 {
			rows = append(rows, []any{fmt.Sprintf("%016x", g.Uint64()), int64(i) * 3, fmt.Sprint("city", g.IntN(20)), "topic"})
		}
		appendAll(t, w, batchOf(row, rows))
		var got []string
		for _, e := range w.encodings {
			got = append(got, e.Encoding().String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s, want %s", pages, got, want)
		}
		v2 := open(t, store, finish(t, w)[0]).Metadata().RowGroups[0].Columns[0].MetaData.EncodingStats[0].PageType == format.DataPageV2
		if v2 != (pages == "v2") {
			t.Errorf("%q: pages of version 2: %v", pages, v2)
		}
	}
}

func TestDictionaryOutgrown(t *testing.T) {
	row := number(batch.StructOf(required("s", batch.String)))
	store := newMemory()
	w := newWriter(t, Options{Info: info(row), Store: store})
	w.page, w.largest = 2000, 3000
	var want []any
	var files []table.File
	for round := range 2 {
		for i := range 3000 { // too few at once for a trial
			b := batchOf(row, []any{[]any{fmt.Sprintf("value %d of %d", i, round)}})
			want = append(want, []any{fmt.Sprintf("value %d of %d", i, round)})
			appendAll(t, w, b)
		}
		files = append(files, finish(t, w)...)
	}
	mixed := fellBack(open(t, store, files[0]).Metadata().RowGroups[0].Columns[0].MetaData.EncodingStats)
	if !mixed || isDictionary(w.encodings[0]) {
		t.Errorf("fell back: %v, afterwards %v", mixed, w.encodings[0])
	}
	got := append(readFile(t, store, files[0], row), readFile(t, store, files[1], row)...)
	if text(got) != text(want) {
		t.Error("other rows came back")
	}
}
