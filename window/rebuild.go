package window

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// Lake is the table that the pipeline of a window loads.
type Lake struct {
	Catalog  table.Catalog
	Objects  objects.Store
	Pipeline string
	Table    table.Ident
}

// History is what a table says of the past.
type History struct {
	UUID string // empty: there is no table
	// Decided differs when rows were taken away, added or decided otherwise by something else than loading.
	Decided string
	base    *table.Base
	ledger  *table.Ledger // nil: nothing was loaded
}

// History reads the table's metadata.
func (l *Lake) History(ctx context.Context) (h History, err error) {
	store, err := l.Catalog.Open(ctx, l.Table)
	if err == nil {
		h.base, err = store.Load(ctx)
	}
	if errors.Is(err, table.ErrNoTable) {
		return History{}, nil
	}
	if err != nil {
		return h, fmt.Errorf("reading table %s: %w", l.Table, err)
	}
	if h.ledger, err = table.ParseLedger(l.Pipeline, h.base.Props); err != nil {
		return h, fmt.Errorf("table %s: %w", l.Table, err)
	}
	h.UUID = h.base.UUID
	if h.ledger == nil {
		return h, nil
	}
	if len(h.ledger.Tables) > 0 {
		return h, fmt.Errorf("rows of the pipeline %s were routed to other tables than %s, and a window reads only that one", l.Pipeline, l.Table)
	}
	var b strings.Builder
	if h.ledger.Edit > 0 {
		fmt.Fprintf(&b, "edit %d ", h.ledger.Edit)
	}
	for _, k := range slices.SortedFunc(maps.Keys(h.ledger.Records), func(a, b table.Key) int { return strings.Compare(a.String(), b.String()) }) {
		if e := h.ledger.Records[k].Epoch; e > 0 {
			fmt.Fprintf(&b, "%s:%d ", k, e)
		}
	}
	h.Decided = b.String()
	return h, nil
}

// rebuild makes the state of slots from the lake: all rows that the table has, and the offsets behind them.
func (o *Owner) rebuild(ctx context.Context, slots []*slot, ends map[Part]Ends) error {
	h, err := o.d.Lake.History(ctx)
	if err != nil {
		return err
	}
	if !o.same(h) {
		return fmt.Errorf("%w: the table was changed meanwhile", errChanged)
	}
	next, err := o.starts(h, ends)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if err := o.d.State.clear(s.n); err != nil {
			return err
		}
	}
	rows := int64(0)
	if h.base != nil && h.base.Snapshot != 0 {
		if rows, err = o.rebuildRows(ctx, slots, h.base.Snapshot); err != nil {
			return fmt.Errorf("making the totals from table %s: %w", o.d.Lake.Table, err)
		}
	}
	b := o.d.State.db.NewBatch()
	for _, s := range slots {
		s.m = mark{Definition: o.definition(), Decided: h.Decided, UUID: h.UUID, Day: o.today, Compare: true}
		s.next = make([]int64, len(o.parts))
		for p, i := range o.parts {
			s.next[i] = next[p]
			if err := setOffset(b, s.n, p, next[p], ends[p].ID); err != nil {
				return err
			}
		}
		if err := setMark(b, s.n, s.m); err != nil {
			return err
		}
	}
	o.d.Log.Info("the totals were made anew from the lake", "slots", len(slots), "rows", rows, "table", o.d.Lake.Table.String())
	return o.d.State.write(b, pebble.Sync) // to read all rows once more after a power failure costs more
}

// starts are the offsets behind what the table has.
func (o *Owner) starts(h History, ends map[Part]Ends) (map[Part]int64, error) {
	next := map[Part]int64{}
	for p, e := range ends {
		rec, known := table.Record{}, false
		if h.ledger != nil {
			rec, known = h.ledger.Records[table.Key{Topic: p.Topic, Partition: p.Partition}]
		}
		switch {
		case known && rec.TopicID != e.ID:
			return nil, fmt.Errorf("the topic %s was created again, and its pipeline has not settled what becomes of it", p.Topic)
		case known && (rec.Next < e.Low || rec.Next > e.High):
			return nil, fmt.Errorf("the table has %s-%d up to offset %d, and Kafka has %d to %d: its pipeline has to settle what becomes of it (on_reset)",
				p.Topic, p.Partition, rec.Next, e.Low, e.High)
		case known:
			next[p] = rec.Next
		case o.o.Start == "earliest" || h.ledger != nil && len(h.ledger.Records) > 0:
			next[p] = e.Low
		default:
			return nil, fmt.Errorf("the pipeline has not begun to load %s-%d, so it is not known where it starts (source.start: %s)", p.Topic, p.Partition, o.o.Start)
		}
	}
	return next, nil
}

