// Package lookups keeps the tables of package enrich filled and up to date: from files, from topics of Kafka, and from tables of
// the lake.
package lookups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/localdb"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// Topics answers questions about topics.
type Topics interface {
	TopicIDs(ctx context.Context, topics []string) (map[string]string, error)
	Watermarks(ctx context.Context, ps []source.Partition) (map[source.Partition]source.Watermarks, error)
	Partitions(ctx context.Context, s configs.Source) ([]source.Partition, error)
}

// Consumer reads partitions as a member of no group.
type Consumer interface {
	Add(from map[source.Partition]int64) error
	Poll(ctx context.Context, r *batch.Records, wait time.Duration) error
	LastError() (error, time.Time)
	Close() error
}

// Deps is what lookups are filled from.
type Deps struct {
	// Files opens the store that a path is in.
	Files func(path string) (objects.Store, error)
	// Catalog and Objects have the lake's tables; Namespace is that of names without one.
	Catalog   table.Catalog
	Objects   objects.Store
	Namespace string
	// Topics, NewConsumer and Registry are for topics. The registry may be nil.
	Topics      Topics
	NewConsumer func(lookup string) (Consumer, error)
	Registry    schemas.Registry
	// Held is told what all lookups take together, whenever it changes; nil: nobody is.
	Held func(bytes int64)
	// Disk is the file system for rows beyond the memory; zero but in tests.
	Disk localdb.Options
	Log  *slog.Logger
	Now  func() time.Time
}

// Set is lookups that are kept up to date while Run runs.
type Set struct {
	all []*keeper
	d   Deps
}

// keeper keeps one lookup up to date.
type keeper struct {
	*enrich.Lookup
	d   Deps
	log *slog.Logger
	// building is what rows take that are read anew, beside those that are joined with.
	building atomic.Int64
	kind     interface{ run(ctx context.Context) }
}

// New returns the lookups that pipelines use. Nothing is read before Run.
func New(cfg *configs.Config, pipelines []configs.Pipeline, d Deps) *Set {
	used := map[string]bool{}
	for _, p := range pipelines {
		for _, j := range p.Enrich {
			used[j.Lookup] = true
		}
	}
	s := &Set{d: d}
	for i := range cfg.Lookups {
		l := &cfg.Lookups[i]
		if !used[l.Name] {
			continue
		}
		k := &keeper{Lookup: enrich.New(l, d.Now), d: d, log: d.Log.With("lookup", l.Name)}
		k.Disk(d.Disk)
		switch {
		case l.File != nil:
			k.kind = &polled{keeper: k, every: time.Duration(l.File.Reload), from: &file{k: k, cfg: l.File}}
		case l.Table != nil:
			k.kind = &polled{keeper: k, every: time.Duration(l.Table.Refresh), from: &lakeTable{k: k, ident: identOf(d.Namespace, l.Table.Name)}}
		default:
			k.kind = &topic{keeper: k, cfg: l.Topic}
		}
		s.all = append(s.all, k)
	}
	return s
}

// Run keeps the lookups up to date until ctx ends, and lets go of them then.
func (s *Set) Run(ctx context.Context) {
	s.sweep()
	var wg sync.WaitGroup
	for _, k := range s.all {
		wg.Go(func() { k.kind.run(ctx) })
	}
	if s.d.Held != nil {
		wg.Go(func() { s.account(ctx) })
	}
	wg.Wait()
	for _, k := range s.all {
		if err := k.Close(); err != nil {
			k.log.Warn("what the lookup had on the disk was not removed", "error", err)
		}
	}
}

// sweep removes what processes have left on the disk that were killed.
func (s *Set) sweep() {
	if len(s.all) == 0 {
		return
	}
	removed, err := localdb.Sweep(enrich.DiskPrefix)
	for _, dir := range removed {
		s.d.Log.Info("removed rows of a lookup that a process had left behind", "folder", dir)
	}
	if err != nil {
		s.d.Log.Warn("rows of lookups that a process had left behind were not removed", "error", err)
	}
}

