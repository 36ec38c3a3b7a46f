package sqlsink

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/verify"
)

// place is a partition in one epoch.
type place struct {
	table.Key
	epoch int32
}

// sets are the offsets that were found of a place.
type sets struct {
	record                    *table.Record // nil: the ledger does not know the place
	rows, dead, filtered, gap *roaring64.Bitmap
}

// Verify proves the accounting identity of the pipeline's tables, by sets of offsets: those of rows and dead letters from the
// tables themselves. It reads all in one snapshot of the database, so loaders may go on.
func (s *Sink) Verify(ctx context.Context) (*verify.Report, error) {
	rep := &verify.Report{Pipeline: s.o.Pipeline.Name, Table: s.o.Pipeline.SQL.Kind() + "." + s.rows, Problems: []verify.Problem{}}
	err := s.session(ctx, func(c *session) error {
		for _, name := range []string{s.rows, s.dead, s.beside(offsetsTable), s.beside(decidedTable)} {
			there, err := s.kind.exists(ctx, c, name)
			if err != nil {
				return err
			}
			if !there {
				return fmt.Errorf("%w: %s", table.ErrNoTable, name)
			}
		}
		tx, err := c.conn.BeginTx(ctx, s.kind.snapshot())
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing was changed
		found, err := c.gather(ctx, rep)
		if err != nil {
			return err
		}
		for _, p := range slices.SortedFunc(maps.Keys(found), func(a, b place) int {
			if n := compareKeys(a.Key, b.Key); n != 0 {
				return n
			}
			return int(a.epoch) - int(b.epoch)
		}) {
			s.judge(rep, p, found[p])
		}
		return nil
	})
	return rep, err
}

// gather reads what the database says.
func (c *session) gather(ctx context.Context, rep *verify.Report) (map[place]*sets, error) {
	l, err := c.ledger(ctx)
	if err != nil {
		return nil, err
	}
	if rep.Rounds, err = c.rounds(ctx); err != nil {
		return nil, err
	}
	found := map[place]*sets{}
	at := func(k table.Key, epoch int32) *sets {
		p := place{k, epoch}
		if found[p] == nil {
			found[p] = &sets{rows: roaring64.New(), dead: roaring64.New(), filtered: roaring64.New(), gap: roaring64.New()}
		}
		return found[p]
	}
	for k, r := range l.Records {
		at(k, r.Epoch).record = &r
	}
	for _, p := range l.Past {
		at(p.Key, p.Epoch).record = &p.Record
	}
	err = c.offsets(ctx, c.rows, rep, func(k table.Key, epoch int32) *roaring64.Bitmap { return at(k, epoch).rows })
	if err == nil {
		err = c.offsets(ctx, c.dead, rep, func(k table.Key, epoch int32) *roaring64.Bitmap { return at(k, epoch).dead })
	}
	if err != nil {
		return nil, err
	}
	err = c.query(ctx, func(r *sql.Rows) error {
		var k table.Key
		var epoch int32
		var decision string
		set, err := scanOffsets(r, &k.Topic, &k.Partition, &epoch, &decision)
		if err != nil {
			return err
		}
		if decision == gap {
			at(k, epoch).gap.Or(set)
		} else {
			at(k, epoch).filtered.Or(set)
		}
		return nil
	}, "SELECT topic, topic_partition, epoch, decision, offsets FROM "+quoted(c.kind, c.beside(decidedTable))+" WHERE pipeline = ?", c.o.Pipeline.Name)
	return found, err
}

// offsets adds those of the rows of a table to the set of their place. The key of the table keeps one from being there twice; the
// order that it gives makes long runs.
func (c *session) offsets(ctx context.Context, name string, rep *verify.Report, of func(table.Key, int32) *roaring64.Bitmap) error {
	key := quoteAll(c.kind, uniqueKey)
	query := fmt.Sprintf("SELECT %s, %s, %s, %s FROM %s", key[0], key[1], key[2], key[3], quoted(c.kind, name))
	var last place
	var set *roaring64.Bitmap
	var dup map[place]*roaring64.Bitmap
	err := c.query(ctx, func(r *sql.Rows) error {
		var p place
		var offset int64
		if err := r.Scan(&p.Topic, &p.Partition, &p.epoch, &offset); err != nil {
			return err
		}
		if set == nil || p != last {
			set, last = of(p.Key, p.epoch), p
		}
		if !set.CheckedAdd(uint64(offset)) { // somebody has taken the key away
			if dup == nil {
				dup = map[place]*roaring64.Bitmap{}
			}
			if dup[p] == nil {
				dup[p] = roaring64.New()
			}
			dup[p].Add(uint64(offset))
		}
		return nil
	}, query)
	for p, offsets := range dup {
		problem(rep, verify.Duplicated, name, p, offsets, "more than one row")
	}
	return err
}

func problem(rep *verify.Report, kind, name string, p place, offsets *roaring64.Bitmap, message string) {
	if !offsets.IsEmpty() {
		rep.Problems = append(rep.Problems, verify.Problem{Kind: kind, Table: name, Topic: p.Topic, Partition: p.Partition, Epoch: p.epoch, Ranges: verify.Ranges(offsets), Message: message})
	}
}

// judge compares the sets of a place.
func (s *Sink) judge(rep *verify.Report, p place, f *sets) {
	all := roaring64.FastOr(f.rows, f.dead, f.filtered, f.gap)
	if f.record == nil {
		problem(rep, verify.Uncommitted, s.rows, p, all, "rows or decisions of a partition or epoch that has no offsets")
		return
	}
	r := f.record
	size := func(set *roaring64.Bitmap) int64 { return int64(set.GetCardinality()) }
	rep.Partitions = append(rep.Partitions, verify.Partition{Topic: p.Topic, Partition: p.Partition, Epoch: p.epoch, First: r.First, Next: r.Next,
		Rows: size(f.rows), Dead: size(f.dead), Filtered: size(f.filtered), Gaps: size(f.gap)})
	before := len(rep.Problems)
	committed := roaring64.New()
	committed.AddRange(uint64(r.First), uint64(r.Next))
	problem(rep, verify.Uncommitted, s.rows, p, roaring64.AndNot(all, committed), fmt.Sprintf("outside of the committed range %d to %d", r.First, r.Next))
	problem(rep, verify.Lost, s.rows, p, roaring64.AndNot(committed, all), "committed, but neither a row, filtered, a dead letter nor a gap")
	named := []struct {
		name string
		set  *roaring64.Bitmap
		want int64
	}{{"a row", f.rows, r.Rows}, {"a dead letter", f.dead, r.Dead}, {"filtered", f.filtered, r.Filtered}, {"a gap", f.gap, r.Gaps}}
	for i, x := range named {
		for _, y := range named[:i] {
			problem(rep, verify.Twice, s.rows, p, roaring64.And(x.set, y.set), x.name+" and also "+y.name)
		}
	}
	for _, x := range named {
		if n := size(x.set); n != x.want && len(rep.Problems) == before {
			rep.Problems = append(rep.Problems, verify.Problem{Kind: verify.Counter, Table: s.rows, Topic: p.Topic, Partition: p.Partition, Epoch: p.epoch,
				Ranges: []verify.Range{{First: r.First, Next: r.Next}}, Message: fmt.Sprintf("the offsets count %d of %q, the tables have %d", x.want, x.name, n)})
		}
	}
}
