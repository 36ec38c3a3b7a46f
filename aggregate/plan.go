package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// plan is what a run will do, and what it was decided from.
type plan struct {
	calc   Calculation
	info   table.Info // of the source
	source *table.Base
	target *table.Info // nil: there is none yet
	line   *timeline
	cal    *calendar
	wide   map[string][]Day // days of files of the source that were asked for them
	mark   mark             // of the target; of none: zero
	state  *state           // that it names
	// definition is what the days are calculated by.
	definition string
	changed    []Day // ascending
	removed    []Day
	// renewed are days that only rewrites touched: they stay, and their files are noted.
	renewed []Day
	// whole: all days that changed are among changed and removed, so that the mark may move on to the source's snapshot.
	whole bool
}

// query is the source for some days.
func (p *plan) query(days []Day) Source {
	s := Source{Info: p.info, Snapshot: p.source.Snapshot, Deletes: p.cal.deletes}
	at := map[int]bool{}
	for _, d := range days {
		for _, i := range p.cal.days[d] {
			at[i] = true
		}
	}
	for _, i := range slices.Sorted(maps.Keys(at)) {
		s.Files = append(s.Files, p.cal.files[i])
	}
	return s
}

// plan reads the source, then the target, which it makes, or widens, if it is told to.
func (a *Aggregator) plan(ctx context.Context, only *Range, ensure bool) (*plan, error) {
	p := &plan{}
	if err := a.readSource(ctx, p); err != nil {
		return nil, fmt.Errorf("aggregate %s: source %s: %w", a.Name, a.Source, err)
	}
	have, err := a.readTarget(ctx, p, ensure)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: table %s: %w", a.Name, a.Target, err)
	}
	if p.cal, err = a.calendar(ctx, p); err != nil {
		return nil, fmt.Errorf("aggregate %s: source %s: %w", a.Name, a.Source, err)
	}
	changes, err := a.changes(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: source %s: %w", a.Name, a.Source, err)
	}
	p.decide(a.Period, have, changes, a.KeepVanished)
	p.choose(only)
	return p, nil
}

// readSource reads one snapshot of the source.
func (a *Aggregator) readSource(ctx context.Context, p *plan) (err error) {
	if p.info, err = a.Catalog.Info(ctx, a.Source); err != nil {
		return err
	}
	if p.line, err = newTimeline(p.info, a.Time, a.Zone); err != nil {
		return err
	}
	if p.calc, err = a.Define(ctx, p.info, p.line.clock); err != nil {
		return err
	}
	p.definition = p.calc.Definition()
	s, err := a.Catalog.Open(ctx, a.Source)
	if err != nil {
		return err
	}
	if p.source, err = s.Load(ctx); err != nil {
		return err
	}
	if p.source.UUID != p.info.UUID {
		return errors.New("it was dropped and created again just now")
	}
	return nil
}

// calendar sorts the source's files by day.
func (a *Aggregator) calendar(ctx context.Context, p *plan) (*calendar, error) {
	if p.source.Snapshot == 0 {
		return p.line.newCalendar(a.Period, nil, nil, nil)
	}
	files, deletes, err := a.Catalog.Files(ctx, a.Source, p.source.Snapshot)
	if err != nil {
		return nil, err
	}
	p.wide = map[string][]Day{}
	return p.line.newCalendar(a.Period, files, deletes, func(f table.File) (days []Day, err error) {
		days, known := p.state.Wide[f.Path]
		if !known {
			days, err = a.wideDays(ctx, p, f)
		}
		p.wide[f.Path] = days
		return days, err
	})
}

