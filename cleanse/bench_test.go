package cleanse_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

const benchRows = 4096

// clicks is the row type of the clicks generator, decoded from JSON or Avro.
func clicks() *batch.Type {
	t := &batch.Type{Kind: batch.Struct}
	for _, f := range [][2]string{{"uuid", "string"}, {"campaignId", "int"}, {"pubId", "int"}, {"timestamp", "string"}, {"ip", "string"},
		{"city", "string"}, {"country", "string"}, {"browser", "string"}, {"platform", "string"}, {"platformVersion", "string"}} {
		ct, err := batch.ParseType(f[1])
		if err != nil {
			panic(err)
		}
		t.Fields = append(t.Fields, batch.Field{Name: f[0], Type: ct, Required: true})
	}
	return t
}

func clickRows(n int) []any {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	var rows []any
	for i := range n {
		rows = append(rows, fields{
			"uuid":       fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48)),
			"campaignId": int64(1 + i/5%10), "pubId": int64(1 + i%5),
			"timestamp": fmt.Sprintf("2018-12-04T10:%02d:%02d.%03d", i/60000%60, i/1000%60, i%1000),
			"ip":        fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)),
			"city":      pick("Berlin", "Paris", "London", "New York", "Madrid", "Tokyo"), "country": pick("DE", "FR", "GB", "US", "ES", "JP"),
			"browser": pick("Chrome", " firefox", "SAFARI", "Edge "), "platform": pick("Android", "iOS", "macOS ", " android", "IOS", "Windows"),
			"platformVersion": pick("10.0", "11", "12.4", "13"),
		})
	}
	return rows
}

// sixSteps are typical ones.
func sixSteps(private configs.Step) []configs.Step {
	low, high := "1", "10"
	return []configs.Step{
		{Trim: &configs.ColumnsStep{Columns: []string{"browser", "platform"}}},
		{Lower: &configs.ColumnsStep{Columns: []string{"browser", "platform"}}},
		{MapValues: &configs.MapStep{Columns: []string{"platform"}, Values: map[string]string{"ios": "iOS", "macos": "macOS", "android": "Android"}}},
		{ParseTimestamp: &configs.TimestampStep{Columns: []string{"timestamp"}, Zone: "Europe/Berlin"}},
		private,
		{Validate: &configs.ValidateStep{Columns: []string{"campaignId"}, Min: &low, Max: &high}},
		{Filter: &configs.FilterStep{Expression: "pubId != 3 || country in ['DE', 'FR']"}},
	}
}

var (
	maskIP = configs.Step{Mask: &configs.MaskStep{Columns: []string{"ip"}, Style: "ip"}}
	hashIP = configs.Step{Hash: &configs.HashStep{Columns: []string{"ip"}, Key: "secret", Length: 32}}
)

// benchSteps applies steps to fresh copies of a batch; making the copies is not measured.
func benchSteps(b *testing.B, steps []configs.Step) {
	row := clicks()
	p, err := cleanse.Compile(row, steps)
	if err != nil {
		b.Fatal(err)
	}
	fresh := newBatch(row, clickRows(benchRows), nil)
	work := newBatch(row, nil, nil)
	root := work.Root
	run := func() {
		copyBatch(work, root, fresh)
		b.StartTimer()
		if err := p.Apply(work); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
	}
	b.ReportAllocs()
	b.StopTimer()
	run()
	b.ResetTimer()
	n := 0
	for ; n < b.N; n++ {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/benchRows, "ns/record")
}

// copyBatch makes work, whose decoded root is root, a copy of from.
func copyBatch(work *batch.Batch, root *batch.Column, from *batch.Batch) {
	r := work.Records
	mem := append(r.Mem[:0], from.Mem...)
	*r = *from.Records
	r.Mem = mem
	copyColumn(root, from.Root)
	work.Root = root
	work.Rows, work.Rejects, work.FilteredBy = from.Rows, work.Rejects[:0], nil
	work.Record, work.SchemaID = from.Record, from.SchemaID
	work.Fate = append(work.Fate[:0], from.Fate...)
}

