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
	prim := v.in.Primary.String()
	if !a.known {
		v.offsets(a, Uncommitted, prim, k, a.rows.set, "the table has rows of a partition or epoch that it has no offsets of")
		for _, id := range slices.Sorted(maps.Keys(a.others)) {
			v.offsets(a, Uncommitted, id, k, a.others[id].rows.set, "the table has rows of a partition or epoch that its pipeline has no offsets of")
		}
		v.offsets(a, Uncommitted, prim, k, a.decided(), "rounds decided about a partition or epoch that the table has no offsets of")
		return
	}
	v.report.Partitions = append(v.report.Partitions, Partition{Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch, First: a.rec.First, Next: a.rec.Next,
		Rows: a.allRows(), Filtered: size(a.Filtered), Dead: size(a.Dead), Gaps: size(a.Gaps), Removed: size(a.Removed)})
	v.offsets(a, Duplicated, prim, k, a.rows.dup, "more than one row"+a.rows.where())

	committed := roaring64.New()
	committed.AddRange(uint64(a.rec.First), uint64(a.rec.Next))
	v.offsets(a, Uncommitted, prim, k, roaring64.AndNot(a.rows.set, committed), fmt.Sprintf("rows outside of the committed range %d to %d", a.rec.First, a.rec.Next))
	v.offsets(a, Uncommitted, prim, k, roaring64.AndNot(a.decided(), committed), fmt.Sprintf("rounds decided about offsets outside of the committed range %d to %d", a.rec.First, a.rec.Next))
	type named struct {
		name string
		set  *roaring64.Bitmap
	}
	sets := []named{{"a row", a.rows.set}, {"filtered", a.Filtered}, {"a dead letter", a.Dead}, {"a gap", a.Gaps}, {"removed", a.Removed}}
	for _, id := range slices.Sorted(maps.Keys(a.Routed)) {
		sets = append(sets, named{"routed to table " + id, a.Routed[id]})
	}
	all := roaring64.New()
	for i, x := range sets {
		for _, y := range sets[:i] {
			v.offsets(a, Twice, prim, k, roaring64.And(x.set, y.set), x.name+" and also "+y.name)
		}
		all.Or(x.set)
	}
	lost := roaring64.AndNot(committed, all)
	for _, id := range v.places(a) {
		v.judgePlace(k, a, id, lost)
	}
	v.offsets(a, Lost, prim, k, lost, "committed, but neither a row, filtered, a dead letter nor a gap")
	if !a.wrong {
		v.counters(k, a)
	}
}

// places are the tables, but the primary, where rows of an account are or should be.
func (v *verifier) places(a *account) []string {
	ids := slices.Concat(slices.Collect(maps.Keys(a.others)), slices.Collect(maps.Keys(a.Routed)), []string{v.in.DeadLetters.String()})
	slices.Sort(ids)
	return slices.Compact(ids)
}

// judgePlace compares what rounds say of a table that is not the primary with its rows. What is found there is taken out of
// lost.
func (v *verifier) judgePlace(k accountKey, a *account, id string, lost *roaring64.Bitmap) {
	said, extraText, missingText := a.RoutedTo(id), "rows of offsets that no round routed to the table", "routed to the table by their rounds, but not in it"
	if id == v.in.DeadLetters.String() {
		said, extraText, missingText = roaring64.AndNot(a.Dead, a.Purged), "rows of offsets that no round made dead letters", "dead letters by their rounds, but not in the table"
	}
	p := a.other(id)
	v.offsets(a, Duplicated, id, k, p.rows.dup, "more than one row"+p.rows.where())
	extra := roaring64.AndNot(p.rows.set, said)
	extra.AndNot(p.ghosts)
	// A row that no round names is not lost. Whether it should be there, only a round that cannot be read may say.
	nameless := roaring64.And(lost, extra)
	lost.AndNot(nameless)
	if v.unread {
		extra.AndNot(nameless)
		a.wrong = a.wrong || !nameless.IsEmpty()
	}
	v.offsets(a, Uncommitted, id, k, extra, extraText)
	missing := roaring64.AndNot(said, p.rows.set)
	missing.AndNot(p.unborn)
	v.offsets(a, Lost, id, k, missing, missingText)
}

// allRows counts the rows of the primary and of routed tables.
func (a *account) allRows() int64 {
	n := size(a.rows.set)
	for _, set := range a.Routed {
		n += size(set)
	}
	return n
}

func size(set *roaring64.Bitmap) int64 { return int64(set.GetCardinality()) }

// decided are the offsets that rounds decided about.
func (a *account) decided() *roaring64.Bitmap {
	all := roaring64.FastOr(a.Filtered, a.Dead, a.Gaps, a.Removed)
	for _, set := range a.Routed {
		all.Or(set)
	}
	return all
}

// counters compares the ledger's cumulative counters with the sets; it says nothing new where a set is wrong already.
func (v *verifier) counters(k accountKey, a *account) {
	for _, c := range []struct {
		name string
		want int64
		n    int64
	}{{"rows", a.rec.Rows, a.allRows()}, {"filtered", a.rec.Filtered, size(a.Filtered)}, {"dead letters", a.rec.Dead, size(a.Dead)},
		{"gaps", a.rec.Gaps, size(a.Gaps)}, {"removed", a.rec.Removed, size(a.Removed)}} {
		if n := c.n; n != c.want {
			v.problem(Problem{Kind: Counter, Table: v.in.Primary.String(), Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch,
				Ranges: []Range{{a.rec.First, a.rec.Next}}, Message: fmt.Sprintf("the offsets count %d %s, the files and rounds have %d", c.want, c.name, n)})
		}
	}
}