// wideDays asks the engine for the days of a file, whose metadata tell too little. Engines that find the files themselves may
// answer with days of other files, which does no harm.
func (a *Aggregator) wideDays(ctx context.Context, p *plan, f table.File) ([]Day, error) {
	column := QuotePath(a.Engine.Dialect(), a.Time)
	at, typ, length := "date_trunc('hour', "+column+")", batch.Prim(p.line.clock.kind), time.Hour
	if typ.Kind == batch.Date {
		at, length = column, time.Nanosecond
	}
	q := Query{Source: Source{Info: p.info, Snapshot: p.source.Snapshot, Files: []table.File{f}}, Columns: []Column{{Name: "at", Type: typ}},
		SQL: "SELECT DISTINCT " + at + " AS at FROM source WHERE " + column + " IS NOT NULL"}
	days := map[Day]bool{}
	err := a.Engine.Select(ctx, q, func(row []any) error {
		t, ok := row[0].(time.Time)
		if !ok {
			return fmt.Errorf("the engine gave a %T for a time", row[0])
		}
		for _, d := range []Day{p.line.clock.at(t), p.line.clock.at(t.Add(length - 1))} { // not all zones have whole hours
			if anyDays.has(d) {
				days[d] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking for the days of %s, whose metadata do not tell them: %w", f.Path, err)
	}
	return slices.Sorted(maps.Keys(days)), nil
}

// targetDay is what the target has of a day.
type targetDay struct {
	rows  int64
	files []string
	// oldest and newest of the source's snapshots that the rows name, as far as the metadata tell.
	oldest, newest int64
	told           bool
}

// is reports whether the day is the one that the state tells of.
func (t targetDay) is(s dayState) bool {
	return t.rows == s.Rows && (!t.told || t.oldest == s.Snapshot && t.newest == s.Snapshot)
}

// readTarget reads the mark, the state that it names, and what the target has of each day.
func (a *Aggregator) readTarget(ctx context.Context, p *plan, ensure bool) (map[Day]targetDay, error) {
	p.state = &state{Days: map[Day]dayState{}}
	var info table.Info
	var err error
	if ensure {
		info, err = a.Catalog.Ensure(ctx, a.def(p.calc))
	} else if info, err = a.Catalog.Info(ctx, a.Target); errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.target = &info
	s, err := a.Catalog.Open(ctx, a.Target)
	if err != nil {
		return nil, err
	}
	for {
		base, err := s.Load(ctx)
		if err != nil {
			return nil, err
		}
		m, err := parseMark(a.Name, base.Props)
		if err != nil {
			return nil, err
		}
		p.state, err = a.states().read(ctx, m.State)
		if errors.Is(err, errGone) {
			if p.mark != m {
				p.mark = m // of another run, which has gone on meanwhile: look again
				continue
			}
			p.state, err = &state{Days: map[Day]dayState{}}, nil // somebody has removed it: all days are calculated anew
		}
		if err != nil {
			return nil, err
		}
		p.mark = m
		return a.targetDays(ctx, p.target, base)
	}
}

// targetDays sorts the target's files by day.
func (a *Aggregator) targetDays(ctx context.Context, info *table.Info, base *table.Base) (map[Day]targetDay, error) {
	if base.UUID != info.UUID {
		return nil, fmt.Errorf("%w: it was dropped and created again", ErrStale)
	}
	have := map[Day]targetDay{}
	if base.Snapshot == 0 {
		return have, nil
	}
	files, _, err := a.Catalog.Files(ctx, a.Target, base.Snapshot)
	if err != nil {
		return nil, err
	}
	line, err := targetLine(info, a.Period)
	if err != nil {
		return nil, err
	}
	from, err := columnAt(info.Row, ColumnSnapshot)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		s := line.days(f)
		if s.from != s.to {
			return nil, fmt.Errorf("its file %s is not of one day: other programs have written into it, or partitioned it anew; drop it, and it is calculated anew", f.Path)
		}
		d := have[s.from]
		low, ok := line.value(f.LowerBounds[from.ID])
		high, also := line.value(f.UpperBounds[from.ID])
		switch {
		case len(d.files) == 0:
			d.oldest, d.newest, d.told = low, high, ok && also
		case ok && also && d.told:
			d.oldest, d.newest = min(d.oldest, low), max(d.newest, high)
		default:
			d.told = false
		}
		d.rows, d.files = d.rows+f.Rows, append(d.files, f.Path)
		have[s.from] = d
	}
	return have, nil
}

// targetLine reads a target's periods from its partitions.
func targetLine(info *table.Info, by Period) (*timeline, error) {
	if len(info.PartitionBy) != 1 || info.PartitionBy[0].Source != by.Column || info.PartitionBy[0].Transform != "identity" {
		return nil, fmt.Errorf("it is not partitioned by its column %s: choose another table, or drop it, and it is created anew", by.Column)
	}
	return newTimeline(*info, by.Column, nil)
}

// changes are those of the source since the last run; nil: they are not known.
func (a *Aggregator) changes(ctx context.Context, p *plan) (*table.Changes, error) {
	if p.mark.Snapshot == 0 || p.mark.SourceUUID != p.info.UUID || p.mark.Definition != p.definition || p.source.Snapshot == 0 {
		return nil, nil
	}
	ch, err := a.Catalog.Changed(ctx, a.Source, p.mark.Snapshot, p.source.Snapshot)
	if err != nil || !ch.Known {
		return nil, err
	}
	return ch, nil
}

// decide finds the days that changed, and those that vanished.
func (p *plan) decide(by Period, have map[Day]targetDay, changes *table.Changes, keepVanished bool) {
	p.whole = true
	for day := range p.cal.days {
		was, known := p.state.Days[day]
		switch {
		case known && have[day].is(was) && was.Mark == p.cal.mark(day, p.definition):
		case known && have[day].is(was) && changes != nil && !p.line.touched(by, changes, day):
			p.renewed = append(p.renewed, day)
		default:
			p.changed = append(p.changed, day)
		}
	}
	gone := map[Day]bool{}
	for d := range p.state.Days {
		gone[d] = true
	}
	for d := range have {
		gone[d] = true
	}
	for d := range gone {
		if _, ok := p.cal.days[d]; !ok && !keepVanished {
			p.removed = append(p.removed, d)
		}
	}
	slices.Sort(p.changed)
	slices.Sort(p.removed)
	slices.Sort(p.renewed)
}

// touched reports whether a change may have been one of a period's rows.
func (t *timeline) touched(by Period, changes *table.Changes, day Day) bool {
	for _, c := range changes.Files {
		days := t.days(c.File)
		if c.Deletes { // whose bounds are those of paths and positions
			days = t.partition(c.File)
		}
		if c.Deletes && slices.ContainsFunc(c.Partition, func(v []byte) bool { return v == nil }) {
			days = anyDays // engines do not agree on what a null stands for
		}
		if days.from <= days.to && by.begin(days.from) <= day && day <= by.begin(days.to) {
			return true
		}
	}
	return false
}

// choose leaves the days of a range, changed or not.
func (p *plan) choose(only *Range) {
	if only == nil {
		return
	}
	in := func(d Day) bool { return only.From <= d && d <= only.To }
	others := func(d Day) bool { return !in(d) }
	p.whole = !slices.ContainsFunc(p.changed, others) && !slices.ContainsFunc(p.removed, others)
	p.removed = slices.DeleteFunc(p.removed, others)
	p.changed, p.renewed = nil, slices.DeleteFunc(p.renewed, in)
	for d := range p.cal.days {
		if in(d) {
			p.changed = append(p.changed, d)
		}
	}
	slices.Sort(p.changed)
}
