package rewrite

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// clicks is a table without partitions that no catalog knows, with the columns of the benchmark's.
type clicks struct {
	t     testing.TB
	info  table.Info
	store objects.Store
	files configs.Files
	by    []table.SortField
	lies  bool // rows are not sorted, and the files say that they are
	rnd   *rand.Rand
	next  int64
	rows  []click
}

// click is a row, but for the columns that follow from these.
type click struct {
	uuid, ip, city string
	campaign       int32
	ts, offset     int64
}

func newClicks(t testing.TB) *clicks {
	t.Helper()
	p := batch.Prim
	row := batch.StructOf(field("uuid", p(batch.String), true), field("campaignId", p(batch.Int), true), field("ts", p(batch.TimestampTZ), true),
		field("ip", p(batch.String), true), field("city", p(batch.String), false), field("country", p(batch.String), true), field("browser", p(batch.String), true),
		field("platform", p(batch.String), true), field("price", p(batch.Double), false), field(table.ColumnTopic, p(batch.String), true), field(table.ColumnPartition, p(batch.Int), true),
		field(table.ColumnOffset, p(batch.Long), true), field(table.ColumnEpoch, p(batch.Int), true))
	for i := range row.Fields {
		row.Fields[i].ID = i + 1
	}
	return &clicks{t: t, store: objects.NewLocal(), rnd: rand.New(rand.NewPCG(1, 2)), info: table.Info{Ident: table.Ident{Namespace: "lake", Name: "clicks"},
		Location: "file://" + t.TempDir(), Row: row, SortOrderID: 1}}
}

var cities = []string{"Brussels", "Paris", "London", "New York", "Berlin", "Madrid", "Rome", "Oslo"}

// write writes one file of n rows.
func (c *clicks) write(n int) table.File {
	c.t.Helper()
	w, err := writers.New(writers.Options{Info: c.info, Store: c.store, Files: c.files, SortBy: c.by, Sorted: c.lies})
	if err != nil {
		c.t.Fatal(err)
	}
	b := batch.New(&batch.Records{}, c.info.Row)
	for n > 0 {
		b.Records.Reset()
		b.Reset(b.Records)
		p := writers.Part{Key: "all"}
		for ; n > 0 && b.Rows < rowsAtOnce; n-- {
			c.append(b)
			p.Rows = append(p.Rows, int32(b.Rows-1))
		}
		if err := w.Append(c.t.Context(), b, p); err != nil {
			c.t.Fatal(err)
		}
	}
	files, err := w.Finish(c.t.Context())
	if err != nil || len(files) != 1 {
		c.t.Fatalf("%d files, %v", len(files), err)
	}
	return files[0]
}

func (c *clicks) append(b *batch.Batch) {
	r := c.rnd
	row := click{uuid: fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16), r.Int64N(1<<48)),
		campaign: int32(1 + r.IntN(10)), ts: 1_800_000_000_000_000 + c.next*25_000 + r.Int64N(10_000_000),
		ip: fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)), city: cities[r.IntN(len(cities))], offset: c.next}
	col := b.Root.Children
	text := func(i int, s string) { col[i].AppendView(b.AppendString(s)) }
	text(0, row.uuid)
	col[1].AppendInt32(row.campaign)
	col[2].AppendInt64(row.ts)
	text(3, row.ip)
	if row.city == "Oslo" {
		col[4].AppendNull()
		col[8].AppendNull()
	} else {
		text(4, row.city)
		col[8].AppendFloat64(float64(row.campaign) / 4)
	}
	text(5, row.city[:2])
	text(6, []string{"Chrome", "Firefox", "Safari", "Edge"}[r.IntN(4)])
	text(7, []string{"iOS", "Android", "Windows", "Linux", "macOS"}[r.IntN(5)])
	text(9, "clicks")
	col[10].AppendInt32(int32(c.next % 4))
	col[11].AppendInt64(c.next / 4)
	col[12].AppendInt32(0)
	b.Root.AppendStruct()
	b.AppendRow(b.Rows, 0)
	c.next++
	if c.rows != nil {
		c.rows = append(c.rows, row)
	}
}

func (c *clicks) input(sources ...table.File) MergeInput {
	return MergeInput{Info: c.info, Store: c.store, Files: c.files, SortBy: c.by, Sources: slices.Clone(sources)}
}
