package aggregate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Catalog is what an aggregate asks of a catalog.
type Catalog interface {
	Ensure(ctx context.Context, def table.Def) (table.Info, error)
	Info(ctx context.Context, id table.Ident) (table.Info, error)
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
	Changed(ctx context.Context, id table.Ident, since, until int64) (*table.Changes, error)
}

// Aggregator calculates one aggregate. What it rests on:
//
//   - A day is calculated from one snapshot of the source, by the files that may have rows of it.
//   - Which days changed is decided by metadata: a day whose files are those that it was calculated from is left alone; one
//     with others too, if nothing but rewrites put them there. What cannot be told counts as changed.
//   - A day of the target is that of the state only if its files have as many rows, all from the same snapshot: what others did
//     to the target, such as a rollback, is mended.
//   - Days, and the mark that names the state, move in one swap; the mark must be the one that was planned from. So a program
//     that is killed, or two at once, leave the target as one run would have.
type Aggregator struct {
	Name           string
	Source, Target table.Ident
	// Period is what the target has rows of, by its column Time, in a zone if that is a timestamptz.
	Period Period
	Time   string
	Zone   *time.Location
	Define func(ctx context.Context, source table.Info, clock Clock) (Calculation, error)
	// KeepVanished leaves days alone whose rows have gone from the source.
	KeepVanished bool

	Catalog Catalog
	Objects objects.Store
	Root    string // of the warehouse, no trailing slash
	Engine  Engine
	// EngineName is for people. MaxFetch bounds what the engine brings to this machine in one run, bytes.
	EngineName string
	MaxFetch   int64
	Files      configs.Files
	Now        func() time.Time
	Wait       table.Wait
	// OrphanAge is the age at which a file that no table knows may be deleted.
	OrphanAge time.Duration
	// Batch is how many days are replaced in one swap.
	Batch int
}

// Range asks for the days From to To, both included, whether they changed or not, and for no others.
type Range struct{ From, To Day }

// Report is what a run did, or what it would do.
type Report struct {
	Changed []Day // to be calculated, ascending
	Removed []Day // whose rows are gone from the source
	Rows    int64 // of the target, when done
	Files   int   // of the source, that the changed days are calculated from
	Bytes   int64 // of those
	Fetched int64 // of those, that come to this machine
	// Snapshot of the source that was read; 0: it has none.
	Snapshot int64
	// Left are objects that could not be removed, which the removal of orphans sees to.
	Left []string
}

// ErrStale means that the target changed in a way that the run had not planned for. Nothing was changed.
var ErrStale = errors.New("the target is no longer what the run was planned from")

// tries is how often a run plans again when others were faster.
const tries = 5

// Plan says what a run would do now. It changes nothing.
func (a *Aggregator) Plan(ctx context.Context, only *Range) (*Report, error) {
	p, err := a.plan(ctx, only, false)
	if err != nil {
		return nil, err
	}
	return a.report(ctx, p)
}

// report is what there is to do.
func (a *Aggregator) report(ctx context.Context, p *plan) (*Report, error) {
	r := &Report{Changed: p.changed, Removed: p.removed, Snapshot: p.source.Snapshot}
	all := p.query(p.changed)
	if len(p.changed) == 0 {
		return r, nil
	}
	cost, err := a.Engine.Cost(ctx, Query{Source: all})
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: estimating what it costs: %w", a.Name, err)
	}
	r.Files, r.Bytes, r.Fetched = cost.Files, cost.Bytes, cost.Fetched
	return r, nil
}

// Run calculates what has changed. What it has swapped in stays when a later part fails.
func (a *Aggregator) Run(ctx context.Context, only *Range) (*Report, error) {
	for n := 1; ; n++ {
		r, err := a.run(ctx, only)
		if !errors.Is(err, ErrStale) || n == tries {
			return r, err
		}
	}
}

func (a *Aggregator) run(ctx context.Context, only *Range) (*Report, error) {
	p, err := a.plan(ctx, only, true)
	if err != nil {
		return nil, err
	}
	r, err := a.report(ctx, p)
	if err != nil {
		return nil, err
	}
	if r.Fetched > a.MaxFetch {
		return r, fmt.Errorf("aggregate %s: %d days of %s would fetch %d MiB from the object store, more than the %d MiB of max_fetch: raise it, calculate fewer days at once with --from and --to, or choose an engine that reads there (trino, athena, spark)",
			a.Name, len(p.changed), a.Source, r.Fetched>>20, a.MaxFetch>>20)
	}
	return r, a.calculate(ctx, p, r)
}

// def is what the target should be.
func (a *Aggregator) def(calc Calculation) table.Def {
	return table.Def{Ident: a.Target, Row: targetRow(a.Period, calc.Columns()), PartitionBy: []table.PartitionField{{Source: a.Period.Column, Transform: "identity", Name: a.Period.Column}}}
}

func (a *Aggregator) states() *states { return &states{a.Objects, a.Root, a.Name} }