func copyColumn(to, from *batch.Column) {
	to.Len, to.Valid = from.Len, nil
	if from.Valid != nil {
		to.Valid = append([]bool(nil), from.Valid...)
	}
	to.Bools = append(to.Bools[:0], from.Bools...)
	to.Int32 = append(to.Int32[:0], from.Int32...)
	to.Int64 = append(to.Int64[:0], from.Int64...)
	to.Float64 = append(to.Float64[:0], from.Float64...)
	to.Views = append(to.Views[:0], from.Views...)
	to.Starts = append(to.Starts[:0], from.Starts...)
	for i := range to.Children {
		copyColumn(to.Children[i], from.Children[i])
	}
}

// BenchmarkClicks reports nanoseconds a record for typical steps on clicks: all together, and each alone.
func BenchmarkClicks(b *testing.B) {
	b.Run("all with mask", func(b *testing.B) { benchSteps(b, sixSteps(maskIP)) })
	b.Run("all with hash", func(b *testing.B) { benchSteps(b, sixSteps(hashIP)) })
	for _, s := range append(sixSteps(maskIP), hashIP,
		configs.Step{Cast: &configs.CastStep{Columns: []string{"uuid"}, To: "uuid"}},
		configs.Step{Validate: &configs.ValidateStep{Columns: []string{"uuid"}, Pattern: "[0-9a-f-]{36}"}},
		configs.Step{Derive: &configs.DeriveStep{Column: "key", Expression: "campaignId * 10 + pubId"}},
		configs.Step{Derive: &configs.DeriveStep{Column: "where", Expression: "city + ', ' + country"}},
		configs.Step{Filter: &configs.FilterStep{Expression: "platform.trim().lowerAscii() == 'ios'"}},
		configs.Step{Deduplicate: &configs.DeduplicateStep{Key: []string{"uuid"}}},
	) {
		p, err := cleanse.Compile(clicks(), []configs.Step{s})
		if err != nil {
			b.Fatal(err)
		}
		name := stepKind(&s)
		for _, e := range p.Explain() {
			if name += " in cel-go"; e.Kernels {
				name = stepKind(&s) + " in kernels"
			}
		}
		b.Run(name, func(b *testing.B) { benchSteps(b, []configs.Step{s}) })
	}
}

func stepKind(s *configs.Step) string {
	switch {
	case s.Trim != nil:
		return "trim two columns"
	case s.Lower != nil:
		return "lower two columns"
	case s.MapValues != nil:
		return "map"
	case s.ParseTimestamp != nil:
		return "parse_timestamp"
	case s.Mask != nil:
		return "mask ip"
	case s.Hash != nil:
		return "hash ip"
	case s.Validate != nil && s.Validate.Pattern != "":
		return "validate pattern"
	case s.Validate != nil:
		return "validate range"
	case s.Filter != nil:
		return "filter"
	case s.Cast != nil:
		return "cast to uuid"
	case s.Derive != nil:
		return "derive"
	case s.Deduplicate != nil:
		return "deduplicate"
	}
	return "other"
}

// TestNoAllocationPerRecord holds the steps to whole columns.
func TestNoAllocationPerRecord(t *testing.T) {
	row := clicks()
	steps := append(sixSteps(maskIP), hashIP)
	p, err := cleanse.Compile(row, steps)
	if err != nil {
		t.Fatal(err)
	}
	fresh, work := newBatch(row, clickRows(benchRows), nil), newBatch(row, nil, nil)
	root := work.Root
	n := testing.AllocsPerRun(10, func() {
		copyBatch(work, root, fresh)
		if err := p.Apply(work); err != nil {
			t.Fatal(err)
		}
	})
	if n > 100 {
		t.Errorf("%.0f allocations for a batch of %d records", n, benchRows)
	}
}
