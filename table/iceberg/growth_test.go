package iceberg

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// grown is what there is to a table after many commits.
type grown struct {
	commits, snapshots, files     int
	manifests, entries, dead      int   // of main; dead: entries of files that are gone
	manifestBytes, list, metadata int64 // bytes
	plan, commit                  time.Duration
}

func (g grown) String() string {
	return fmt.Sprintf("%5d commits %5d snapshots %5d files %4d manifests (%d bytes) %5d entries, %5d of files that are gone; list %d bytes, metadata %d bytes; planning %v, a commit %v",
		g.commits, g.snapshots, g.files, g.manifests, g.manifestBytes, g.entries, g.dead, g.list, g.metadata, g.plan.Round(time.Millisecond), g.commit.Round(time.Millisecond))
}

// growth makes a table as a loader does that commits every minute to some countries of a day, with late rows for the day
// before, while every now and then the small files of each partition are merged and all snapshots but some expire.
type growth struct {
	t         testing.TB
	lake      *lake
	store     table.Store
	info      table.Info
	countries int
	keep      int // snapshots
	every     int // commits of the loader to the jobs; 0: there are none
	n         int // commits of the loader
	file      int
	commits   int
	small     map[string][]table.File // by partition
	spent     time.Duration           // by commits of the loader from since on
	since     int
}

