package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

var (
	primary = table.Ident{Namespace: "lake", Name: "t"}
	dead    = table.Ident{Namespace: "lake", Name: "t_dead"}
	began   = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

// lake is tables and round objects in memory. Before each call, before is asked what happens first.
type lake struct {
	now       time.Time
	tables    map[table.Ident]*memTable
	rounds    map[string]map[string]objects.Info
	named     map[string][]string // files by round
	committed map[string]map[int64]string
	folders   map[table.Ident][]objects.Info
	described map[string]table.File // what is known of files beside their paths
	calls     []string
	before    func(call string) error
}

type memTable struct {
	uuid    string
	main    int64
	parents map[int64]int64
	files   map[int64][]string
	deletes map[int64][]string
	props   map[string]string
	at      map[int64]time.Time
	tag     int64
	last    int64 // id of a snapshot
}

func newLake() *lake {
	l := &lake{now: began, tables: map[table.Ident]*memTable{}, rounds: map[string]map[string]objects.Info{}, named: map[string][]string{},
		committed: map[string]map[int64]string{}, folders: map[table.Ident][]objects.Info{}, before: func(string) error { return nil }}
	for _, id := range []table.Ident{primary, dead} {
		l.tables[id] = &memTable{uuid: "uuid-" + id.Name, parents: map[int64]int64{}, files: map[int64][]string{}, deletes: map[int64][]string{}, props: map[string]string{}, at: map[int64]time.Time{}}
	}
	return l
}

func (t *memTable) commit(files, deletes []string) int64 {
	t.last++
	id := t.last
	t.parents[id], t.files[id], t.deletes[id], t.main = t.main, files, deletes, id
	return id
}

func (t *memTable) ancestor(id int64) bool {
	for at := t.main; at != 0; at = t.parents[at] {
		if at == id {
			return true
		}
	}
	return false
}

func (l *lake) call(format string, args ...any) error {
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
	return l.before(l.calls[len(l.calls)-1])
}

func (l *lake) Open(_ context.Context, id table.Ident) (table.Store, error) {
	if l.tables[id] == nil {
		return nil, fmt.Errorf("%w: %s", table.ErrNoTable, id)
	}
	return memStore{l, id}, nil
}

func (l *lake) Files(_ context.Context, id table.Ident, snapshot int64) ([]table.File, []string, error) {
	var out []table.File
	for _, f := range l.tables[id].files[snapshot] {
		x := l.described[f]
		x.Path = f
		out = append(out, x)
	}
	return out, l.tables[id].deletes[snapshot], nil
}

func (l *lake) References(_ context.Context, id table.Ident) (*table.References, error) {
	if err := l.call("references %s", id.Name); err != nil {
		return nil, err
	}
	r := &table.References{Content: map[string]struct{}{}, Metadata: map[string]struct{}{"metadata": {}}}
	for n, files := range l.tables[id].files {
		if _, ok := l.tables[id].parents[n]; !ok {
			continue // expired
		}
		r.Content[fmt.Sprint("manifest", n)] = struct{}{}
		for _, f := range files {
			r.Content[f] = struct{}{}
		}
	}
	return r, nil
}

func (l *lake) Released(_ context.Context, before, after *table.Base) ([]string, error) {
	if err := l.call("released"); err != nil {
		return nil, err
	}
	of := func(b *table.Base) map[string]bool {
		all := map[string]bool{}
		for _, s := range b.Snapshots() {
			all[fmt.Sprint("manifest", s.ID)] = true
			for _, f := range l.tables[primary].files[s.ID] {
				all[f] = true
			}
		}
		return all
	}
	was := of(before)
	for uri := range of(after) {
		delete(was, uri)
	}
	return slices.Sorted(maps.Keys(was)), nil
}

func (l *lake) List(_ context.Context, id table.Ident) ([]objects.Info, error) {
	return l.folders[id], l.call("list %s", id.Name)
}

func (l *lake) Objects(context.Context) (map[string]map[string]objects.Info, error) {
	return l.rounds, l.call("rounds")
}

func (l *lake) Committed(_ context.Context, uuid string) (map[int64]string, error) {
	return l.committed[uuid], nil
}

func (l *lake) RoundFiles(id string) ([]string, error) { return l.named[id], nil }

type memStore struct {
	l  *lake
	id table.Ident
}

func (s memStore) Load(context.Context) (*table.Base, error) {
	if err := s.l.call("load %s", s.id.Name); err != nil {
		return nil, err
	}
	t := *s.l.tables[s.id]
	t.parents = maps.Clone(t.parents)
	has := func(id int64) bool { _, ok := t.parents[id]; return ok }
	all := func() (all []table.Snapshot) {
		for _, id := range slices.Sorted(maps.Keys(t.parents)) {
			all = append(all, table.Snapshot{ID: id, Parent: t.parents[id], At: t.at[id], Named: id == t.tag})
		}
		return all
	}
	return &table.Base{UUID: t.uuid, Snapshot: t.main, Snapshots: all, Props: maps.Clone(t.props), Has: has, IsAncestor: t.ancestor, LeftBehind: func(id int64) bool { return has(id) && !t.ancestor(id) }, Handle: t.main}, nil
}

var errLanded = errors.New("landed")

func (s memStore) Swap(_ context.Context, base *table.Base, ch table.Change) error {
	err := s.l.call("swap %s", s.id.Name)
	t := s.l.tables[s.id]
	if err != nil && !errors.Is(err, errLanded) {
		return err
	}
	if t.main != base.Handle.(int64) || t.uuid != base.UUID {
		return table.ErrConflict
	}
	for _, id := range ch.Expire {
		delete(t.parents, id)
	}
	if len(ch.Expire) > 0 {
		if err != nil {
			return table.ErrUnknown
		}
		return nil
	}
	files := slices.DeleteFunc(slices.Clone(t.files[t.main]), func(f string) bool { return slices.Contains(ch.Remove, f) })
	for _, f := range ch.Add {
		files = append(files, f.Path)
	}
	id := t.commit(files, t.deletes[t.main])
	if ch.Props != nil {
		t.props = maps.Clone(t.props)
		maps.Copy(t.props, ch.Props(id))
	}
	if err != nil {
		return table.ErrUnknown
	}
	return nil
}

func at(uri string, ago time.Duration) objects.Info {
	return objects.Info{URI: uri, Size: 10, Modified: began.Add(-ago)}
}

// roundFiles is the lake as the rounds of a pipeline.
type roundFiles struct{ *lake }

func (r roundFiles) Files(_ context.Context, _, id string) ([]string, error) { return r.RoundFiles(id) }

func noWait(_ context.Context, n int) error {
	if n > 5 {
		return context.DeadlineExceeded
	}
	return nil
}
