package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Where an offset went: the tables in the order of simIdents, then what is in no table.
const (
	simRow = iota
	simRouted
	simDead
	simFiltered
	simGap
	simRemoved // by a rewind
)

var simDestinations = [...]string{"row", "routed", "dead", "filtered", "gap", "removed"}

var (
	simPrimary = table.Ident{Namespace: "lake", Name: "t"}
	simIdents  = []table.Ident{simPrimary, {Namespace: "lake", Name: "t_routed"}, {Namespace: "lake", Name: "t_dead"}}
)

// simOffset is an offset of a partition in an epoch of one incarnation of the primary table.
type simOffset struct {
	inc   int16 // of the primary table
	topic byte
	part  uint8
	gen   int16 // incarnation of the topic that it was read from
	epoch int32
	off   int32
}

func (o simOffset) key() table.Key {
	return table.Key{Topic: string(rune(o.topic)), Partition: int32(o.part)}
}

func (o simOffset) String() string {
	return fmt.Sprintf("%s offset %d (topic %d, epoch %d, table %d)", o.key(), o.off, o.gen, o.epoch, o.inc)
}

// simSnap is a snapshot. Nothing in it ever changes.
type simSnap struct {
	parent  int64
	files   []string
	deletes []string // delete files
	at      time.Time
}

// simTable is a table. snaps is replaced when snapshots expire, props whenever they change, so that both can be shared
// with those who have read the table.
type simTable struct {
	uuid    string
	snaps   map[int64]simSnap
	main    int64
	tag     int64 // of the last move, in a REST catalog
	props   map[string]string
	version int   // of props
	rolled  int64 // the main snapshot that a rollback left
}

func (t *simTable) files() []string { return t.snaps[t.main].files }

// simFile is an object: a data file, a delete file or a round object.
type simFile struct {
	table    int
	rows     []simOffset
	value    string                        // that its rows were routed by
	deletes  map[string]map[simOffset]bool // of a delete file: the rows, by data file
	modified time.Time
	copied   bool // by a round with edits: what is in it was decided before
	gone     bool
}

// simLake is the catalog and the object store.
type simLake struct {
	w           *simWorld
	rest        bool // a REST catalog: it compares snapshots and tags, but no properties
	tables      map[table.Ident]*simTable
	files       map[string]*simFile
	names       []string         // of files, in the order of their making
	parents     map[int64]int64  // of all snapshots that there ever were
	incarnation map[string]int16 // of the primary, by uuid
	rounds      map[string]map[string]*Round
	committed   map[string]map[int64]string
}

func newSimLake(w *simWorld) simLake {
	l := simLake{w: w, rest: w.r.IntN(3) == 0, tables: map[table.Ident]*simTable{}, files: map[string]*simFile{}, parents: map[int64]int64{},
		incarnation: map[string]int16{}, rounds: map[string]map[string]*Round{}, committed: map[string]map[int64]string{}}
	for _, id := range simIdents {
		l.create(id)
	}
	return l
}

func (l *simLake) create(id table.Ident) {
	t := &simTable{uuid: fmt.Sprintf("%s-%d", id.Name, l.w.id()), snaps: map[int64]simSnap{}, props: map[string]string{}}
	l.tables[id] = t
	if id == simPrimary {
		l.incarnation[t.uuid] = int16(len(l.incarnation))
	}
}

// put makes an object.
func (l *simLake) put(d int, name string, rows []simOffset) {
	l.files[name] = &simFile{table: d, rows: rows, modified: l.w.now}
	l.names = append(l.names, name)
}

// rowsOf are the rows of a data file as a snapshot shows them.
func (l *simLake) rowsOf(file string, deletes []string) []simOffset {
	rows := l.files[file].rows
	for _, d := range deletes {
		if gone := l.files[d].deletes[file]; gone != nil {
			rows = slices.DeleteFunc(slices.Clone(rows), func(o simOffset) bool { return gone[o] })
		}
	}
	return rows
}

// snapshot makes one with the files the main one.
func (l *simLake) snapshot(t *simTable, files, deletes []string) int64 {
	id := l.w.id()
	t.snaps[id] = simSnap{t.main, files, deletes, l.w.now}
	l.parents[id] = t.main
	t.main = id
	return id
}

// ancestor says whether a snapshot is another or, in truth, one of its ancestors.
func (l *simLake) ancestor(id, of int64) bool {
	for ; of != 0; of = l.parents[of] {
		if of == id {
			return true
		}
	}
	return false
}

// Open implements Tables, and those of jobs.
func (l *simLake) Open(_ context.Context, id table.Ident) (table.Store, error) {
	return simStore{l.w, id}, nil
}

