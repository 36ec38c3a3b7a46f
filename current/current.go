// Package current keeps tables with rows as they are now, made of the changes that a pipeline has loaded.
package current

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Catalog is what an applier asks of a catalog.
type Catalog interface {
	follow.Catalog
	Ensure(ctx context.Context, def table.Def) (table.Info, error)
}

// Applier applies the changes of one pipeline to one table. What it rests on:
//
//   - The cursor of offsets, and what is known of deleted rows, are in an immutable state; the target's property names it, and moves in
//     the swap that applies changes. The swap requires the property, and the snapshot, that were planned from. So a kill, a lost reply and
//     two runs at once leave the target as one run would have.
//   - Of each key the change wins that is the last by the source's position, whenever it comes: it is compared with the row in the target,
//     and with the last delete, which is remembered for as long as the topic may repeat an earlier change. So applying changes a
//     second time, in whatever order, changes nothing.
//   - A rewind takes changes away that are applied already, which nobody can undo: the applier stops, and says so.
type Applier struct {
	Pipeline       string
	Source, Target table.Ident
	Key            []string
	// DeletedFor is how long a deleted key is remembered.
	DeletedFor time.Duration

	Catalog Catalog
	Objects objects.Store
	Root    string // of the warehouse, no trailing slash
	Files   configs.Files
	Now     func() time.Time
	Wait    table.Wait
	// OrphanAge is the age at which a file that no table knows may be deleted.
	OrphanAge time.Duration
	// Limit is how many offsets are applied in one swap at most; 0: 100,000.
	Limit int64
	// Memory is what a run may take, bytes, garbage included; 0: 128 MiB.
	Memory int64

	fits int64 // so many offsets at once, as far as is known; 0: it is not
}

// share is the memory of a run. At no time more than the window and four parts are in use: what is read, what is sorted, what is written
// and its upload.
type share int64

// window is for changes that are applied in one swap, and their keys.
func (s share) window() int64 { return int64(s) / 4 }

// part is for one thing that is read or written.
func (s share) part() int64 { return int64(s) / 8 }

func (a *Applier) share() share { return share(cmp.Or(a.Memory, defaultMemory)) }

// Report is what a run did, or what it would do.
type Report struct {
	Swaps    int
	Changes  int64 // that were looked at
	Written  int64 // rows that were inserted or updated
	Removed  int64 // rows that were updated or deleted
	Late     int64 // keys whose change was not the last
	Files    int   // that were replaced
	Bytes    int64 // of those
	Lag      int64 // offsets that are left
	Keyless  int64 // changes without a key, which are left out
	First    string
	Rescan   bool     // all changes were looked at again
	Left     []string // objects that could not be removed
	Snapshot int64    // of the target, that was planned from last
}

// ErrStale means that the target changed since the run planned. Nothing was changed.
var ErrStale = errors.New("the target is no longer what the run was planned from")

// ErrRewound means that offsets whose changes were applied begin anew.
var ErrRewound = errors.New("the changes were rewound")

const (
	tries        = 5
	defaultLimit = 100_000
	// defaultMemory is what memory.Divide gives at most.
	defaultMemory = 128 << 20
)

func (a *Applier) limit() int64 {
	if a.Limit > 0 {
		return a.Limit
	}
	return defaultLimit
}

func (a *Applier) states() *states { return &states{a.Objects, a.Root, a.Pipeline} }

// Run applies what there is. rebuild: the target is emptied first, in the swap that applies the first changes.
func (a *Applier) Run(ctx context.Context, rebuild bool) (*Report, error) {
	r := &Report{}
	for failed := 0; ; {
		done, err := a.step(ctx, r, rebuild)
		switch {
		case errors.Is(err, ErrStale) && failed < tries, errors.Is(err, errGone) && failed < tries:
			failed++
			continue
		case err != nil:
			return r, fmt.Errorf("applying changes of %s to %s: %w", a.Source, a.Target, err)
		case done:
			return r, nil
		}
		rebuild, failed = false, 0
	}
}

// Plan says what there is to do. It changes nothing.
func (a *Applier) Plan(ctx context.Context) (*Report, error) {
	r := &Report{}
	s, err := a.reader().State(ctx)
	if err != nil {
		return r, err
	}
	st := &state{}
	if base, err := a.base(ctx); errors.Is(err, table.ErrNoTable) {
		// nothing was applied yet
	} else if err != nil {
		return r, err
	} else if m, err := parseMark(a.Pipeline, base.Props); err != nil {
		return r, err
	} else if st, err = a.states().read(ctx, m.State); err != nil {
		return r, err
	}
	r.Lag = follow.Lag(st.Cursor, s.Ledger)
	return r, nil
}

func (a *Applier) reader() *follow.Reader {
	return &follow.Reader{Catalog: a.Catalog, Objects: a.Objects, Root: a.Root, Pipeline: a.Pipeline, Primary: a.Source, Again: true}
}

