package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Lake is what the removal of orphans reads.
type Lake interface {
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	// References are the URIs of everything that the table's metadata, as it is now, refers to. table.ErrNoTable: there is none.
	References(ctx context.Context, id table.Ident) (*table.References, error)
	// List returns the objects that lie in the table's own folder: nothing but this table may keep any there.
	List(ctx context.Context, id table.Ident) ([]objects.Info, error)
}

// Rounds reads the round objects of one pipeline.
type Rounds interface {
	// Objects lists them all, by the uuid of the primary table and by id. A pipeline has had several primary tables when
	// its table was dropped and created again.
	Objects(ctx context.Context) (map[string]map[string]objects.Info, error)
	// Committed lists the ids of the rounds that have left pending, by number.
	Committed(ctx context.Context, uuid string) (map[int64]string, error)
	// Files are the data files that a round names, of all tables.
	Files(ctx context.Context, uuid, id string) ([]string, error)
}

// Writer is a pipeline that writes into the tables.
type Writer struct {
	Pipeline string
	Primary  table.Ident
	Rounds   Rounds
}

// Orphans finds objects that nothing refers to: of rounds that were dropped, of jobs that gave up, of programs that died.
type Orphans struct {
	Lake Lake
	// Tables are those whose folders are looked through.
	Tables []table.Ident
	// States lists the objects in which aggregates keep what they have calculated, with the URIs of those that tables name; nil: there
	// are none.
	States func(ctx context.Context) (found []objects.Info, live []string, err error)
	// Writers are all pipelines that write into any of the tables. Of others nothing may be pending.
	Writers []Writer
	// Age is how old an object must be to go. Loaders and jobs commit nothing older than half of it.
	Age  time.Duration
	Now  func() time.Time
	Wait table.Wait
	// Delete removes objects.
	Delete func(ctx context.Context, uris []string) error
}

// Orphan is an object that may be deleted.
type Orphan struct {
	objects.Info
	Why string
}

// OrphanPlan is what may be deleted, the oldest first, and when that was found out.
type OrphanPlan struct {
	Cutoff  time.Time // everything from then on was left alone
	Listed  int       // objects that were looked at
	Live    int       // URIs that are referred to
	Orphans []Orphan
}

// Bytes is the size of all orphans.
func (p *OrphanPlan) Bytes() (n int64) {
	for _, o := range p.Orphans {
		n += o.Size
	}
	return n
}

// candidate is an object with what it is, for people.
type candidate struct {
	objects.Info
	what string
}

// Plan finds the orphans. Nothing is deleted; what was an orphan stays one, so a plan does not go stale. The order is what
// makes it right:
//
//  1. The cutoff is taken from the clock before anything is read: what is made meanwhile is younger.
//  2. An empty snapshot is committed to every table: a swap that was checked before, by a program that slept ever since,
//     can no longer land.
//  3. What is pending is read before the tables: the files of a round that is finished meanwhile are found in one of both.
//  4. All tables are read, and then what there is.
//
// ErrRolledBack, and no orphans, while a table is rolled back.
func (o *Orphans) Plan(ctx context.Context) (*OrphanPlan, error) {
	plan := &OrphanPlan{Cutoff: o.Now().Add(-o.Age)}
	tables, err := o.fence(ctx)
	if err != nil {
		return nil, err
	}
	live := map[string]bool{}
	var found []candidate
	for _, w := range o.Writers {
		rounds, err := o.rounds(ctx, w, live)
		if err != nil {
			return nil, fmt.Errorf("reading the rounds of pipeline %s: %w", w.Pipeline, err)
		}
		found = append(found, rounds...)
	}
	if o.States != nil {
		states, named, err := o.States(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the states of aggregates: %w", err)
		}
		for _, uri := range named {
			live[uri] = true
		}
		for _, i := range states {
			found = append(found, candidate{i, "no table names this state of an aggregate"})
		}
	}
	for _, id := range tables {
		refs, err := o.Lake.References(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("reading what table %s refers to: %w", id, err)
		}
		for _, set := range []map[string]struct{}{refs.Content, refs.Metadata} {
			for uri := range set {
				live[uri] = true
			}
		}
	}
	for _, id := range tables {
		list, err := o.Lake.List(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("listing the folder of table %s: %w", id, err)
		}
		for _, i := range list {
			found = append(found, candidate{i, fmt.Sprintf("no snapshot of table %s and no round refers to it", id)})
		}
	}
	plan.Orphans, plan.Listed, plan.Live = chooseOrphans(found, live, plan.Cutoff), len(found), len(live)
	return plan, nil
}

// Run deletes the orphans that there are now.
func (o *Orphans) Run(ctx context.Context) (*OrphanPlan, error) {
	plan, err := o.Plan(ctx)
	if err != nil {
		return nil, err
	}
	uris := make([]string, len(plan.Orphans))
	for i, x := range plan.Orphans {
		uris[i] = x.URI
	}
	if err := o.Delete(ctx, uris); err != nil {
		return plan, fmt.Errorf("deleting %d orphans, some of which may be gone: %w", len(uris), err)
	}
	return plan, nil
}