// account tells how much memory the lookups take.
func (s *Set) account(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		total := int64(0)
		for _, k := range s.all {
			total += k.Status().Bytes + k.building.Load()
		}
		s.d.Held(total)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Lookup finds a lookup; nil: no pipeline uses one of that name. There may be no Set.
func (s *Set) Lookup(name string) *enrich.Lookup {
	if s == nil {
		return nil
	}
	for _, k := range s.all {
		if k.Name() == name {
			return k.Lookup
		}
	}
	return nil
}

// Status is the state of all of them.
func (s *Set) Status() []obs.LookupStatus {
	out := make([]obs.LookupStatus, 0, len(s.all))
	for _, k := range s.all {
		x := k.Status()
		out = append(out, obs.LookupStatus{Name: k.Name(), Ready: x.Ready, Waits: x.Waits, Version: x.Version, Rows: x.Rows, Bytes: x.Bytes,
			Updated: x.Updated, Checked: x.Checked, Trouble: x.Trouble, Since: x.Since, Skipped: x.Skipped, LastSkip: x.LastSkip})
	}
	return out
}

// fails tells of trouble, each kind once.
func (k *keeper) fails(err error) {
	st := k.Status()
	if st.Trouble != err.Error() {
		if st.Ready {
			k.log.Error("the lookup cannot be brought up to date; rows are joined with its last version", "version", st.Version, "error", err)
		} else {
			k.log.Warn("the lookup cannot be loaded yet", "error", err)
		}
	}
	k.Trouble(err)
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// whole is rows that are read whole: a file, or a table.
type whole interface {
	// version tells what is there now.
	version(ctx context.Context) (string, error)
	// load reads all rows; version is what it has just told. It returns what was read, which may be newer.
	load(ctx context.Context, version string, into *filler) (string, error)
}

// grows is rows that may just have become more since the version that was read last.
type grows interface {
	whole
	// more reads the rows that were added up to a version, if nothing else has changed since the last one; ok: so it was.
	more(ctx context.Context, last, version string, into *filler) (rows []staged, ok bool, err error)
}

// staged is rows that are ready to be put.
type staged struct {
	*batch.Batch
	where func(record int32) string
}

// polled reads rows whole whenever they have another version.
type polled struct {
	*keeper
	every time.Duration
	from  whole
}

const firstRetry = 200 * time.Millisecond

func (p *polled) run(ctx context.Context) {
	for wait := firstRetry; ; {
		err := p.refresh(ctx)
		next := p.every
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.fails(err)
			next = min(wait, p.every)
			wait = min(2*wait, 10*time.Second)
		default:
			wait = firstRetry
		}
		if !pause(ctx, next) {
			return
		}
	}
}

func (p *polled) refresh(ctx context.Context) error {
	if err := p.Broken(); err != nil {
		p.log.Error("the rows of the lookup are of no use any more: nothing is joined until they have been read again", "error", err)
		if err := p.Break(err); err != nil {
			p.log.Warn("what the lookup had on the disk was not removed", "error", err)
		}
	}
	version, err := p.from.version(ctx)
	if err != nil {
		return err
	}
	if st := p.Status(); st.Ready && st.Version == version {
		p.Checked()
		return nil
	}
	began := p.d.Now()
	if done, err := p.more(ctx, version); done || err != nil {
		return err
	}
	f := &filler{k: p.keeper}
	defer p.building.Store(0)
	if version, err = p.from.load(ctx, version, f); err != nil {
		if f.t != nil {
			err = errors.Join(err, f.t.Close())
		}
		return err
	}
	t, err := f.table()
	if err != nil {
		return errors.Join(err, t.Close())
	}
	if err := p.Replace(t, version); err != nil {
		p.log.Warn("what the lookup's last version had on the disk was not removed", "error", err)
	}
	p.log.Info("the lookup was loaded", "rows", t.Rows(), "bytes", t.Bytes(), "version", version, "skipped", f.skipped, "seconds", p.d.Now().Sub(began).Seconds())
	return nil
}

// more adds rows to those that are there; done: that was all there was to do.
func (p *polled) more(ctx context.Context, version string) (done bool, err error) {
	from, can := p.from.(grows)
	st := p.Status()
	if !can || !st.Ready {
		return false, nil
	}
	began := p.d.Now()
	f := &filler{k: p.keeper}
	rows, ok, err := from.more(ctx, st.Version, version, f)
	if err != nil || !ok {
		return false, err
	}
	n, size := 0, int64(0)
	for _, b := range rows {
		size += takes(b.Batch)
	}
	if err := p.Room(size); err != nil { // the last version stays
		return false, err
	}
	err = p.Change(version, func(t *enrich.Table) error {
		f.t = t
		for _, b := range rows {
			n += b.Rows
			f.where = b.where
			if err := f.put(b.Batch); err != nil {
				return err
			}
		}
		return t.Expire()
	})
	if err != nil {
		return false, errors.Join(err, p.Break(fmt.Errorf("rows were added by half: %w", err)))
	}
	f.tell()
	p.log.Info("rows were added to the lookup", "added", n, "rows", p.Status().Rows, "version", version, "seconds", p.d.Now().Sub(began).Seconds())
	return true, nil
}

func identOf(namespace, name string) table.Ident {
	for i := range name {
		if name[i] == '.' {
			return table.Ident{Namespace: name[:i], Name: name[i+1:]}
		}
	}
	return table.Ident{Namespace: namespace, Name: name}
}

// Wait returns when all lookups are ready; it fails when ctx ends before, with what is waited for.
func (s *Set) Wait(ctx context.Context) error {
	for _, k := range s.all {
		for {
			changed, st := k.Changed(), k.Status()
			if st.Ready {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the lookup %s is not ready: %s", k.Name(), st.Waits)
			case <-changed:
			}
		}
	}
	return nil
}