type simStore struct {
	w  *simWorld
	id table.Ident
}

// simHandle is what a swap compares.
type simHandle struct {
	main, tag int64
	version   int
}

// base is the table as it is now.
func (t *simTable) base(l *simLake) *table.Base {
	snaps, main, newest := t.snaps, t.main, l.w.seq
	has := func(id int64) bool { _, ok := snaps[id]; return ok && id <= newest }
	// As far as ancestors have not expired; the first expired one is still known by its id.
	isAncestor := func(id int64) bool {
		at := main
		for at != 0 && at != id {
			at = snaps[at].parent
		}
		return at == id
	}
	leftBehind := func(id int64) bool {
		if !has(id) || isAncestor(id) {
			return false
		}
		if main < id {
			return true
		}
		at, known := main, true
		for at != 0 && known {
			at = snaps[at].parent
			known = at == 0 || has(at)
		}
		return known
	}
	all := func() (all []table.Snapshot) {
		for id, s := range snaps {
			all = append(all, table.Snapshot{ID: id, Parent: s.parent, At: s.at, Named: l.rest && id == t.tag})
		}
		return all
	}
	return &table.Base{UUID: t.uuid, Snapshot: main, Snapshots: all, Props: t.props, Rows: int64(len(t.files())), Has: has, IsAncestor: isAncestor, LeftBehind: leftBehind,
		Handle: simHandle{main, t.tag, t.version}}
}

// Load implements table.Store. What is read may be old when it arrives.
func (s simStore) Load(context.Context) (*table.Base, error) {
	s.w.await()
	if s.w.chance(20) {
		return nil, fmt.Errorf("load: %w", table.ErrRetry)
	}
	b := s.w.tables[s.id].base(&s.w.simLake)
	if s.w.r.IntN(3) == 0 {
		s.w.await()
	}
	return b, nil
}

// Swap implements table.Store.
func (s simStore) Swap(_ context.Context, base *table.Base, ch table.Change) error {
	w := s.w
	w.await()
	if w.chance(10) {
		w.did["unknown"]++
		switch w.r.IntN(4) {
		case 0: // it never arrives
		case 1: // it arrives much later
			w.after(w.some(2*w.age), func() {
				if w.deliver(s.id, base, ch) {
					w.did["late"]++
				}
			})
			w.await()
		default: // the reply is lost, whatever became of the swap
			w.deliver(s.id, base, ch)
			w.await()
		}
		return table.ErrUnknown
	}
	landed := w.deliver(s.id, base, ch)
	if w.r.IntN(3) == 0 {
		w.await()
	}
	if !landed {
		w.did["conflicts"]++
		return table.ErrConflict
	}
	return nil
}

// deliver is the swap itself. It leaves it to jobs to see whether what they remove is still there.
func (w *simWorld) deliver(id table.Ident, base *table.Base, ch table.Change) bool {
	t, h := w.tables[id], base.Handle.(simHandle)
	if t.uuid != base.UUID || t.main != h.main || !w.rest && t.version != h.version || w.rest && t.tag != h.tag {
		return false
	}
	was, props, snap := t.main, t.props, int64(0)
	if ch.Snapshot || len(ch.Add) > 0 || w.rest && (ch.Props != nil || len(ch.Unset) > 0) {
		s := t.snaps[t.main]
		files := slices.DeleteFunc(slices.Clone(s.files), func(f string) bool { return slices.Contains(ch.Remove, f) })
		for _, f := range ch.Add {
			if w.files[f.Path].gone {
				w.bad("file %s was added to %s when a clean-up had deleted it", f.Path, id)
			}
			files = append(files, f.Path)
		}
		snap = w.snapshot(t, files, s.deletes)
	}
	if ch.Props != nil || len(ch.Unset) > 0 {
		t.props = maps.Clone(props)
		t.version++
		for _, k := range ch.Unset {
			delete(t.props, k)
		}
		if ch.Props != nil {
			maps.Copy(t.props, ch.Props(snap))
		}
		if snap != 0 {
			t.tag = snap
		}
	}
	if w.trace != nil {
		w.logf("LANDS on %s: main %d -> %d, + %v - %v %s", id.Name, was, t.main, simPaths(ch.Add), ch.Remove, simText(t.props))
	}
	w.landed(id, was, props, ch)
	return true
}