func newGrowth(t testing.TB, every, keep int) *growth {
	c, err := Open(t.Context(), configs.Catalog{}, configs.Warehouse{Location: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	row := batch.StructOf(batch.Field{Name: "day", Type: batch.Prim(batch.Date)}, batch.Field{Name: "country", Type: batch.Prim(batch.String)})
	for i := range 18 {
		row.Fields = append(row.Fields, batch.Field{Name: fmt.Sprint("c", i), Type: batch.Prim(batch.Long)})
	}
	def := table.Def{Ident: table.Ident{Namespace: "n", Name: "t"}, Row: row, PartitionBy: []table.PartitionField{
		{Source: "day", Transform: "identity", Name: "day"}, {Source: "country", Transform: "identity", Name: "country"}}}
	g := &growth{t: t, lake: c.(*lake), countries: 4, keep: keep, every: every, small: map[string][]table.File{}}
	if g.info, err = c.Ensure(t.Context(), def); err != nil {
		t.Fatal(err)
	}
	if g.store, err = c.Open(t.Context(), def.Ident); err != nil {
		t.Fatal(err)
	}
	return g
}

// described is a file that is not there, with the metrics of one.
func (g *growth) described(day, country int) table.File {
	g.file++
	f := table.File{Path: fmt.Sprintf("%s/data/day=%d/country=c%d/%032d.parquet", g.info.Location, day, country, g.file), Size: 1 << 20, Rows: 1000, SpecID: g.info.SpecID,
		Partition:   [][]byte{binary.LittleEndian.AppendUint32(nil, uint32(day)), fmt.Appendf(nil, "c%d", country)},
		ColumnSizes: map[int]int64{}, ValueCounts: map[int]int64{}, NullCounts: map[int]int64{}, LowerBounds: map[int][]byte{}, UpperBounds: map[int][]byte{}, CreatedMS: time.Now().UnixMilli()}
	for id := 3; id <= 20; id++ {
		bound := binary.LittleEndian.AppendUint64(nil, uint64(g.file*id))
		f.ColumnSizes[id], f.ValueCounts[id], f.NullCounts[id], f.LowerBounds[id], f.UpperBounds[id] = int64(id*g.file), 1000, 0, bound, bound
	}
	return f
}

func (g *growth) swap(change func(base *table.Base) table.Change) {
	g.t.Helper()
	base, err := g.store.Load(g.t.Context())
	if err == nil {
		err = g.store.Swap(g.t.Context(), base, change(base))
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.commits++
}

// run makes commits of the loader, and of the jobs.
func (g *growth) run(commits int) {
	for range commits {
		day := 20000 + g.n/1440
		var add []table.File
		for c := range g.countries {
			add = append(add, g.described(day, c))
		}
		if g.n%5 == 0 {
			add = append(add, g.described(day-1, g.n%g.countries))
		}
		for _, f := range add {
			k := fmt.Sprintf("%x", f.Partition)
			g.small[k] = append(g.small[k], f)
		}
		began := time.Now()
		g.swap(func(base *table.Base) table.Change {
			n := fmt.Sprint(g.n)
			return table.Change{Add: add, Snapshot: true, Props: func(int64) map[string]string { return map[string]string{table.Prefix + "p.offsets.0": n} }}
		})
		g.spent += time.Since(began)
		if g.n++; g.every > 0 && g.n%g.every == 0 {
			g.jobs()
		}
	}
}

func (g *growth) jobs() {
	for k, files := range g.small {
		if len(files) < 5 {
			continue
		}
		day, country := int(binary.LittleEndian.Uint32(files[0].Partition[0])), 0
		if _, err := fmt.Sscanf(string(files[0].Partition[1]), "c%d", &country); err != nil {
			g.t.Fatal(err)
		}
		merged := g.described(day, country)
		var remove []string
		for _, f := range files {
			remove = append(remove, f.Path)
		}
		g.swap(func(*table.Base) table.Change {
			return table.Change{Add: []table.File{merged}, Remove: remove, Snapshot: true}
		})
		delete(g.small, k)
	}
	var before *table.Base
	g.swap(func(base *table.Base) table.Change {
		before = base
		all := base.Snapshots()
		slices.SortFunc(all, func(a, b table.Snapshot) int { return a.At.Compare(b.At) })
		ch := table.Change{}
		for _, s := range all[:max(0, len(all)-g.keep)] {
			if s.ID != base.Snapshot {
				ch.Expire = append(ch.Expire, s.ID)
			}
		}
		return ch
	})
	after, err := g.store.Load(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	gone, err := g.lake.Released(g.t.Context(), before, after)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, uri := range gone {
		if err := os.Remove(strings.TrimPrefix(uri, "file://")); err != nil && !strings.HasSuffix(uri, ".parquet") {
			g.t.Fatal(err)
		}
	}
}

// measure reads what there is.
func (g *growth) measure() grown {
	t := g.t
	t.Helper()
	ctx := g.lake.context(t.Context())
	tbl, err := g.lake.load(t.Context(), g.info.Ident)
	if err != nil {
		t.Fatal(err)
	}
	snap := currentSnapshot(tbl.Metadata())
	m := grown{commits: g.commits, snapshots: len(tbl.Metadata().Snapshots()), commit: g.spent / time.Duration(max(1, g.n-g.since))}
	list, err := g.lake.manifests(t.Context(), tbl, snap)
	if err != nil {
		t.Fatal(err)
	}
	io, err := tbl.FS(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.manifests = len(list)
	for _, x := range list {
		m.manifestBytes += x.Length()
		for e, err := range x.Entries(io, false) {
			if err != nil {
				t.Fatal(err)
			}
			if m.entries++; e.Status() == icebergo.EntryStatusDELETED {
				m.dead++
			}
		}
	}
	size := func(uri string) int64 {
		st, err := os.Stat(filepath.Clean(strings.TrimPrefix(uri, "file://")))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	m.list, m.metadata = size(snap.ManifestList), size(tbl.MetadataLocation())
	began := time.Now()
	files, _, err := g.lake.Files(t.Context(), g.info.Ident, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.plan, m.files = time.Since(began), len(files)
	return m
}

// mergeAt is how many small manifests a commit merges, by Iceberg's defaults.
const mergeAt = 100

// The metadata of a table that is committed to for ever stay small: manifests are merged by commits, those of files that are
// gone go, and the rest follows the snapshots that are kept. BenchmarkGrowth has figures of 2,000 commits.
func TestMetadataIsBounded(t *testing.T) {
	t.Parallel()
	const keep = 30
	g := newGrowth(t, 120, keep)
	most := 0
	for range 240 {
		g.run(1)
		base, err := g.store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tbl := base.Handle.(*icetable.Table)
		list, err := g.lake.manifests(t.Context(), tbl, currentSnapshot(tbl.Metadata()))
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(list))
	}
	m := g.measure()
	t.Log(m)
	if most > mergeAt+1 || most < mergeAt-1 {
		t.Errorf("there were %d manifests", most)
	}
	if m.dead > 130 || m.entries != m.files+m.dead { // those that the last merge took out
		t.Errorf("%d of %d entries are of files that are gone, %d are not", m.dead, m.entries, m.files)
	}
	if m.snapshots != keep || m.list > 12_000 || m.metadata > 20_000+keep*1000 {
		t.Errorf("%d snapshots, manifest list %d bytes, metadata %d", m.snapshots, m.list, m.metadata)
	}
}

// So do those of a table that another program made, which does not say that manifests are to be merged.
func TestMetadataOfAnothersTableIsBounded(t *testing.T) {
	t.Parallel()
	for property, want := range map[string]int{"": 1, "false": mergeAt + 2} {
		g := newGrowth(t, 0, 0)
		other(t, g.lake, g.info.Ident, func(tx *icetable.Transaction) error {
			if property != "" {
				return tx.SetProperties(icebergo.Properties{icetable.ManifestMergeEnabledKey: property})
			}
			return tx.RemoveProperties([]string{icetable.ManifestMergeEnabledKey})
		})
		for g.n < mergeAt+2 {
			g.run(1)
		}
		if m := g.measure(); m.files < 4*(mergeAt+2) || m.manifests > want+2 || m.manifests < want {
			t.Errorf("with %q: %v", property, m)
		}
	}
}

// BenchmarkGrowth logs what 2,000 commits of a loader leave: with no job, with jobs every hour that keep an hour of snapshots, or a day.
func BenchmarkGrowth(b *testing.B) {
	for _, c := range []struct {
		name        string
		every, keep int
	}{{"no jobs", 0, 0}, {"an hour", 60, 60}, {"a day", 60, 1440}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				g := newGrowth(b, c.every, c.keep)
				for _, n := range []int{500, 500, 500, 500} {
					g.spent, g.since = 0, g.n
					g.run(n)
					b.Log(g.measure())
				}
			}
		})
	}
}
