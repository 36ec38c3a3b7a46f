package verify_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// damage is one way to harm the lake, with exactly what verify must then say. note is in the message of each problem.
type damage struct {
	name string
	do   func(t testing.TB, l *lake) (note string)
	want []string
}

func TestVerifyNamesEachCorruption(t *testing.T) {
	l := build(t)
	if r := l.verify(t); !r.OK() || r.Err() != nil {
		t.Fatalf("a healthy lake: %v", r.Err())
	}
	all := slices.Concat(rowDamages, fileDamages, deadDamages, roundDamages, ledgerDamages)
	if len(all) < 20 {
		t.Fatalf("only %d corruptions", len(all))
	}
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) { d.named(t, l) })
	}
}

// named damages the lake as it was, and has verify name just that.
func (d damage) named(t *testing.T, l *lake) {
	l.restore(t)
	note := d.do(t, l)
	r := l.verify(t)
	slices.Sort(d.want)
	if got := say(r); !slices.Equal(got, d.want) {
		t.Errorf("verify says\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(d.want, "\n  "))
	}
	for _, p := range r.Problems {
		if !strings.Contains(p.String(), note) {
			t.Errorf("%s\ndoes not say %q", p, note)
		}
	}
	if (len(d.want) == 0) != r.OK() || (r.Err() == nil) != r.OK() {
		t.Errorf("OK %t, error %v", r.OK(), r.Err())
	}
}

// Rows, changed by rewriting a data file and swapping it in.
var rowDamages = []damage{
	{"a lost row", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "a", 1, 12, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		return "neither a row"
	}, []string{"lost lake.t a-1 12"}},
	{"lost rows in two ranges of two partitions", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "a", 0, 4, func(r *pipelinetest.FileRows, i int) {
			r.Remove(i, r.Find("a", 0, 5), r.Find("a", 0, 8), r.Find("b", 1, 9))
		})
		return "neither a row"
	}, []string{"lost lake.t a-0 4-5 8", "lost lake.t b-1 9"}},
	{"a duplicated row in a file of its own", func(t testing.TB, l *lake) string {
		return l.add(t, l.primary, "b", 0, 3, func(*pipelinetest.FileRows) {})
	}, []string{"duplicated lake.t b-0 3"}},
	{"a duplicated row in its file", func(t testing.TB, l *lake) string {
		return l.edit(t, l.primary, "b", 0, 14, func(r *pipelinetest.FileRows, i int) { r.Repeat(i) })
	}, []string{"duplicated lake.t b-0 14"}},
	{"one lost and one duplicated row in the same partition", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "a", 2, 21, func(r *pipelinetest.FileRows, i int) {
			r.Repeat(i)
			r.Remove(r.Find("a", 2, 30))
		})
		return ""
	}, []string{"duplicated lake.t a-2 21", "lost lake.t a-2 30"}},
	{"an offset shifted by one", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "a", 0, 10, func(r *pipelinetest.FileRows, i int) { r.Set(i, pipeline.ColumnOffset, int64(11)) })
		return ""
	}, []string{"lost lake.t a-0 10", "duplicated lake.t a-0 11"}},
	{"all offsets of a partition shifted by one", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "b", 0, 10, func(r *pipelinetest.FileRows, _ int) {
			for off := int64(14); off >= 10; off-- {
				r.Set(r.Find("b", 0, off), pipeline.ColumnOffset, off+1)
			}
		})
		return ""
	}, []string{"lost lake.t b-0 10", "uncommitted lake.t b-0 15"}},
	{"a negative offset", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "b", 1, 13, func(r *pipelinetest.FileRows, i int) {
			r.Set(i, pipeline.ColumnOffset, int64(-1))
			r.Keep(r.Find("b", 1, 12), i)
		})
		return ""
	}, []string{"unreadable lake.t", "lost lake.t b-0 10-14", "lost lake.t b-1 10-14"}},
	{"partition numbers swapped in a file", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "b", 0, 10, func(r *pipelinetest.FileRows, _ int) {
			for i := range r.Len() { // 10-14 of both; partition 1 gets all
				if i == r.Find("b", 0, 10) || i == r.Find("b", 0, 11) {
					r.Set(i, pipeline.ColumnPartition, int32(1))
				}
			}
		})
		return ""
	}, []string{"lost lake.t b-0 10-11", "duplicated lake.t b-1 10-11"}},
	{"the topic changed", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "b", 0, 2, func(r *pipelinetest.FileRows, i int) { r.Set(i, pipeline.ColumnTopic, "a") })
		return ""
	}, []string{"lost lake.t b-0 2", "duplicated lake.t a-0 2"}},
	{"rows beyond the committed range", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "a", 2, 20, func(r *pipelinetest.FileRows) {
			r.Set(r.Repeat(0), pipeline.ColumnOffset, int64(41))
			r.Set(0, pipeline.ColumnOffset, int64(40))
		})
		return "outside of the committed range 0 to 40"
	}, []string{"uncommitted lake.t a-2 40-41"}},
	{"rows of an unknown partition", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "a", 2, 20, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnPartition, int32(3)) })
		return "no offsets of"
	}, []string{"uncommitted lake.t a-3 20"}},
	{"rows of an unknown topic", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "a", 2, 20, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnTopic, "c") })
		return "no offsets of"
	}, []string{"uncommitted lake.t c-2 20"}},
	{"rows of an unknown epoch", func(t testing.TB, l *lake) string {
		l.edit(t, l.primary, "a", 2, 20, func(r *pipelinetest.FileRows, i int) { r.Set(i, pipeline.ColumnEpoch, int32(1)) })
		return ""
	}, []string{"uncommitted lake.t a-2 epoch 1 20", "lost lake.t a-2 20"}},
	{"a row of an offset that was filtered", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "a", 0, 2, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(3)) })
		return "filtered and also a row"
	}, []string{"twice lake.t a-0 3"}},
	{"a row of an offset that is a dead letter", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "a", 0, 2, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(7)) })
		return "a dead letter and also a row"
	}, []string{"twice lake.t a-0 7"}},
	{"a row of an offset that Kafka has no record of", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "a", 1, 24, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(30)) })
		return "a gap and also a row"
	}, []string{"twice lake.t a-1 30"}},
}

