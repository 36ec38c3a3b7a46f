package writers

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/usage"
	"github.com/parquet-go/parquet-go/compress"
)

var sizes = flag.Bool("sizes", false, "BenchmarkClicks prints bytes per record, by column")

// heapPeak samples the heap in use until stop is called, which returns the most in MiB beyond what is live now.
func heapPeak() (stop func() float64) {
	var peak atomic.Uint64
	var base runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() float64 { close(done); <-over; return float64(peak.Load()-base.HeapAlloc) / (1 << 20) }
}

// goZstd is the Go encoder with literal coding on, for comparison with libzstd.
type goZstd struct {
	zstdCodec
	level zstd.EncoderLevel
	once  sync.Once
	enc   *zstd.Encoder
}

func (c *goZstd) Encode(dst, src []byte) ([]byte, error) {
	var err error
	c.once.Do(func() {
		c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(c.level),
			zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false))
	})
	if err != nil {
		return nil, err
	}
	return c.enc.EncodeAll(src, dst[:0]), nil
}

// every is every step-th row from the first on, in a partition of its own.
func every(key string, first, step, rows int) Part {
	p := in(key)
	for i := first; i < rows; i += step {
		p.Rows = append(p.Rows, int32(i))
	}
	return p
}

type benchmark struct {
	name     string
	optional bool
	pages    string
	files    configs.Files
	codec    compress.Codec
	sort     []table.SortField
	open     int // partitions; 0: 2, one per batch, else all in each batch
}

// BenchmarkClicks writes rounds of a million clicks into two open files (two days), batches of 4096 records.
func BenchmarkClicks(b *testing.B) {
	for _, c := range []benchmark{
		{name: "required"}, {name: "optional", optional: true}, {name: "sorted", sort: []table.SortField{{Source: "uuid"}}},
		{name: "scattered-16", open: 16}, {name: "scattered-256", open: 256},
		{name: "v1", pages: "v1"}, {name: "v2", pages: "v2"},
		{name: "snappy", files: configs.Files{Compression: "snappy"}}, {name: "none", files: configs.Files{Compression: "none"}},
		{name: "level3", files: configs.Files{Level: 3}},
		{name: "go-fastest", codec: &goZstd{level: zstd.SpeedFastest}}, {name: "go-default", codec: &goZstd{level: zstd.SpeedDefault}},
	} {
		b.Run(c.name, c.run)
	}
}

const (
	batchRows = 4096
	batches   = 32
	records   = 1_000_000
)

func (c benchmark) run(b *testing.B) {
	row := clicksRow(c.optional)
	r := rand.New(rand.NewPCG(1, 2))
	var in []*batch.Batch
	for i := range batches {
		in = append(in, clicks(row, r, i*batchRows, batchRows, batches*batchRows))
	}
	store := newMemory()
	store.discard = true
	opts := Options{Info: info(row), Store: store, Files: c.files, SortBy: c.sort}
	opts.Info.Properties = map[string]string{"write.parquet.page-version": c.pages}
	w := newWriter(b, opts)
	if c.codec != nil {
		w.codec = c.codec
	}
	stop := heapPeak()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, size, written := usage.CPU(b), int64(0), 0
	b.ResetTimer()
	for range b.N {
		files := c.round(b, w, in)
		for _, f := range files {
			size, written = size+f.Size, written+int(f.Rows)
		}
		if *sizes {
			printSizes(w, files)
		}
	}
	b.StopTimer()
	cpu := usage.CPU(b) - start
	runtime.ReadMemStats(&after)
	b.ReportMetric(stop(), "MiB-heap-peak")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(written), "cpu-ns/record")
	b.ReportMetric(float64(size)/float64(written), "B/record")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(written), "allocs/record")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(written), "alloc-B/record")
	b.ReportMetric(0, "ns/op")
}

// round writes a million records; batches are used again with other times and offsets, so B/record means something only
// where equal uuids stay apart: not for sorted and scattered.
func (c benchmark) round(b *testing.B, w *Writer, in []*batch.Batch) []table.File {
	parts := [][]Part{{every("0", 0, 1, batchRows)}, {every("1", 0, 1, batchRows)}}
	if c.open > 0 {
		parts = [][]Part{nil}
		for i := range c.open {
			parts[0] = append(parts[0], every(fmt.Sprint(i), i, c.open, batchRows))
		}
	}
	for n := range records / batchRows {
		bt := in[n%batches]
		for i := range batchRows {
			bt.Root.Children[12].Int64[i] += 500 * batches * batchRows / 2000
			bt.Root.Children[3].Int64[i] += 1e6
			bt.Root.Children[13].Int64[i] += 5 * batches * batchRows
		}
		for _, part := range parts[n%len(parts)] {
			if err := w.Append(b.Context(), bt, part); err != nil {
				b.Fatal(err)
			}
		}
	}
	return finish(b, w)
}

func printSizes(w *Writer, files []table.File) {
	var line strings.Builder
	for _, l := range w.leaves {
		total, rows := int64(0), int64(0)
		for _, f := range files {
			total, rows = total+f.ColumnSizes[l.id], rows+f.Rows
		}
		fmt.Fprintf(&line, "%s %.2f %s  ", l.name(), float64(total)/float64(rows), w.encodings[l.index].Encoding())
	}
	fmt.Fprintln(os.Stderr, line.String())
}

// BenchmarkRefuse measures the look at values before they are written, of decimals, which it costs most.
func BenchmarkRefuse(b *testing.B) {
	const n = 4096
	row := number(batch.StructOf(batch.Field{Name: "price", Type: batch.DecimalOf(9, 2)}, batch.Field{Name: "amount", Type: batch.DecimalOf(38, 4)},
		batch.Field{Name: "text", Type: batch.Prim(batch.String)}, batch.Field{Name: "at", Type: batch.Prim(batch.TimestampTZ)}))
	r := &batch.Records{}
	in := batch.New(r, row)
	for i := range n {
		in.Root.Children[0].AppendInt64(int64(i))
		in.Root.Children[1].AppendView(r.Append(make([]byte, 16)))
		in.Root.Children[2].AppendView(r.AppendString("text"))
		in.Root.Children[3].AppendInt64(int64(i))
		in.Root.AppendStruct()
		in.AppendRow(i, 0)
	}
	w := newWriter(b, Options{Info: info(row), Store: newMemory()})
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Refuse(in); err != nil || len(in.Rejects) > 0 {
			b.Fatal(err, in.Rejects)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
