package verify_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/verify"
)

// lake is a small lake with rows, filtered records, dead letters and gaps, loaded by the real pipeline in three rounds:
//
//	offsets of a     round 1: 0-19 of each partition; round 2: 20-39, in partition 1 of them 25-30 are gaps: an aborted
//	                 transaction of five records and its control record
//	offsets of b     round 1: 0-9 of each partition; round 3: 10-14, rows only, so it has no object
//	filtered         offsets of a that end in 3
//	dead letters     offsets of a that end in 7 (by a rule); in partition 2 also those that end in 9 (not decodable)
type lake struct {
	*pipelinetest.Lake
	cfg           *configs.Config
	primary, dead table.Ident
	restore       func(testing.TB)
}

func record(i int, part int32) string {
	switch {
	case i%10 == 3:
		return fmt.Sprintf(`{"id":%d,"kind":"skip"}`, i)
	case i%10 == 7:
		return fmt.Sprintf(`{"id":%d,"kind":"odd"}`, i)
	case i%10 == 9 && part == 2:
		return "{{"
	}
	return fmt.Sprintf(`{"id":%d,"kind":"good"}`, i)
}

func produce(t testing.TB, k *pipelinetest.Kafka, topic string, part int32, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if topic == "b" {
			k.Produce(t, topic, part, fmt.Sprintf(`{"id":%d,"kind":"good"}`, i))
		} else {
			k.Produce(t, topic, part, record(i, part))
		}
	}
}

func config() *configs.Config {
	return pipelinetest.Pipeline("id long required, kind string", func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: `kind == "skip"`, Drop: true}},
			{Validate: &configs.ValidateStep{Columns: []string{"kind"}, OneOf: []string{"good"}}}}
	}, "a", "b")
}

func build(t *testing.T) *lake {
	t.Helper()
	e := pipelinetest.New(t)
	e.Create(t, "a", 3)
	e.Create(t, "b", 2)
	l := &lake{Lake: e.Lake, cfg: config()}
	l.primary, l.dead = pipeline.Idents(l.cfg, &l.cfg.Pipelines[0])
	load := func(n int64) {
		t.Helper()
		r := e.Start(t, l.cfg, nil)
		r.Read(n)
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for p := range int32(3) {
		produce(t, e.Kafka, "a", p, 0, 20)
	}
	for p := range int32(2) {
		produce(t, e.Kafka, "b", p, 0, 10)
	}
	load(80)
	for p := range int32(3) {
		if p == 1 {
			produce(t, e.Kafka, "a", p, 20, 25)
			e.Transaction(t, false, "a", p, record(25, p), record(26, p), record(27, p), record(28, p), record(29, p))
			produce(t, e.Kafka, "a", p, 31, 40)
		} else {
			produce(t, e.Kafka, "a", p, 20, 40)
		}
	}
	load(54)
	for p := range int32(2) {
		produce(t, e.Kafka, "b", p, 10, 15)
	}
	load(10)
	l.restore = l.Backup(t)
	return l
}

func (l *lake) verify(t testing.TB) *verify.Report {
	t.Helper()
	return l.Verify(t, l.cfg, &l.cfg.Pipelines[0])
}

// say writes problems as a test expects them: kind, table, partition with its epoch, ranges.
func say(r *verify.Report) []string {
	var out []string
	for _, p := range r.Problems {
		s := p.Kind + " " + p.Table
		if p.Topic != "" {
			s += fmt.Sprintf(" %s-%d", p.Topic, p.Partition)
			if p.Epoch != 0 {
				s += fmt.Sprintf(" epoch %d", p.Epoch)
			}
			for _, x := range p.Ranges {
				s += " " + x.String()
			}
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// file gives the data file of a table that has the row of an offset, and the row's position in it.
func (l *lake) file(t testing.TB, id table.Ident, topic string, partition int32, offset int64) (table.File, int) {
	t.Helper()
	for _, f := range l.Files(t, id) {
		if i := l.ReadFile(t, f.Path).Find(topic, partition, offset); i >= 0 {
			return f, i
		}
	}
	t.Fatalf("no file of %s has %s-%d@%d", id, topic, partition, offset)
	return table.File{}, 0
}

// edit replaces the file that has the row of an offset.
func (l *lake) edit(t testing.TB, id table.Ident, topic string, partition int32, offset int64, edit func(r *pipelinetest.FileRows, i int)) string {
	t.Helper()
	f, i := l.file(t, id, topic, partition, offset)
	return l.Edit(t, id, f.Path, func(r *pipelinetest.FileRows) { edit(r, i) })
}

// add adds a file with one row made from that of an offset.
func (l *lake) add(t testing.TB, id table.Ident, topic string, partition int32, offset int64, edit func(r *pipelinetest.FileRows)) string {
	t.Helper()
	f, i := l.file(t, id, topic, partition, offset)
	return l.Add(t, id, f, func(r *pipelinetest.FileRows) {
		r.Keep(i)
		edit(r)
	})
}

// ledger changes what the table says.
func (l *lake) ledger(t testing.TB, change func(*table.Ledger)) {
	t.Helper()
	led := l.Ledger(t, "p", l.primary)
	change(led)
	set, unset := led.Properties("p", l.Base(t, l.primary).Props)
	l.Swap(t, l.primary, table.Change{Props: func(int64) map[string]string { return set }, Unset: unset})
}

// object gives the path of the object of a round that has one, by number.
func (l *lake) object(t testing.TB, number int) string {
	t.Helper()
	_, marks := l.RoundObjects(t, "p")
	for _, uri := range marks {
		if strings.HasSuffix(uri, fmt.Sprintf("/committed/%012d", number)) {
			path := l.path(t, uri)
			id, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Replace(path, fmt.Sprintf("/committed/%012d", number), "/rounds/"+string(id)+".json", 1)
		}
	}
	t.Fatalf("round %d has no object", number)
	return ""
}

func (l *lake) path(t testing.TB, uri string) string {
	t.Helper()
	p, err := objects.LocalPath(uri)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