func simPaths(files []table.File) (out []string) {
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

// simText is what the properties of a table say, for traces.
func simText(props map[string]string) string {
	if l, err := table.ParseLedger("p", props); err == nil && l != nil {
		var b strings.Builder
		fmt.Fprintf(&b, "number %d, move %d, pending %v", l.Number, l.Move, l.Pending)
		for _, k := range slices.SortedFunc(maps.Keys(l.Records), cmpKey) {
			r := l.Records[k]
			fmt.Fprintf(&b, ", %s %s/%d [%d, %d)", k, r.TopicID, r.Epoch, r.First, r.Next)
		}
		return b.String()
	}
	return fmt.Sprint(props)
}

func simRoundURI(uuid, id string) string { return "rounds/" + uuid + "/" + id }

// PutRound implements Rounds.
func (l *simLake) PutRound(_ context.Context, uuid string, r *Round) error {
	w := l.w
	w.await()
	if w.chance(50) {
		return errors.New("the round object was not written")
	}
	if l.rounds[uuid] == nil {
		l.rounds[uuid] = map[string]*Round{}
	}
	if l.rounds[uuid][r.ID] != nil {
		w.bad("round %s was written twice", r.ID)
	}
	l.rounds[uuid][r.ID] = r
	l.put(-1, simRoundURI(uuid, r.ID), nil)
	w.await()
	if w.chance(50) {
		return errors.New("the reply to the round object was lost")
	}
	return nil
}

// Round implements Rounds.
func (l *simLake) Round(_ context.Context, uuid, id string) (*Round, error) {
	l.w.await()
	if f := l.files[simRoundURI(uuid, id)]; f == nil || f.gone || l.w.chance(40) {
		return nil, fmt.Errorf("the object of round %s cannot be read", id)
	}
	return l.rounds[uuid][id], nil
}

// PutCommitted implements Rounds.
func (l *simLake) PutCommitted(_ context.Context, uuid string, n int64, id string) error {
	l.w.await()
	if l.w.chance(50) {
		return errors.New("the mark was not written")
	}
	if l.committed[uuid] == nil {
		l.committed[uuid] = map[int64]string{}
	}
	if old, ok := l.committed[uuid][n]; ok && old != id {
		l.w.bad("number %d was given to %s and %s", n, old, id)
	}
	l.committed[uuid][n] = id
	l.w.await()
	return nil
}

// Files implements the tables of jobs.
func (l *simLake) Files(_ context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error) {
	t := l.tables[id]
	l.w.await()
	s, ok := t.snaps[snapshot]
	if !ok {
		return nil, nil, fmt.Errorf("table %s has no snapshot %d", id, snapshot)
	}
	for _, f := range s.files {
		files = append(files, table.File{Path: f})
	}
	return files, s.deletes, nil
}

// References implements the lake of jobs.
func (l *simLake) References(_ context.Context, id table.Ident) (*table.References, error) {
	l.w.await()
	refs := &table.References{Content: map[string]struct{}{}}
	for _, s := range l.tables[id].snaps {
		for _, f := range slices.Concat(s.files, s.deletes) {
			refs.Content[f] = struct{}{}
		}
	}
	return refs, nil
}

// List implements the lake of jobs.
func (l *simLake) List(_ context.Context, id table.Ident) (list []objects.Info, err error) {
	l.w.await()
	for _, name := range l.names {
		if f := l.files[name]; !f.gone && f.table == slices.Index(simIdents, id) {
			list = append(list, objects.Info{URI: name, Modified: f.modified})
		}
	}
	return list, nil
}

// simRounds are the rounds as jobs read them.
type simRounds struct{ l *simLake }

// Objects implements the rounds of jobs.
func (s simRounds) Objects(context.Context) (map[string]map[string]objects.Info, error) {
	s.l.w.await()
	out := map[string]map[string]objects.Info{}
	for uuid, byID := range s.l.rounds {
		out[uuid] = map[string]objects.Info{}
		for id := range byID {
			if uri := simRoundURI(uuid, id); !s.l.files[uri].gone {
				out[uuid][id] = objects.Info{URI: uri, Modified: s.l.files[uri].modified}
			}
		}
	}
	return out, nil
}

// Committed implements the rounds of jobs.
func (s simRounds) Committed(_ context.Context, uuid string) (map[int64]string, error) {
	s.l.w.await()
	return maps.Clone(s.l.committed[uuid]), nil
}

// Files implements the rounds of jobs.
func (s simRounds) Files(_ context.Context, uuid, id string) ([]string, error) {
	s.l.w.await()
	if s.l.files[simRoundURI(uuid, id)].gone {
		return nil, fmt.Errorf("the object of round %s is gone", id)
	}
	return s.l.rounds[uuid][id].files(), nil
}
