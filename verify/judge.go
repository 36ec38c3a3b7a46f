package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
)

// judge compares the sets.
func (v *verifier) judge() {
	keys := slices.SortedFunc(maps.Keys(v.accounts), func(a, b accountKey) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return int(a.Epoch) - int(b.Epoch)
	})
	for _, k := range keys {
		v.judgeOne(k, v.accounts[k])
	}
}

func (v *verifier) judgeOne(k accountKey, a *account) {
	prim, deadTable := v.in.Primary, v.in.DeadLetters
	if !a.known {
		v.offsets(a, Uncommitted, prim, k, a.rows.set, "the table has rows of a partition or epoch that it has no offsets of")
		v.offsets(a, Uncommitted, deadTable, k, a.deadRows.set, "the table has rows of a partition or epoch that its pipeline has no offsets of")
		v.offsets(a, Uncommitted, prim, k, a.decided(), "rounds decided about a partition or epoch that the table has no offsets of")
		return
	}
	v.report.Partitions = append(v.report.Partitions, Partition{Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch, First: a.rec.First, Next: a.rec.Next,
		Rows: size(a.rows.set), Filtered: size(a.Filtered), Dead: size(a.Dead), Gaps: size(a.Gaps), Removed: size(a.Removed)})
	v.offsets(a, Duplicated, prim, k, a.rows.dup, "more than one row"+a.rows.where())
	v.offsets(a, Duplicated, deadTable, k, a.deadRows.dup, "more than one row"+a.deadRows.where())

	committed := roaring64.New()
	committed.AddRange(uint64(a.rec.First), uint64(a.rec.Next))
	v.offsets(a, Uncommitted, prim, k, roaring64.AndNot(a.rows.set, committed), fmt.Sprintf("rows outside of the committed range %d to %d", a.rec.First, a.rec.Next))
	v.offsets(a, Uncommitted, prim, k, roaring64.AndNot(a.decided(), committed), fmt.Sprintf("rounds decided about offsets outside of the committed range %d to %d", a.rec.First, a.rec.Next))
	named := []struct {
		name string
		set  *roaring64.Bitmap
	}{{"a row", a.rows.set}, {"filtered", a.Filtered}, {"a dead letter", a.Dead}, {"a gap", a.Gaps}, {"removed", a.Removed}}
	all := roaring64.New()
	for i, x := range named {
		for _, y := range named[:i] {
			v.offsets(a, Twice, prim, k, roaring64.And(x.set, y.set), x.name+" and also "+y.name)
		}
		all.Or(x.set)
	}
	lost := roaring64.AndNot(committed, all)
	extra := roaring64.AndNot(a.deadRows.set, roaring64.AndNot(a.Dead, a.Purged))
	extra.AndNot(a.ghosts)
	// A dead letter that no round names is not lost. Whether it should be one, only a round that cannot be read may say.
	nameless := roaring64.And(lost, extra)
	lost.AndNot(nameless)
	if v.unread {
		extra.AndNot(nameless)
		a.wrong = a.wrong || !nameless.IsEmpty()
	}
	v.offsets(a, Lost, prim, k, lost, "committed, but neither a row, filtered, a dead letter nor a gap")
	v.offsets(a, Uncommitted, deadTable, k, extra, "rows of offsets that no round made dead letters")
	missing := roaring64.AndNot(a.Dead, a.deadRows.set)
	missing.AndNot(a.unborn)
	missing.AndNot(a.Purged)
	v.offsets(a, Lost, deadTable, k, missing, "dead letters by their rounds, but not in the table")
	if !a.wrong {
		v.counters(k, a)
	}
}

func size(set *roaring64.Bitmap) int64 { return int64(set.GetCardinality()) }

// decided are the offsets that rounds decided about.
func (a *account) decided() *roaring64.Bitmap {
	return roaring64.FastOr(a.Filtered, a.Dead, a.Gaps, a.Removed)
}

// counters compares the ledger's cumulative counters with the sets; it says nothing new where a set is wrong already.
func (v *verifier) counters(k accountKey, a *account) {
	for _, c := range []struct {
		name string
		want int64
		set  *roaring64.Bitmap
	}{{"rows", a.rec.Rows, a.rows.set}, {"filtered", a.rec.Filtered, a.Filtered}, {"dead letters", a.rec.Dead, a.Dead},
		{"gaps", a.rec.Gaps, a.Gaps}, {"removed", a.rec.Removed, a.Removed}} {
		if n := size(c.set); n != c.want {
			v.problem(Problem{Kind: Counter, Table: v.in.Primary.String(), Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch,
				Ranges: []Range{{a.rec.First, a.rec.Next}}, Message: fmt.Sprintf("the offsets count %d %s, the files and rounds have %d", c.want, c.name, n)})
		}
	}
}
