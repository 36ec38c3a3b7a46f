package aggregate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// rowsAtOnce is how many rows go to the writer together.
const rowsAtOnce = 8192

// calculate does what is planned, some days at a time.
func (a *Aggregator) calculate(ctx context.Context, p *plan, r *Report) error {
	days := append(slices.Clone(p.changed), p.removed...)
	if len(days) == 0 && p.mark.Snapshot == p.source.Snapshot && len(p.renewed) == 0 {
		return nil
	}
	for {
		now := days[:min(len(days), a.Batch)]
		days = days[len(now):]
		s, err := a.days(ctx, p, now)
		if err != nil {
			return err
		}
		last := len(days) == 0
		left, err := a.swap(ctx, p, s, last)
		if err != nil {
			return fmt.Errorf("aggregate %s: replacing %d %ss of %s: %w", a.Name, len(now), a.Period.Name, a.Target, err)
		}
		for _, d := range s.days {
			r.Rows += d.Rows
		}
		if left != "" {
			r.Left = append(r.Left, left)
		}
		if last {
			return nil
		}
	}
}

// step is a part of a run: the days of one swap.
type step struct {
	replaced []Day
	days     map[Day]dayState // those that still are
	files    []table.File
	written  time.Time // the state
}

// days calculates days, and makes their rows durable.
func (a *Aggregator) days(ctx context.Context, p *plan, days []Day) (*step, error) {
	s := &step{replaced: days, days: map[Day]dayState{}}
	w, err := writers.New(writers.Options{Info: *p.target, Store: a.Objects, Files: a.Files, Now: a.Now})
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: %w", a.Name, err)
	}
	defer w.Abort() // of no effect after Finish
	b := newRowBatch(a.Period, p.calc.Columns())
	for _, d := range days {
		if _, there := p.cal.days[d]; !there {
			continue
		}
		rows, err := a.day(ctx, p, d, w, b)
		if err != nil {
			return nil, fmt.Errorf("aggregate %s, %s %s: %w", a.Name, a.Period.Name, d, err)
		}
		s.days[d] = dayState{Snapshot: p.source.Snapshot, Rows: rows, Mark: p.cal.mark(d, p.definition)}
	}
	if s.files, err = w.Finish(ctx); err != nil {
		return nil, fmt.Errorf("aggregate %s: %w", a.Name, err)
	}
	return s, nil
}

// day writes the rows of a day.
func (a *Aggregator) day(ctx context.Context, p *plan, d Day, w *writers.Writer, b *rowBatch) (rows int64, err error) {
	part := writers.Part{Tuple: [][]byte{d.tuple()}, Path: a.Period.Column + "=" + d.String(), Key: d.String()}
	flush := func() error {
		part.Rows = part.Rows[:0]
		for i := range b.Rows {
			part.Rows = append(part.Rows, int32(i))
		}
		rows += int64(b.Rows)
		err := w.Append(ctx, b.Batch, part)
		b.reset()
		return err
	}
	b.reset()
	source := p.query([]Day{d})
	ask := func(ctx context.Context, sql string, columns []Column, each func(row []any) error) error {
		return a.Engine.Select(ctx, Query{Source: source, SQL: sql, Columns: columns}, each)
	}
	err = p.calc.Day(ctx, a.Engine.Dialect(), d, ask, func(row []any) error {
		if err := b.add(d, p.source.Snapshot, row); err != nil {
			return err
		}
		if b.Rows < rowsAtOnce && len(b.Mem) < 16<<20 {
			return nil
		}
		return flush()
	})
	if err == nil && b.Rows > 0 {
		err = flush()
	}
	if err == nil {
		err = w.Shrink(ctx, 0) // no more rows of the day will come
	}
	return rows, err
}

// swap puts the days of a step in place of those that the target has, with the state. left is an object that could not be
// removed.
func (a *Aggregator) swap(ctx context.Context, p *plan, s *step, last bool) (left string, err error) {
	next := &state{Days: maps.Clone(p.state.Days), Wide: p.wide}
	for _, d := range s.replaced {
		delete(next.Days, d)
	}
	for d, is := range s.days {
		next.Days[d] = is
	}
	if last {
		for _, d := range p.renewed {
			was := next.Days[d]
			was.Mark = p.cal.mark(d, p.definition)
			next.Days[d] = was
		}
	}
	m := mark{Source: a.Source.String(), SourceUUID: p.info.UUID, Definition: p.definition}
	switch {
	case last && p.whole:
		m.Snapshot = p.source.Snapshot
	case p.mark.SourceUUID == m.SourceUUID && p.mark.Definition == m.Definition:
		m.Snapshot = p.mark.Snapshot
	}
	s.written = a.Now()
	if m.State, err = a.states().write(ctx, next); err != nil {
		return "", err
	}
	store, err := a.Catalog.Open(ctx, a.Target)
	if err != nil {
		return "", err
	}
	if err := table.Commit(ctx, store, a.Wait, func(base *table.Base) (table.Change, bool, error) { return a.change(ctx, p, s, m, base) }); err != nil {
		return "", err
	}
	was := p.mark.State
	p.mark, p.state = m, next
	if was != "" {
		if err := a.Objects.Delete(ctx, a.states().uri(was)); err != nil {
			return fmt.Sprintf("%s: %v", a.states().uri(was), err), nil
		}
	}
	return "", nil
}

// change is the swap against a base.
func (a *Aggregator) change(ctx context.Context, p *plan, s *step, m mark, base *table.Base) (ch table.Change, done bool, err error) {
	have, err := parseMark(a.Name, base.Props)
	switch {
	case err != nil:
		return ch, false, err
	case have == m: // landed, and the reply was lost
		return ch, true, nil
	case have != p.mark:
		return ch, false, fmt.Errorf("%w: another run of the aggregate was faster", ErrStale)
	}
	for _, f := range s.files {
		if age := a.Now().Sub(time.UnixMilli(f.CreatedMS)); age > a.OrphanAge/2 {
			return ch, false, fmt.Errorf("the file %s is %v old, more than half the orphan age %v: calculate fewer days at once with --from and --to", f.Path, age.Round(time.Second), a.OrphanAge)
		}
	}
	if age := a.Now().Sub(s.written); age > a.OrphanAge/2 {
		return ch, false, fmt.Errorf("the swap has been tried for %v, more than half the orphan age %v", age.Round(time.Second), a.OrphanAge)
	}
	days, err := a.targetDays(ctx, p.target, base)
	if err != nil {
		return ch, false, err
	}
	for _, d := range s.replaced {
		ch.Remove = append(ch.Remove, days[d].files...)
	}
	text, err := m.text()
	if err != nil {
		return ch, false, err
	}
	ch.Add, ch.Seen = s.files, base.Snapshot
	ch.Snapshot = len(ch.Add)+len(ch.Remove) > 0
	ch.Props = func(int64) map[string]string { return map[string]string{property(a.Name): text} }
	ch.Summary = map[string]string{table.SummaryJob: a.Name, table.Prefix + "source-snapshot": strconv.FormatInt(p.source.Snapshot, 10)}
	return ch, false, nil
}