func (a *Applier) base(ctx context.Context) (*table.Base, error) {
	s, err := a.Catalog.Open(ctx, a.Target)
	if err != nil {
		return nil, err
	}
	return s.Load(ctx)
}

// plan is what one swap is made from.
type plan struct {
	source  table.Info
	target  table.Info
	base    *table.Base
	mark    mark
	state   *state
	edit    int64
	rebuild bool
}

// step applies some changes; done: there are no more.
func (a *Applier) step(ctx context.Context, r *Report, rebuild bool) (done bool, err error) {
	p := &plan{rebuild: rebuild}
	if p.source, err = a.Catalog.Info(ctx, a.Source); errors.Is(err, table.ErrNoTable) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	now, err := a.reader().State(ctx)
	if err != nil || now.Ledger == nil {
		return true, err
	}
	p.edit = now.Ledger.Edit
	if err := a.prepare(ctx, p); err != nil {
		return false, err
	}
	from := p.state.Cursor
	switch {
	case rebuild:
		from = follow.Cursor{}
	case len(from.Partitions) > 0:
		if k, is := rewound(from, now.End()); is {
			return false, fmt.Errorf("%w: %s begins anew in epoch %d (a rewind or backfill), and what was applied of it cannot be told from what is loaded again; "+
				"make the table anew with: lakeloader job run current --table %s --rebuild", ErrRewound, k, now.Ledger.Records[k].Epoch, a.Target)
		}
		if p.state.Edit != p.edit { // rows may have come below the cursor, as of dead letters that were replayed
			from.Partitions, r.Rescan = nil, true
		}
	}
	w, err := a.read(ctx, from, p.source.Row)
	if errors.Is(err, follow.ErrReplaced) {
		return false, fmt.Errorf("%w; make the table anew with: lakeloader job run current --table %s --rebuild", err, a.Target)
	}
	if err != nil {
		return false, err
	}
	if _, is := rewound(from, w.to); is {
		return false, fmt.Errorf("%w while they were read", ErrStale)
	}
	if !rebuild && w.to.Equal(p.state.Cursor) && p.state.Edit == p.edit {
		return true, nil
	}
	return false, a.apply(ctx, p, w, r)
}

// prepare reads the target, which it makes if need be.
func (a *Applier) prepare(ctx context.Context, p *plan) (err error) {
	if err := keyTypes(p.source.Row, a.Key); err != nil {
		return err
	}
	if p.target, err = a.Catalog.Ensure(ctx, a.def(p.source.Row)); err != nil {
		return fmt.Errorf("preparing table %s: %w", a.Target, err)
	}
	if p.base, err = a.base(ctx); err != nil {
		return err
	}
	if p.mark, err = parseMark(a.Pipeline, p.base.Props); err != nil {
		return err
	}
	if p.mark.State == "" && p.base.Rows > 0 && !p.rebuild {
		return fmt.Errorf("table %s has %d rows, and no property %s: it was not made of changes, or was rolled back; take another name, or let its rows go with --rebuild",
			a.Target, p.base.Rows, Property(a.Pipeline))
	}
	p.state, err = a.states().read(ctx, p.mark.State)
	if err == nil && !p.rebuild && p.mark.State != "" && !slices.Equal(p.state.Key, a.Key) {
		return fmt.Errorf("its rows were told apart by %v, not by %v: make the table anew with: lakeloader job run current --table %s --rebuild", p.state.Key, a.Key, a.Target)
	}
	return err
}

// def is what the target should be: the row without its history, and where its last change came from.
func (a *Applier) def(source *batch.Type) table.Def {
	row := batch.StructOf()
	for _, f := range source.Fields {
		if f.Name != changes.ColumnOp {
			f.ID = 0
			row.Fields = append(row.Fields, f)
		}
	}
	return table.Def{Ident: a.Target, Row: row, SortBy: a.sortBy()}
}

func (a *Applier) sortBy() (by []table.SortField) {
	for _, k := range a.Key {
		by = append(by, table.SortField{Source: k})
	}
	return by
}

// Summary says what was done.
func (r *Report) Summary() string {
	if r.Swaps == 0 {
		return "no changes"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d changes: %d rows written, %d removed, %d late, %d files replaced", r.Changes, r.Written, r.Removed, r.Late, r.Files)
	if r.Rescan {
		b.WriteString("; all changes were looked at again")
	}
	return b.String()
}

// Details are lines about what was left out.
func (r *Report) Details() (lines []string) {
	if r.Keyless > 0 {
		lines = append(lines, fmt.Sprintf("%d changes have no key and were left out, first %s", r.Keyless, r.First))
	}
	for _, l := range r.Left {
		lines = append(lines, "could not be removed: "+l)
	}
	return slices.Clip(lines)
}