// Whole files.
var fileDamages = []damage{
	{"a data file missing from storage", func(t testing.TB, l *lake) string {
		f, _ := l.file(t, l.primary, "b", 0, 10)
		if err := os.Remove(l.path(t, f.Path)); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t b-0 10-14", "lost lake.t b-1 10-14"}},
	{"a data file truncated", func(t testing.TB, l *lake) string {
		f, _ := l.file(t, l.primary, "b", 0, 10)
		if err := os.Truncate(l.path(t, f.Path), f.Size/2); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t b-0 10-14", "lost lake.t b-1 10-14"}},
	{"a data file empty", func(t testing.TB, l *lake) string {
		f, _ := l.file(t, l.primary, "b", 0, 10)
		if err := os.Truncate(l.path(t, f.Path), 0); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t b-0 10-14", "lost lake.t b-1 10-14"}},
	{"a data file overwritten in place without a row", func(t testing.TB, l *lake) string {
		f, i := l.file(t, l.primary, "b", 0, 12)
		r := l.ReadFile(t, f.Path)
		r.Remove(i)
		path, _ := r.Write()
		if err := os.Rename(l.path(t, path), l.path(t, f.Path)); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t b-0 12"}},
	{"a file added twice", func(t testing.TB, l *lake) string {
		f, _ := l.file(t, l.primary, "b", 0, 10)
		l.Swap(t, l.primary, table.Change{Add: []table.File{f}})
		return f.Path
	}, []string{"duplicated lake.t b-0 10-14", "duplicated lake.t b-1 10-14"}},
	{"a copy of a file added", func(t testing.TB, l *lake) string {
		f, _ := l.file(t, l.primary, "b", 0, 10)
		return l.Add(t, l.primary, f, func(*pipelinetest.FileRows) {})
	}, []string{"duplicated lake.t b-0 10-14", "duplicated lake.t b-1 10-14"}},
	{"a position delete file that removes a row", func(t testing.TB, l *lake) string {
		f, i := l.file(t, l.primary, "a", 0, 25)
		l.DeletePositions(t, l.primary, f, int64(i))
		return "neither a row"
	}, []string{"lost lake.t a-0 25"}},
	{"a position delete file that removes a second copy", func(t testing.TB, l *lake) string {
		l.add(t, l.primary, "b", 0, 3, func(*pipelinetest.FileRows) {})
		for _, f := range l.Files(t, l.primary) {
			if f.Rows == 1 {
				l.DeletePositions(t, l.primary, f, 0)
			}
		}
		return ""
	}, nil},
}

// The dead-letter table.
var deadDamages = []damage{
	{"a dead letter missing from its table", func(t testing.TB, l *lake) string {
		l.edit(t, l.dead, "a", 2, 9, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		return "dead letters by their rounds"
	}, []string{"lost lake.t_dead_letters a-2 9"}},
	{"a dead letter duplicated", func(t testing.TB, l *lake) string {
		return l.add(t, l.dead, "a", 2, 9, func(*pipelinetest.FileRows) {})
	}, []string{"duplicated lake.t_dead_letters a-2 9"}},
	{"an extra dead letter", func(t testing.TB, l *lake) string {
		l.add(t, l.dead, "a", 2, 9, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(10)) })
		return "no round made dead letters"
	}, []string{"uncommitted lake.t_dead_letters a-2 10"}},
	{"an extra dead letter beyond the committed range", func(t testing.TB, l *lake) string {
		l.add(t, l.dead, "a", 2, 9, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(70)) })
		return "no round made dead letters"
	}, []string{"uncommitted lake.t_dead_letters a-2 70"}},
	{"a dead letter of an unknown partition", func(t testing.TB, l *lake) string {
		l.add(t, l.dead, "a", 2, 9, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnPartition, int32(9)) })
		return "no offsets of"
	}, []string{"uncommitted lake.t_dead_letters a-9 9"}},
	{"a row instead of its dead letter", func(t testing.TB, l *lake) string {
		l.edit(t, l.dead, "a", 0, 7, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		l.add(t, l.primary, "a", 0, 2, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(7)) })
		return ""
	}, []string{"lost lake.t_dead_letters a-0 7", "twice lake.t a-0 7"}},
	{"a file of dead letters missing", func(t testing.TB, l *lake) string {
		f, _ := l.file(t, l.dead, "a", 2, 9)
		if err := os.Remove(l.path(t, f.Path)); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t_dead_letters", "lost lake.t_dead_letters a-0 7 17", "lost lake.t_dead_letters a-1 7 17", "lost lake.t_dead_letters a-2 7 9 17 19"}},
	{"the dead-letter table dropped", func(t testing.TB, l *lake) string {
		l.Drop(t, l.dead)
		return "dead letters by their rounds"
	}, []string{"lost lake.t_dead_letters a-0 7 17 27 37", "lost lake.t_dead_letters a-1 7 17 37", "lost lake.t_dead_letters a-2 7 9 17 19 27 29 37 39"}},
	{"the dead-letter table rolled back", func(t testing.TB, l *lake) string {
		var first int64
		before := l.Base(t, l.dead)
		l.Foreign(t, l.dead, oldest(&first))
		l.SetMain(t, l.dead, first)
		if after := l.Base(t, l.dead); after.Snapshot == before.Snapshot {
			t.Fatal("not rolled back")
		}
		return "dead letters by their rounds"
	}, []string{"lost lake.t_dead_letters a-0 27 37", "lost lake.t_dead_letters a-1 37", "lost lake.t_dead_letters a-2 27 29 37 39"}},
}

// Round objects.
var roundDamages = []damage{
	{"a round object missing", func(t testing.TB, l *lake) string {
		if err := os.Remove(l.object(t, 1)); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t a-0 3 13", "lost lake.t a-1 3 13", "lost lake.t a-2 3 13"}},
	{"a round object cut short", func(t testing.TB, l *lake) string {
		if err := os.Truncate(l.object(t, 2), 300); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t a-0 23 33", "lost lake.t a-1 23 25-30 33", "lost lake.t a-2 23 33"}},
	{"a round object that is another's", func(t testing.TB, l *lake) string {
		data, err := os.ReadFile(l.object(t, 1))
		if err == nil {
			err = os.WriteFile(l.object(t, 2), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t a-0 23 33", "lost lake.t a-1 23 25-30 33", "lost lake.t a-2 23 33"}},
	{"the mark of a committed round missing", func(t testing.TB, l *lake) string {
		_, marks := l.RoundObjects(t, "p")
		if err := os.Remove(l.path(t, marks[0])); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"lost lake.t a-0 3 13", "lost lake.t a-1 3 13", "lost lake.t a-2 3 13",
		"uncommitted lake.t_dead_letters a-0 7 17", "uncommitted lake.t_dead_letters a-1 7 17", "uncommitted lake.t_dead_letters a-2 7 9 17 19"}},
	{"the mark of a committed round empty", func(t testing.TB, l *lake) string {
		_, marks := l.RoundObjects(t, "p")
		if err := os.Truncate(l.path(t, marks[1]), 0); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t", "lost lake.t a-0 23 33", "lost lake.t a-1 23 25-30 33", "lost lake.t a-2 23 33"}},
	{"records filtered by two rounds", func(t testing.TB, l *lake) string {
		l.round(t, 2, func(r *pipeline.Round) { r.Moves[0].Filtered[filterStep].AddRange(13, 14) })
		return "filtered by two rounds"
	}, []string{"twice lake.t a-0 13"}},
	{"a dead letter of two rounds", func(t testing.TB, l *lake) string {
		l.round(t, 2, func(r *pipeline.Round) { r.Moves[2].Dead[validateStep].AddRange(17, 18) })
		return "a dead letter in two rounds"
	}, []string{"twice lake.t a-2 17"}},
	{"a gap of two rounds", func(t testing.TB, l *lake) string {
		l.round(t, 1, func(r *pipeline.Round) {
			r.Moves[1].Gaps = &pipeline.Offsets{}
			r.Moves[1].Gaps.AddRange(27, 29)
		})
		return "a gap in two rounds"
	}, []string{"twice lake.t a-1 27-28"}},
	{"an offset that is filtered and a dead letter", func(t testing.TB, l *lake) string {
		l.round(t, 1, func(r *pipeline.Round) { r.Moves[0].Filtered[filterStep].AddRange(7, 8) })
		return "a dead letter and also filtered"
	}, []string{"twice lake.t a-0 7"}},
	{"an offset filtered beyond the committed range", func(t testing.TB, l *lake) string {
		l.round(t, 2, func(r *pipeline.Round) { r.Moves[0].Filtered[filterStep].AddRange(40, 43) })
		return "rounds decided about offsets outside of the committed range 0 to 40"
	}, []string{"uncommitted lake.t a-0 40-42"}},
	{"an offset filtered in an unknown partition", func(t testing.TB, l *lake) string {
		l.round(t, 2, func(r *pipeline.Round) { r.Moves[0].Key.Partition = 5 })
		return ""
	}, []string{"lost lake.t a-0 23 33", "uncommitted lake.t a-5 23 27 33 37", "uncommitted lake.t_dead_letters a-0 27 37"}},
	{"a filtered offset forgotten", func(t testing.TB, l *lake) string {
		l.round(t, 2, func(r *pipeline.Round) { r.Moves[0].Filtered[filterStep].Remove(33) })
		return "neither a row"
	}, []string{"lost lake.t a-0 33"}},
}

// The ledger.
var ledgerDamages = []damage{
	{"a wrong counter of rows", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) { change(led, "a", 1, func(r *table.Record) { r.Rows++ }) })
		return "the offsets count 28 rows, the files and rounds have 27"
	}, []string{"counter lake.t a-1 0-39"}},
	{"wrong counters beside a lost row of another partition", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) {
			change(led, "b", 1, func(r *table.Record) { r.Rows, r.Gaps = r.Rows-1, r.Gaps+1 })
		})
		l.edit(t, l.primary, "a", 0, 0, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		return ""
	}, []string{"counter lake.t b-1 0-14", "counter lake.t b-1 0-14", "lost lake.t a-0 0"}},
	{"the committed range too long", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) { change(led, "b", 0, func(r *table.Record) { r.Next += 2 }) })
		return "neither a row"
	}, []string{"lost lake.t b-0 15-16"}},
	{"the committed range too short", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) { change(led, "b", 0, func(r *table.Record) { r.Next -= 2 }) })
		return "outside of the committed range 0 to 13"
	}, []string{"uncommitted lake.t b-0 13-14"}},
	{"a partition missing", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) { delete(led.Records, table.Key{Topic: "b", Partition: 0}) })
		return "no offsets of"
	}, []string{"uncommitted lake.t b-0 0-14"}},
	{"a partition missing that had dead letters", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) { delete(led.Records, table.Key{Topic: "a", Partition: 0}) })
		return "no offsets of"
	}, []string{"uncommitted lake.t a-0 0-2 4-6 8-12 14-16 18-22 24-26 28-32 34-36 38-39", "uncommitted lake.t a-0 3 7 13 17 23 27 33 37", "uncommitted lake.t_dead_letters a-0 7 17 27 37"}},
}

const filterStep, validateStep = "cleanse[0] filter", "cleanse: cleanse[1] validate"

func change(l *table.Ledger, topic string, partition int32, f func(*table.Record)) {
	k := table.Key{Topic: topic, Partition: partition}
	r := l.Records[k]
	f(&r)
	l.Records[k] = r
}

// round changes the object of a round.
func (l *lake) round(t testing.TB, number int, edit func(*pipeline.Round)) {
	t.Helper()
	path := l.object(t, number)
	data, err := os.ReadFile(path)
	r := &pipeline.Round{}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err == nil {
		edit(r)
		data, err = json.Marshal(r)
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// oldest finds the first snapshot of a table.
func oldest(id *int64) func(context.Context, *icetable.Transaction) error {
	return func(_ context.Context, tx *icetable.Transaction) error {
		staged, err := tx.StagedTable()
		if err != nil {
			return err
		}
		*id = staged.Metadata().Snapshots()[0].SnapshotID
		return nil
	}
}
