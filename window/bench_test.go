package window

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/partitioner"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/iceberg"
	"github.com/lakeloader/lakeloader/test/usage"
	"github.com/lakeloader/lakeloader/writers"
)

var (
	benchRows     = flag.Int("rows", 200_000, "purchases of benchmarks")
	benchDistinct = flag.Bool("distinct", false, "every purchase is by another visitor; else a third of as many visitors never buy")
	benchMemory   = flag.Int64("memory", 64<<20, "memory of benchmarks, bytes")
)

var benchRow = batch.StructOf(
	batch.Field{Name: "sku", Type: batch.Prim(batch.String), Required: true},
	batch.Field{Name: "value", Type: batch.DecimalOf(18, 2), Required: true},
	batch.Field{Name: "quantity", Type: batch.Prim(batch.Long), Required: true},
	batch.Field{Name: "visitor", Type: batch.Prim(batch.String), Required: true},
	batch.Field{Name: "timestamp", Type: batch.Prim(batch.TimestampTZ), Required: true})

// purchases fills a batch of the row type with purchases of the last 90 days.
func purchases(b *batch.Batch, rnd *rand.Rand, n int, visitor func() int, now time.Time) {
	b.Records.Reset()
	b.Reset(b.Records)
	for i := range n {
		c := b.Root.Children
		c[0].AppendView(b.AppendString(fmt.Sprint("sku-", rnd.IntN(1000))))
		c[1].AppendInt64(int64(rnd.IntN(100_000)))
		c[2].AppendInt64(int64(1 + rnd.IntN(5)))
		c[3].AppendView(b.AppendString(fmt.Sprintf("visitor-%d@example.org", visitor())))
		c[4].AppendInt64(now.Add(-time.Duration(rnd.Int64N(int64(85 * 24 * time.Hour)))).UnixMicro())
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
}

// benchLake is a table of purchases.
func benchLake(b *testing.B, rows int, now time.Time) Lake {
	ctx := b.Context()
	cfg := &configs.Config{Pipelines: []configs.Pipeline{{}}}
	cfg.Warehouse.Location = filepath.Join(b.TempDir(), "lake")
	configs.ApplyDefaults(cfg)
	store, err := objects.Open(cfg.Warehouse)
	if err != nil {
		b.Fatal(err)
	}
	cat, err := iceberg.Open(ctx, cfg.Catalog, cfg.Warehouse)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cat.Close() })
	id := table.Ident{Namespace: "lake", Name: "purchases"}
	parts, err := partitioner.Parse([]string{"month(timestamp)"}, benchRow)
	if err != nil {
		b.Fatal(err)
	}
	info, err := cat.Ensure(ctx, table.Def{Ident: id, Row: benchRow, PartitionBy: parts})
	if err != nil {
		b.Fatal(err)
	}
	w, err := writers.New(writers.Options{Info: info, Store: store, Files: cfg.Pipelines[0].Files, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	split, err := partitioner.New(info.PartitionBy, benchRow)
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	visitor, last := func() int { return rnd.IntN(rows) }, -1
	if *benchDistinct {
		visitor = func() int { last++; return last * 7919 % rows }
	}
	x := batch.New(&batch.Records{}, benchRow)
	for n := 0; n < rows; n += 10_000 {
		purchases(x, rnd, min(10_000, rows-n), visitor, now)
		ps, err := split.Split(x)
		for i := 0; err == nil && i < len(ps); i++ {
			err = w.Append(ctx, x, writers.Part(ps[i]))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	files, err := w.Finish(ctx)
	if err != nil {
		b.Fatal(err)
	}
	t, err := cat.Open(ctx, id)
	if err != nil {
		b.Fatal(err)
	}
	base, err := t.Load(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if err := t.Swap(ctx, base, table.Change{Add: files, Snapshot: true}); err != nil {
		b.Fatal(err)
	}
	return Lake{Catalog: cat, Objects: store, Pipeline: "p", Table: id}
}

// benchKafka has no records, and forgets what is published.
type benchKafka struct {
	Kafka
	slots int32
}

func (k benchKafka) Inputs(context.Context) (map[Part]Ends, error) {
	return map[Part]Ends{{"in", 0}: {ID: "id"}}, nil
}
func (k benchKafka) Slots(context.Context) (int32, error)         { return k.slots, nil }
func (k benchKafka) Write(context.Context, int32) (Output, error) { return benchOutput{}, nil }
func (k benchKafka) Read(map[Part]int64) (Input, error)           { return benchInput{}, nil }
func (k benchKafka) Published(context.Context, int32, func(key, value []byte) error) error {
	return nil
}

type benchOutput struct{}

func (benchOutput) Publish(context.Context, []Message) error { return nil }
func (benchOutput) Close()                                   {}

type benchInput struct{}

func (benchInput) Poll(context.Context, *batch.Records, time.Duration) error { return nil }
func (benchInput) Close() error                                              { return nil }

type benchSource struct{ b *batch.Batch }

func (s benchSource) Prepare(context.Context, *batch.Records) error { return nil }
func (s benchSource) Row() *batch.Type                              { return benchRow }
func (s benchSource) Apply(*batch.Records) (*batch.Batch, error)    { return s.b, nil }

func benchOwner(b *testing.B, lake Lake, rows Rows, now time.Time) *Owner {
	state, err := OpenState(b.TempDir(), Divide(*benchMemory).Store)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { state.Close() })
	const slots = 8
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	o := New(Options{Name: "w", Key: "visitor", Time: "timestamp", Sum: "value * quantity", Decimals: 2, Length: Length{Months: 3}, Zone: zone, Start: "earliest"},
		Deps{State: state, Memory: Divide(*benchMemory).Entries, Meter: &Meter{}, Lake: lake, Kafka: benchKafka{slots: slots}, Rows: rows, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	o.slots = make([]*slot, slots)
	o.checked = time.Now()
	o.Assigned([]int32{0, 1, 2, 3, 4, 5, 6, 7})
	return o
}

// BenchmarkRebuild makes the totals of -rows purchases by as many visitors from a table on the local disk.
func BenchmarkRebuild(b *testing.B) {
	now := time.Now()
	lake := benchLake(b, *benchRows, now)
	b.ResetTimer()
	for range b.N {
		o := benchOwner(b, lake, nil, now)
		o.look()
		usage.ResetPeak(b)
		started, used := time.Now(), usage.CPU(b)
		if err := o.reconcile(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(started).Seconds(), "s/rebuild")
		b.ReportMetric((usage.CPU(b) - used).Seconds(), "cpu-s/rebuild")
		started, used = time.Now(), usage.CPU(b)
		if err := o.settle(b.Context()); err != nil { // compares all keys with an empty topic
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(started).Seconds(), "s/compare")
		b.ReportMetric((usage.CPU(b) - used).Seconds(), "cpu-s/compare")
		m := o.d.State.db.Metrics()
		b.ReportMetric(float64(m.DiskSpaceUsage())/1e6, "MB")
		keys := o.d.Meter.Read().Keys
		if *benchDistinct && keys != int64(*benchRows) {
			b.Fatalf("there are totals of %d visitors, of %d", keys, *benchRows)
		}
		b.ReportMetric(float64(keys), "keys")
		b.ReportMetric(float64(usage.Memory(b, usage.Peak))/(1<<20), "MiB-resident")
	}
}

// BenchmarkUpdate applies batches of 4,096 purchases by 100,000 visitors whose totals are kept, with all but decoding and Kafka.
func BenchmarkUpdate(b *testing.B) {
	now := time.Now()
	x := batch.New(&batch.Records{Topics: []string{"in"}}, benchRow)
	o := benchOwner(b, Lake{Catalog: noCatalog{}}, benchSource{x}, now)
	rnd := rand.New(rand.NewPCG(1, 1))
	o.look()
	if err := o.reconcile(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := o.settle(b.Context()); err != nil {
		b.Fatal(err)
	}
	const n = 4096
	next, used := int64(0), time.Duration(0)
	one := func() {
		b.StopTimer()
		purchases(x, rnd, n, func() int { return rnd.IntN(100_000) }, now)
		for i := range n {
			x.Topic, x.Partition, x.Offset = append(x.Topic, 0), append(x.Partition, 0), append(x.Offset, next+int64(i))
		}
		o.rec.Reset()
		o.rec.Spans = append(o.rec.Spans, batch.Span{Topic: "in", First: next, Next: next + n})
		next += n
		b.StartTimer()
		before := usage.CPU(b)
		if err := o.apply(b.Context()); err != nil {
			b.Fatal(err)
		}
		used += usage.CPU(b) - before
	}
	for range 100 {
		one()
	}
	used = 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		one()
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/n, "cpu-ns/update")
}