// same reports whether the table's past is the one that the owner began with.
func (o *Owner) same(h History) bool {
	return h.Decided == o.history.Decided && (o.history.UUID == "" || h.UUID == o.history.UUID)
}

// rebuildRows reads all rows of a snapshot that may count now or later.
func (o *Owner) rebuildRows(ctx context.Context, slots []*slot, snapshot int64) (rows int64, err error) {
	info, err := o.d.Lake.Catalog.Info(ctx, o.d.Lake.Table)
	if err != nil {
		return 0, err
	}
	files, deletes, err := o.d.Lake.Catalog.Files(ctx, o.d.Lake.Table, snapshot)
	if err != nil {
		return 0, err
	}
	gone, err := scan.PositionDeletes(ctx, o.d.Lake.Objects, deletes)
	if err != nil {
		return 0, err
	}
	row, err := o.columns(info.Row)
	if err != nil {
		return 0, err
	}
	floor := o.o.Length.Floor(o.today)
	mine := make([]bool, len(o.slots))
	for _, s := range slots {
		mine[s.n] = true
	}
	files = slices.DeleteFunc(slices.Clone(files), func(f table.File) bool { return old(f, row, o.o.Time, floor) })
	if err := o.closeInput(); err != nil { // its memory is needed for what is read, and that of the keys for what is sorted
		return 0, err
	}
	o.cache.clear()
	o.d.Meter.rebuilding(len(files), o.d.Now())
	defer o.d.Meter.ended()
	todo := make(chan part)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	for range o.workers {
		all.Go(func() {
			r := &rebuilder{o: o, row: row, floor: floor, mine: mine, gone: gone, room: max(int(o.d.Memory)/o.workers, leastRun)}
			err := r.run(ctx, todo)
			mu.Lock()
			defer mu.Unlock()
			if rows += r.rows; err != nil {
				cancel(err)
			}
		})
	}
	if err := o.parcel(ctx, files, todo); err != nil {
		cancel(err)
	}
	close(todo)
	all.Wait()
	return rows, context.Cause(ctx)
}

// part is what one goroutine reads at once: some row groups of a file.
type part struct {
	table.File
	from, to int // to 0: all there are
}

// fewFiles is how many there are for each goroutine where they are read as a whole; fewer are read by row groups, so that all have work to the end.
const fewFiles = 8

// parcel sends what is to be read.
func (o *Owner) parcel(ctx context.Context, files []table.File, todo chan<- part) error {
	send := func(p part) bool {
		select {
		case todo <- p:
			return true
		case <-ctx.Done(): // whoever failed has said why
			return false
		}
	}
	for _, f := range files {
		groups := 1
		if len(files) < fewFiles*o.workers {
			r, err := scan.Open(ctx, o.d.Lake.Objects, f.Path, f.Size)
			if err != nil {
				return err
			}
			groups = r.Groups()
			if err := r.Close(); err != nil {
				return err
			}
		}
		if groups <= 1 && !send(part{File: f}) {
			return nil
		}
		for g := 0; groups > 1 && g < groups; g++ {
			if !send(part{f, g, g + 1}) {
				return nil
			}
		}
	}
	return nil
}

// columns are those of the table that are needed.
func (o *Owner) columns(row *batch.Type) (*batch.Type, error) {
	sum, err := ParseSum(o.o.Sum, row)
	if err != nil {
		return nil, err
	}
	out := batch.StructOf()
	for _, name := range append([]string{o.o.Key, o.o.Time}, sum.Columns()...) {
		i := row.Index(name)
		if i < 0 {
			return nil, fmt.Errorf("it has no column %s", name)
		}
		if out.Index(name) < 0 {
			out.Fields = append(out.Fields, row.Fields[i])
		}
	}
	return out, nil
}

// old reports whether all rows of a file have certainly left the window.
func old(f table.File, row *batch.Type, column string, floor Day) bool {
	field := row.Fields[row.Index(column)]
	switch bound := f.UpperBounds[field.ID]; {
	case field.Type.Kind == batch.Date && len(bound) == 4:
		return Day(binary.LittleEndian.Uint32(bound)) <= floor
	case field.Type.Kind != batch.Date && len(bound) == 8:
		return Day(floorDiv(int64(binary.LittleEndian.Uint64(bound)), secondsOfDay*microseconds))+1 <= floor // whatever the zone
	}
	return false
}