// chooseOrphans are the objects before the cutoff that are not live, the oldest first. File names are unique: one that is
// referred to under another spelling of the same place, as engines have of schemes, hosts and escapes, is left alone.
func chooseOrphans(found []candidate, live map[string]bool, cutoff time.Time) (out []Orphan) {
	names := make(map[string]bool, len(live))
	for uri, is := range live {
		if is {
			names[path.Base(uri)] = true
		}
	}
	for _, c := range found {
		if !names[path.Base(c.URI)] && c.Modified.Before(cutoff) {
			out = append(out, Orphan{Info: c.Info, Why: c.what})
		}
	}
	slices.SortFunc(out, func(a, b Orphan) int { return cmp.Or(a.Modified.Compare(b.Modified), cmp.Compare(a.URI, b.URI)) })
	return out
}

// fenceMark is a property that every fence sets: were main rolled back to where it was before, a swap that is on its way
// would still not find the table as it was.
func fenceMark(snapshot int64) map[string]string {
	return map[string]string{table.Prefix + "fence": strconv.FormatInt(snapshot, 10)}
}

// fence moves every table on, and returns those that exist and whose files may be deleted.
func (o *Orphans) fence(ctx context.Context) (there []table.Ident, err error) {
	strangers := strangers{}
	for _, id := range o.Tables {
		keep := false
		s, err := o.Lake.Open(ctx, id)
		if err == nil {
			err = table.Commit(ctx, s, o.Wait, func(base *table.Base) (table.Change, bool, error) {
				if keep = keepsAll(base); keep {
					return table.Change{}, true, nil
				}
				strangers.meet(id, base.Props)
				return table.Change{Snapshot: true, Props: fenceMark, Summary: map[string]string{table.SummaryJob: "orphans"}}, false, notRolledBack(base)
			})
		}
		switch {
		case errors.Is(err, table.ErrNoTable): // such as dead letters that there have never been
		case err != nil:
			return nil, fmt.Errorf("committing an empty snapshot to table %s, before its orphans are looked for: %w", id, err)
		case !keep:
			there = append(there, id)
		}
	}
	for _, w := range o.Writers {
		delete(strangers, w.Pipeline)
	}
	return there, strangers.check()
}

// strangers are the pipelines that the tables tell of, by name.
type strangers map[string]*stranger

type stranger struct {
	table   table.Ident
	primary bool // one of the tables is its primary
	pending bool // or may be
}

func (s strangers) meet(id table.Ident, props map[string]string) {
	know := func(name string) *stranger {
		if s[name] == nil {
			s[name] = &stranger{table: id}
		}
		return s[name]
	}
	primary, applied := table.Writers(props)
	for _, name := range applied {
		know(name)
	}
	for _, name := range primary {
		x := know(name)
		l, err := table.ParseLedger(name, props)
		x.primary, x.pending = true, err != nil || len(l.Pending) > 0
	}
}

// check refuses a pipeline whose pending rounds cannot be looked into: what they name would be taken for orphans. One that
// has no pending rounds, such as one that was given up, does no harm.
func (s strangers) check() error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if x := s[name]; !x.primary || x.pending {
			return fmt.Errorf("pipeline %s writes into table %s too, or once did, and has rounds that may not be finished: orphans can be looked for only with a configuration that has all pipelines of the tables", name, x.table)
		}
	}
	return nil
}

// rounds adds what the rounds of a pipeline still need to live, and returns their objects that may be orphans. Objects of
// committed rounds stay: they say what became of offsets that are no rows. The files of those that are still listed as
// pending live, marked as finished or not: they are added again to a table that was dropped and created again. Those of earlier primary tables stay, with
// the files of the ones that were not finished: a loader that has slept may still add them to the other tables.
func (o *Orphans) rounds(ctx context.Context, w Writer, live map[string]bool) ([]candidate, error) {
	s, err := o.Lake.Open(ctx, w.Primary)
	if err != nil {
		return nil, fmt.Errorf("opening table %s: %w", w.Primary, err)
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", w.Primary, err)
	}
	ledger, err := table.ParseLedger(w.Pipeline, base.Props)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", w.Primary, err)
	}
	needed := map[string]bool{}
	if ledger != nil {
		for _, p := range ledger.Pending {
			needed[p.ID] = true
		}
	}
	byTable, err := w.Rounds.Objects(ctx)
	if err != nil {
		return nil, err
	}
	var found []candidate
	for _, uuid := range slices.Sorted(maps.Keys(byTable)) {
		byID := byTable[uuid]
		committed, err := w.Rounds.Committed(ctx, uuid)
		if err != nil {
			return nil, err
		}
		finished := map[string]bool{}
		for _, id := range committed {
			finished[id] = true
		}
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			info := byID[id]
			found = append(found, candidate{info, fmt.Sprintf("round %s of pipeline %s was never committed", id, w.Pipeline)})
			earlier := uuid != base.UUID
			waits := needed[id] || earlier && !finished[id]
			if live[info.URI] = waits || finished[id] || earlier; !waits {
				continue
			}
			files, err := w.Rounds.Files(ctx, uuid, id)
			if err != nil {
				return nil, fmt.Errorf("reading the object of round %s: %w", id, err)
			}
			for _, f := range files {
				live[f] = true
			}
		}
	}
	for id := range needed {
		if _, ok := byTable[base.UUID][id]; !ok {
			return nil, fmt.Errorf("the object of pending round %s is missing: what it names cannot be told from orphans", id)
		}
	}
	return found, nil
}
