package lookups

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
)

// filler brings batches of rows through the lookup's steps into a table.
type filler struct {
	k       *keeper
	in      *batch.Type
	program *cleanse.Program
	t       *enrich.Table
	columns []int // of the program's rows, in the order of the table's; recordTime: it is not among them
	kept    []*batch.Column
	times   *batch.Column // of records
	skipped int
	told    int                       // of skipped
	why     string                    // the last one was
	where   func(record int32) string // rows of the batch are
}

const recordTime = -1

// rows says what the rows are like before the steps. steps come before those of the configuration.
func (f *filler) rows(in *batch.Type, steps ...configs.Step) error {
	row, program, err := cleansed(f.k.Config(), in, steps...)
	if err != nil {
		return err
	}
	if err := f.k.Define(offered(f.k.Config(), row)); err != nil {
		return err
	}
	f.in, f.program = in, program
	return f.bind(row)
}

func (f *filler) bind(row *batch.Type) error {
	f.columns = f.columns[:0]
	for _, field := range f.k.Row().Fields {
		at := row.Index(field.Name)
		if at < 0 && field.Name == configs.RecordTime && f.k.Config().Topic != nil {
			at = recordTime
		} else if at < 0 {
			return fmt.Errorf("lookup %s: column %s is gone", f.k.Name(), field.Name)
		}
		f.columns = append(f.columns, at)
	}
	f.kept = make([]*batch.Column, len(f.columns))
	return nil
}

// offered adds the time of a topic's records, where versions go by it, and leaves out what changes have beside the columns of their
// rows, where no one asks for it by name.
func offered(l *configs.Lookup, row *batch.Type) *batch.Type {
	if l.Topic == nil {
		return row
	}
	out := batch.StructOf()
	if l.Versions != nil && l.Versions.By == configs.RecordTime && row.Index(configs.RecordTime) < 0 {
		out.Fields = append(out.Fields, batch.Field{Name: configs.RecordTime, Type: batch.Prim(batch.TimestampTZ), Doc: "Kafka's timestamp of the record"})
	}
	if l.Topic.Decode.Changes == nil {
		out.Fields = append(slices.Clone(row.Fields), out.Fields...)
		return out
	}
	for _, f := range row.Fields {
		switch named := slices.Contains(l.Key, f.Name) || slices.Contains(l.Columns, f.Name) || l.Versions != nil && l.Versions.By == f.Name; f.Name {
		case changes.ColumnOp, changes.ColumnSourceTS, changes.ColumnPosition:
			if !named {
				continue
			}
		}
		out.Fields = append(out.Fields, f)
	}
	return out
}

// cleansed is what rows are like behind the steps.
func cleansed(l *configs.Lookup, in *batch.Type, first ...configs.Step) (*batch.Type, *cleanse.Program, error) {
	p, err := cleanse.Compile(in, append(first, l.Cleanse...))
	if err != nil {
		return nil, nil, fmt.Errorf("lookup %s: the steps do not fit the columns: %w", l.Name, err)
	}
	return p.Row(), p, nil
}

// add takes the rows of a batch. A row that a step rejects ends it: where says where the rows of the batch are.
func (f *filler) add(b *batch.Batch, where func(record int32) string) error {
	if err := cleanseAll(f.program, b, where); err != nil {
		return err
	}
	if f.t == nil {
		t, err := f.k.Empty(false)
		if err != nil {
			return err
		}
		f.t = t
	}
	if err := f.t.Room(takes(b)); err != nil {
		return err
	}
	f.where = where
	if err := f.put(b); err != nil {
		return err
	}
	f.tell()
	f.k.building.Store(f.t.Bytes())
	return nil
}

// tell says what was skipped. Nobody may be changing the lookup's table meanwhile.
func (f *filler) tell() {
	if f.skipped > f.told {
		f.k.Skip(int64(f.skipped-f.told), f.why)
		f.told = f.skipped
	}
}

// cleanseAll brings a batch through the steps, none of which may reject a row.
func cleanseAll(p *cleanse.Program, b *batch.Batch, where func(record int32) string) error {
	if err := p.Apply(b); err != nil {
		return err
	}
	if len(b.Rejects) > 0 {
		r := b.Rejects[0]
		return fmt.Errorf("%s: %s: %s", where(r.Record), r.Step, r.Reason)
	}
	return nil
}

// put puts the rows into the table. It takes no lock of the lookup, which may be held.
func (f *filler) put(b *batch.Batch) error {
	f.take(b)
	for i := range b.Rows {
		if b.Fate[i] != batch.Keep {
			continue
		}
		err := f.t.Put(b.Mem, f.kept, i, [2]uint64{})
		if errors.Is(err, enrich.ErrNoKey) {
			f.skipped++
			f.why = f.where(b.Record[i]) + ": " + err.Error()
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rowBytes is about what a row takes beside its texts.
const rowBytes = 64

// takes is about what a batch's rows take.
func takes(b *batch.Batch) int64 { return int64(len(b.Mem)) + int64(b.Rows)*rowBytes }

// take finds the columns that are kept.
func (f *filler) take(b *batch.Batch) {
	for i, c := range f.columns {
		if c == recordTime {
			f.kept[i] = f.timesOf(b)
			continue
		}
		f.kept[i] = b.Root.Children[c]
	}
}

// timesOf are the times of the records that rows are of.
func (f *filler) timesOf(b *batch.Batch) *batch.Column {
	if f.times == nil {
		f.times = batch.NewColumn(batch.Prim(batch.TimestampTZ), b.Rows)
	}
	f.times.Reset()
	for i := range b.Rows {
		f.times.AppendInt64(b.Timestamp[b.Record[i]] * 1000)
	}
	return f.times
}

// table is what was filled.
func (f *filler) table() (*enrich.Table, error) {
	if f.t == nil {
		return f.k.Empty(false)
	}
	return f.t, f.t.Expire()
}
